"""Model files: one ONNX file that holds the step graph and its manifest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort

from rarefault.runtime.arrays import Float32
from rarefault.runtime.errors import ConfigError, ModelFileError
from rarefault.runtime.inference.manifest import MANIFEST_VERSION, METADATA_KEY, DecisionSpec, Manifest
from rarefault.runtime.inference.pipeline import Pipeline

#: Larger files are refused unread; the reference model has 16 MB.
MAX_FILE_BYTES = 1 << 30

INPUTS = ("window", "state")
OUTPUTS = ("log_prob", "next_state")


class OnnxStep:
    """A model's step as an ONNX Runtime session; implements :class:`rarefault.runtime.inference.engine.Step`."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session

    def __call__(self, window: Float32, state: Float32, /) -> tuple[Float32, Float32]:
        """``window`` [N, L, C] and ``state`` [N, S] to ``log_prob`` [N, K] and the next state [N, S]."""
        log_prob, next_state = self.session.run(OUTPUTS, {"window": window, "state": state})
        return log_prob, next_state


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model file, ready to run; made by :func:`load_model`.

    Attributes:
        manifest: channels, classes, grid, window and decision of the model.
        step: its graph.
        model_id: ``name@digest``; the same bytes have the same id everywhere.
        path: the file.
        size_bytes: its size.
    """

    manifest: Manifest
    step: OnnxStep
    model_id: str
    path: Path
    size_bytes: int

    def pipeline(self, decision: DecisionSpec | None = None) -> Pipeline:
        """A pipeline of this model, without any device yet.

        >>> import msgspec
        >>> model = load_model("plant.onnx")
        >>> careful = msgspec.structs.replace(model.manifest.decision, raise_threshold=0.9)
        >>> model.pipeline(careful).manifest.decision.raise_threshold
        0.9

        Args:
            decision: instead of the model's own: other thresholds or delays, for the same classes.

        Raises:
            ConfigError: the decision does not fit the model.
        """
        manifest = self.manifest
        if decision is not None:
            try:
                changed = msgspec.structs.replace(manifest, decision=decision)
                manifest = Manifest.from_json(changed.to_json())  # checks limits of single values, too
            except (ValueError, msgspec.ValidationError) as error:
                raise ConfigError(f"the decision for {self.model_id}", [str(error)]) from None
        return Pipeline(manifest, self.step, self.model_id)


def load_model(path: str | Path, threads: int = 1) -> LoadedModel:
    """Load a model file, and check that it is whole and fits its manifest.

    >>> model = load_model("plant.onnx")
    >>> model.manifest.channels, model.manifest.classes
    (('c1.S1', 'c1.S2', 'c1.R1', 'z1.E1'), ('normal', 'fault_1', 'fault_2'))
    >>> model.manifest.grid.period_s, model.manifest.window.length
    (60.0, 6)

    Args:
        path: an ONNX file written by ``rarefault export``.
        threads: threads of ONNX Runtime; 1 is best on a gateway that serves many small batches.

    Returns:
        The model with its manifest; :meth:`LoadedModel.pipeline` takes telemetry.

    Raises:
        ModelFileError: the file cannot be read, is no ONNX model, has no rarefault manifest, or its graph does not fit
            its manifest.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelFileError(f"{path}: {size} bytes is too large for a model file (limit {MAX_FILE_BYTES})")
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: the model file cannot be read: {error.strerror}") from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised below; a copy of it on stderr would only repeat it
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a different class for each way a file can be broken
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(
            f"{path}: not an ONNX model, or damaged ({reason}); export it again with 'rarefault export'"
        ) from error
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{path}: an ONNX model without a rarefault manifest; only files written by 'rarefault export' can be used"
        )
    manifest = _manifest(path, text)
    step = OnnxStep(session)
    _check_graph(path, session, manifest)
    _check_runs(path, step, manifest)
    digest = hashlib.sha256(data).hexdigest()[:12]
    return LoadedModel(manifest, step, f"{manifest.name}@{digest}", path, size)


def _manifest(path: Path, text: str) -> Manifest:
    try:
        version = msgspec.json.decode(text).get("version")
    except (msgspec.DecodeError, AttributeError):
        raise ModelFileError(f"{path}: its manifest is not a JSON object; the file is damaged") from None
    if version != MANIFEST_VERSION:
        raise ModelFileError(
            f"{path}: its manifest has version {version!r}, this rarefault reads version {MANIFEST_VERSION}; "
            "export the model again with the same release"
        )
    try:
        return Manifest.from_json(text)
    except msgspec.ValidationError as error:
        raise ModelFileError(
            f"{path}: its manifest cannot be used: {error}; export the model again with this release"
        ) from None


def _check_graph(path: Path, session: ort.InferenceSession, manifest: Manifest) -> None:
    """Names, types and fixed sizes of the graph's inputs and outputs against the manifest."""
    expected = {
        "window": (manifest.window.length, len(manifest.inputs)),
        "state": (manifest.state_size,),
        "log_prob": (len(manifest.classes),),
        "next_state": (manifest.state_size,),
    }
    for kind, names, nodes in (
        ("inputs", INPUTS, session.get_inputs()),
        ("outputs", OUTPUTS, session.get_outputs()),
    ):
        found = [node.name for node in nodes]
        if sorted(found) != sorted(names):
            raise ModelFileError(f"{path}: the graph's {kind} are {found}, expected {list(names)}")
        for node in nodes:
            if node.type != "tensor(float)":
                raise ModelFileError(f"{path}: {node.name} is {node.type}, expected tensor(float)")
            sizes = tuple(node.shape[1:])
            fits = len(sizes) == len(expected[node.name]) and all(
                not isinstance(size, int) or size == want for size, want in zip(sizes, expected[node.name], strict=True)
            )
            if not fits or isinstance(node.shape[0], int):
                raise ModelFileError(
                    f"{path}: {node.name} has shape {node.shape}, the manifest says [N, "
                    f"{', '.join(map(str, expected[node.name]))}]"
                )


def _check_runs(path: Path, step: OnnxStep, manifest: Manifest) -> None:
    """One step on missing values: it must run and give probabilities."""
    window = np.full((2, manifest.window.length, len(manifest.inputs)), np.nan, np.float32)
    state = np.zeros((2, manifest.state_size), np.float32)
    try:
        log_prob, next_state = step(window, state)
    except Exception as error:  # as in load_model: the class depends on the operator that fails
        raise ModelFileError(f"{path}: the graph does not run: {str(error).splitlines()[0]}") from error
    if log_prob.shape != (2, len(manifest.classes)) or next_state.shape != state.shape:
        raise ModelFileError(f"{path}: the graph's outputs have shapes {log_prob.shape} and {next_state.shape}")
    total = np.exp(log_prob.astype(np.float64)).sum(axis=1)
    if not np.isfinite(next_state).all() or not np.allclose(total, 1.0, atol=1e-3):
        raise ModelFileError(f"{path}: the graph does not give log-probabilities (they sum to {total[0]:.3g})")
