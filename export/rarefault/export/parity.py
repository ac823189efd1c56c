"""Parity: what is served must compute what was trained, output by output.

Two steps (see :class:`rarefault.runtime.inference.engine.Step`) are run side by side, each with its own state, and the
largest difference of every output is held against what is allowed. The same comparison proves the checkpoint against
the reference outputs of its training, and the exported file against the checkpoint.

Shapes: T windows, N devices due, L bins, I columns, E experts, V values of an opinion, S carried state.

Why: decision 0029.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Float32, Float64
from rarefault.runtime.errors import ParityError
from rarefault.runtime.inference.engine import Step
from rarefault.train.model.experts import Experts
from rarefault.train.model.step import TorchStep
from rarefault.train.runs.run_directory import Reference, with_holes

#: Largest difference allowed in an opinion or a carried value. Rounding errors grow with what is rounded: in proportion
#: more is allowed for carried values over 1, and for log-probabilities and logits beyond 16 (1e-7 from certain).
ALLOWED = 1e-5
#: Rounding errors of carried values grow with the number of channels, too. They may differ by so many times what the
#: checkpoint itself loses by computing in single precision, where that is more.
ROUNDING = 4.0
#: Devices due together in the random sequences.
BATCHES = (1, 7, 64)
#: Windows in a random sequence; the state is carried over all of them.
STEPS = 24

#: Opinions [T, N, E, V] and the state after each step [T, N, S].
Outputs = tuple[Float32, Float32]


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison that was made.

    Attributes:
        of: what was compared; of a step the output's name.
        between: the two sides, and the input on which they were compared.
        measured: the largest difference found.
        allowed: the largest difference allowed.
    """

    of: str
    between: str
    measured: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the difference is allowed; one that is no number never is."""
        return self.measured <= self.allowed


def require(checks: Sequence[Check], refusal: str) -> None:
    """Raise ParityError, beginning with ``refusal``, for the worst of the checks that do not hold."""
    failed = [check for check in checks if not check.holds]
    if failed:
        worst = max(failed, key=lambda check: check.measured)
        raise ParityError(f"{refusal}: {worst.of}, {worst.between}", worst.measured, worst.allowed)


def check_checkpoint(step: Step, reference: Reference) -> list[Check]:
    """Whether a checkpoint still computes what it computed at the end of its training."""
    n, size = reference.state.shape[1:]
    got = run_sequence(step, reference.window, np.zeros((n, size), np.float32))
    return _compare("checkpoint vs its training", (reference.opinions, reference.state), got)


def check_file(
    file: Step, torch: Step, precise: TorchStep | None, center: Float32, scale: Float32, reference: Reference
) -> list[Check]:
    """Whether an exported file computes what the checkpoint computes, alone and in any company.

    Args:
        file: the step of the file as the daemon loads it.
        torch: the step of the checkpoint.
        precise: its network in double precision, of which only the carried state is looked at; None without one.
        center, scale: of the columns; random telemetry is drawn around them, [C].
        reference: real windows, some with holes.
    """
    rng = np.random.default_rng(0)
    length, size = reference.window.shape[2], reference.state.shape[2]
    sequences = {f"random, N = {n}": random_sequence(rng, n, length, center, scale) for n in BATCHES}
    sequences[f"real, N = {reference.window.shape[1]}"] = reference.window
    checks: list[Check] = []
    for name, windows in sequences.items():
        zero = np.zeros((windows.shape[1], size), np.float32)
        expected, got = run_sequence(torch, windows, zero), run_sequence(file, windows, zero)
        exact = expected[1] if precise is None else run_sequence(precise, windows, zero)[1]
        lost = largest_difference(exact / _size(exact), expected[1] / _size(exact))
        checks += _compare(f"file vs checkpoint, {name}", expected, got, max(ALLOWED, ROUNDING * lost))
    alone, together = alone_and_together(file, size, sequences[f"random, N = {BATCHES[-1]}"])
    return [*checks, *_compare(f"file, {BATCHES[-1]} together vs each alone", alone, together)]


def precise_step(model: Experts) -> TorchStep | None:
    """The network in double precision, without the trees, which carry nothing; None where nothing is carried."""
    if model.network is None:
        return None
    return TorchStep(Experts(copy.deepcopy(model.network).double(), None))


def random_sequence(
    rng: np.random.Generator, n: int, length: int, center: Float32, scale: Float32, steps: int = STEPS
) -> Float32:
    """Random raw windows [T, N, L, C] that visit what telemetry can bring.

    Around ``center`` [C] in multiples of ``scale`` [C]: quiet and wild devices (the latter are clipped), readings of a
    broken sensor, and what :func:`rarefault.train.runs.run_directory.with_holes` takes away.
    """
    shape = (steps, n, length, len(center))
    spread = rng.choice([0.1, 1.0, 30.0], size=(1, n, 1, 1), p=[0.3, 0.6, 0.1])
    x = center + scale * spread * rng.normal(size=shape)
    x[rng.random(shape) < 0.001] = 1e30
    return with_holes(rng, x.astype(np.float32))


def run_sequence(step: Step, window_TNLC: Float32, state_NS: Float32) -> Outputs:
    """Carry the state over a sequence and keep all outputs."""
    opinions, states = [], []
    state = state_NS
    for window in window_TNLC:
        of_all, state = step(window, state)
        opinions.append(of_all)
        states.append(state)
    return np.stack(opinions), np.stack(states)


def alone_and_together(step: Step, state_size: int, window_TNLC: Float32) -> tuple[Outputs, Outputs]:
    """The outputs of a sequence with each device in a batch of its own, and with all in one batch."""
    zero = np.zeros((window_TNLC.shape[1], state_size), np.float32)
    alone = [run_sequence(step, window_TNLC[:, i : i + 1], zero[i : i + 1]) for i in range(len(zero))]
    joined = (np.concatenate([out[0] for out in alone], axis=1), np.concatenate([out[1] for out in alone], axis=1))
    return joined, run_sequence(step, window_TNLC, zero)


def largest_difference(expected: Float32 | Float64, got: Float32 | Float64) -> float:
    """The largest absolute difference, infinite where one of both is not a number."""
    difference = np.abs(np.asarray(got, np.float64) - expected)
    return float(np.where(np.isnan(difference), np.inf, difference).max(initial=0.0))


def _compare(what: str, expected: Outputs, got: Outputs, allowed_state: float = ALLOWED) -> list[Check]:
    sizes = np.maximum(1.0, np.abs(expected[0]) / 16), _size(expected[1])
    parts = zip(("opinions", "next_state"), expected, got, sizes, (ALLOWED, allowed_state), strict=True)
    return [Check(of, what, largest_difference(a / size, b / size), allowed) for of, a, b, size, allowed in parts]


def _size(state: Float32) -> Float32:
    """What a difference of carried values is measured by."""
    return np.maximum(1.0, np.abs(state))
