"""The run directory: what one training leaves behind.

=====================  ==================================================================================
``checkpoint.pt``      network and trees
``manifest.json``      the manifest as it will be exported
``config.toml``        the configuration with all of its defaults, its paths made absolute
``data.json``          fingerprint of what was read, devices, channels, classes, findings
``split.json``         the blocks and their parts; of a retrained run also the data and blocks of the runs before it
``metrics.json``       scores of the validation and test blocks, notes, times; of a retrained run also ``retraining``
``curves.json``        the training curves, one entry per epoch
``reference.npz``      what the final model computes on real windows; the exporter checks against it
``report.html``        all of this to look at
``resume.pt``          only while training is unfinished
=====================  ==================================================================================
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from rarefault.runtime.arrays import Float32
from rarefault.runtime.errors import RarefaultError
from rarefault.runtime.inference.manifest import Manifest
from rarefault.train.config import TrainConfig, load_train_config, to_toml
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.model.experts import Experts

#: Sequences and windows of each that the reference outputs are for.
REFERENCE_SEQUENCES, REFERENCE_STEPS = 8, 24


@dataclass(frozen=True)
class Reference:
    """Outputs of the trained model on real windows, from a zero state.

    Attributes:
        window: raw windows, the second half of N being the first with holes, [T, N, L, C].
        opinions: [T, N, E, V].
        state: after each step, [T, N, S].
    """

    window: Float32
    opinions: Float32
    state: Float32


class RunDirectory:
    """Paths of a run, and reading and writing of what is in them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.pt"
        self.manifest = path / "manifest.json"
        self.config = path / "config.toml"
        self.data = path / "data.json"
        self.split = path / "split.json"
        self.metrics = path / "metrics.json"
        self.curves = path / "curves.json"
        self.reference = path / "reference.npz"
        self.report = path / "report.html"
        self.resume = path / "resume.pt"

    @property
    def finished(self) -> bool:
        """Whether a training has ended here; its metrics are written last."""
        return self.metrics.is_file() and not self.resume.exists()

    @property
    def accepted(self) -> bool:
        """False where a retraining made the model worse; such a model must not be served."""
        if not self.metrics.is_file():
            return True
        return bool(self.load_json(self.metrics).get("retraining", {}).get("accepted", True))

    def save_config(self, config: TrainConfig) -> None:
        """Write the resolved configuration."""
        self.config.write_text(to_toml(config), encoding="utf-8")

    def load_config(self) -> TrainConfig:
        """Read the resolved configuration."""
        self._require(self.config)
        return load_train_config(self.config)

    def save_model(self, model: Experts, held_out: Experts | None = None) -> None:
        """Write the experts, and those that have not seen the validation blocks, where these differ."""
        torch.save(
            {"model": model.saved(), "held_out": None if held_out is None else held_out.saved()}, self.checkpoint
        )

    def load_model(self, *, held_out: bool = False) -> Experts:
        """Read the experts, ready to judge.

        Args:
            held_out: those that have not seen the validation blocks, to judge these blocks.

        Raises:
            RarefaultError: the checkpoint is missing or damaged, or of an earlier release.
        """
        self._require(self.checkpoint)
        try:
            saved = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
            return Experts.of_saved((held_out and saved["held_out"]) or saved["model"])
        except Exception as error:  # torch raises a different class for each way a file can be broken
            raise RarefaultError(
                f"{self.checkpoint}: damaged or no checkpoint of this release ({error}); train again"
            ) from error

    def save_manifest(self, manifest: Manifest) -> None:
        """Write the manifest."""
        self.manifest.write_bytes(msgspec.json.format(manifest.to_json().encode(), indent=2))

    def load_manifest(self) -> Manifest:
        """Read the manifest."""
        self._require(self.manifest)
        try:
            return Manifest.from_json(self.manifest.read_bytes())
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise RarefaultError(f"{self.manifest}: not a manifest of this release ({error}); train again") from error

    def save_json(self, path: Path, value: Any) -> None:
        """Write plain values as readable JSON; the file appears whole or not at all."""
        part = path.with_name(f"{path.name}.part")
        part.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(path)

    def load_json(self, path: Path) -> Any:
        """Read JSON."""
        self._require(path)
        return json.loads(path.read_text(encoding="utf-8"))

    def save_reference(self, reference: Reference) -> None:
        """Write the reference outputs."""
        np.savez_compressed(self.reference, window=reference.window, opinions=reference.opinions, state=reference.state)

    def load_reference(self) -> Reference:
        """Read the reference outputs."""
        self._require(self.reference)
        with np.load(self.reference, allow_pickle=False) as found:
            return Reference(found["window"], found["opinions"], found["state"])

    def _require(self, path: Path) -> None:
        if not path.is_file():
            hint = (
                "training there is unfinished: 'rarefault train CONFIG --out DIR --resume' goes on with it"
                if self.resume.exists()
                else "a run directory is made by 'rarefault train'"
            )
            raise RarefaultError(f"{self.path} is not a finished run directory: {path.name} is missing; {hint}")


@torch.inference_mode()
def reference_outputs(model: Experts, windows: LabelledWindows) -> Reference:
    """Run the model over the longest segments of real windows, as they are and with holes, from a zero state."""
    model.eval()
    longest = sorted(windows.segments(), key=lambda s: s[0] - s[1])[:REFERENCE_SEQUENCES]
    steps = min(REFERENCE_STEPS, *(b - a for a, b in longest)) if len(longest) > 1 else REFERENCE_STEPS
    steps = min(steps, longest[0][1] - longest[0][0])
    select = np.array([a for a, _ in longest])[None, :] + np.arange(steps)[:, None]
    real = windows.windows.gather(select)
    # What depends on missing values must show in the outputs too, however complete the history is.
    window = np.concatenate((real, with_holes(np.random.default_rng(0), real)), axis=1)
    state = torch.zeros(window.shape[1], model.state_size)
    opinions, states = [], []
    for row in torch.from_numpy(window):
        of_all, state = model.step(row, state)
        opinions.append(of_all.numpy())
        states.append(state.numpy())
    return Reference(window, np.stack(opinions), np.stack(states))


def with_holes(rng: np.random.Generator, window: Float32) -> Float32:
    """A copy of windows [T, N, L, C] in which values, channels and whole windows are missing (NaN)."""
    steps, n, _, n_channels = window.shape
    missing = rng.random(window.shape) < 0.1
    missing |= rng.random((steps, n, 1, n_channels)) < 0.1
    missing |= rng.random((steps, n, 1, 1)) < 0.05
    return np.where(missing, np.float32(np.nan), window)
