"""From a run directory to one model file, which is left only if it computes what was trained."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch

from rarefault.export.graph import step_graph, with_manifest
from rarefault.export.int8_effect import InCompany, Int8Limits, choose_judge, limit_checks, measure
from rarefault.export.parity import Check, check_checkpoint, check_file, largest_difference, precise_step, require
from rarefault.export.quantize import METHOD, quantise
from rarefault.runtime.arrays import Float32
from rarefault.runtime.errors import RarefaultError, UsageError
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.train.dataset.windows import channel_statistics
from rarefault.train.model.experts import Experts
from rarefault.train.model.step import TorchStep
from rarefault.train.runs.run_directory import Reference, RunDirectory

#: What ``on_stage`` is called with, in this order; the second part only for int8.
STAGES = (
    "reading the run",
    "holding the checkpoint against its reference outputs",
    "writing the graph",
    "holding the file against the checkpoint",
)
INT8_STAGES = ("quantising", "judging held-out blocks in float32 and int8", "holding the int8 file against itself")


@dataclass(frozen=True)
class Export:
    """What an export made.

    Attributes:
        model: the file, as the daemon loads it.
        float32_bytes: size of the file in float32, whatever was written.
        checks: every comparison that was made; all of them held.
        seconds: taken by all of it.
    """

    model: LoadedModel
    float32_bytes: int
    checks: tuple[Check, ...]
    seconds: float


def export_run(
    run: RunDirectory,
    output: Path,
    *,
    int8: bool = False,
    limits: Int8Limits | None = None,
    on_stage: Callable[[str], None] = lambda _text: None,
) -> Export:
    """Export a finished run.

    Args:
        run: its directory.
        output: the file to write; it appears whole or not at all, and an older one stays until then.
        int8: quantise the LSTM layers.
        limits: how much quantisation may change; the defaults where it is None.
        on_stage: called with what is being done: each of :data:`STAGES`, then of :data:`INT8_STAGES`.

    Raises:
        ParityError: checkpoint and reference outputs, or file and checkpoint, differ, or int8 changes too much.
        RarefaultError: the run directory is unfinished or damaged, or of a retraining that was not accepted.
        UsageError: the file cannot be written there, or the model has no network to quantise.
    """
    if not output.parent.is_dir():
        raise UsageError(f"{output}: the folder {output.parent} does not exist; make it first")
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name the file to write in it")
    if not run.accepted:
        raise RarefaultError(
            f"{run.path} was not accepted when it was retrained, as it is worse than the run that it started from "
            "('retraining' in its metrics.json); export that one"
        )
    started = time.perf_counter()
    with _one_thread():
        written, float32_bytes, checks = _export(run, output, limits or Int8Limits() if int8 else None, on_stage)
    return Export(written, float32_bytes, tuple(checks), time.perf_counter() - started)


def _export(
    run: RunDirectory, output: Path, limits: Int8Limits | None, on_stage: Callable[[str], None]
) -> tuple[LoadedModel, int, list[Check]]:
    """The file (int8 where there are limits to it), the size of the float32 one, and all checks made."""
    on_stage(STAGES[0])
    manifest, model, reference = _load(run)
    if limits is not None and model.network is None:
        raise UsageError(
            f"{run.path} has no network ('parts' in its metrics.json), so that there is nothing for --int8 to make "
            "smaller: export without it"
        )

    on_stage(STAGES[1])
    torch_step = TorchStep(model)
    checks = check_checkpoint(torch_step, reference)
    require(checks, f"{run.checkpoint} is not what was trained (restore it, or train again)")

    on_stage(STAGES[2])
    graph = step_graph(model, manifest)
    with _scratch(output) as part:
        written = _write(part, graph, manifest)
        on_stage(STAGES[3])
        checks += check_file(written.step, torch_step, precise_step(model), *scales_of(reference), reference)
        require(checks, f"{output} is not written, its graph does not compute what the checkpoint computes")
        float32_bytes = written.size_bytes
        if limits is not None:
            written, more = _write_int8(part, graph, written, run, reference, limits, on_stage)
            checks += more
        part.replace(output)
    return replace(written, path=output), float32_bytes, checks


def _load(run: RunDirectory) -> tuple[Manifest, Experts, Reference]:
    """The manifest to write, the experts, and their reference outputs.

    Raises:
        RarefaultError: they do not belong together.
    """
    manifest, model, reference = run.load_manifest(), run.load_model(), run.load_reference()
    decision, shapes = manifest.decision, (reference.window.shape, reference.opinions.shape)
    if (given := tuple(expert.name for expert in decision.experts)) != model.names:
        raise RarefaultError(
            f"{run.path}: the manifest is of {' and '.join(given)}, the checkpoint of {' and '.join(model.names)}; "
            "they are not of one training: train again"
        )
    sizes = {
        "columns": (len(manifest.inputs), shapes[0][3]),
        "experts": (len(decision.experts), shapes[1][2]),
        "values in an opinion": (decision.opinion_size, shapes[1][3]),
        "bins in a window": (manifest.window.length, shapes[0][2]),
        "carried values": (manifest.state_size, model.state_size, reference.state.shape[2]),
    }
    for what, found in sizes.items():
        if len(set(found)) > 1:
            raise RarefaultError(
                f"{run.path}: manifest, checkpoint and reference outputs have {' and '.join(map(str, found))} {what}; "
                "they are not of one training: train again"
            )
    training = {**manifest.training, "parameters": model.parameters}
    return msgspec.structs.replace(manifest, training=training), model, reference


def _write_int8(
    part: Path,
    graph: onnx.ModelProto,
    exact: LoadedModel,
    run: RunDirectory,
    reference: Reference,
    limits: Int8Limits,
    on_stage: Callable[[str], None],
) -> tuple[LoadedModel, list[Check]]:
    """Quantise, measure what that changes, and write it with the measurements in its manifest."""
    on_stage(INT8_STAGES[0])
    quantised = quantise(graph)
    manifest = msgspec.structs.replace(exact.manifest, precision="int8")
    draft = _write(part, quantised, manifest)

    on_stage(INT8_STAGES[1])
    judge, sources = choose_judge(run, manifest, reference)
    company = InCompany(draft.step, *scales_of(reference), manifest.window.length, manifest.state_size)
    effect = measure(judge, exact.step, draft.step, company)
    checks = limit_checks(effect, limits)
    require(checks, "no file is written, int8 changes too much (export float32, or raise the limits)")

    on_stage(INT8_STAGES[2])
    quantisation = {"method": METHOD, "measured on": sources, **effect, "limits": msgspec.to_builtins(limits)}
    final = _write(part, quantised, msgspec.structs.replace(manifest, quantisation=quantisation))
    # The measurements could only be written into the file after it was measured: it must not have changed by that.
    zero = np.zeros(reference.state.shape[1:], np.float32)
    window = reference.window[-1]
    same = largest_difference(draft.step(window, zero)[0], final.step(window, zero)[0])
    checks.append(Check("opinions", "int8 as written vs as measured", same, 0.0))
    require(checks, "no file is written, two copies of the int8 graph compute different things")
    return final, checks


def scales_of(reference: Reference) -> tuple[Float32, Float32]:
    """Centre and scale of the columns of real windows, [I] each."""
    center, scale, _, _ = channel_statistics(reference.window.reshape(-1, reference.window.shape[-1]))
    return center, scale


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: on a busy machine, threads that wait for each other slow its small steps down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _scratch(output: Path) -> Iterator[Path]:
    """A path beside the output, gone at the end, whatever happens."""
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path, graph: onnx.ModelProto, manifest: Manifest) -> LoadedModel:
    """Write a model file through to the disk and load it as the daemon does."""
    try:
        with path.open("wb") as file:
            file.write(with_manifest(graph, manifest))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path.parent}: the model file cannot be written there: {error.strerror}") from None
    return load_model(path)
