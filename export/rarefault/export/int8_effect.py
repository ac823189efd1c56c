"""What quantisation changes: verdicts, alarms and macro-F1 on blocks that training did not see.

Dynamic int8 scales activations over the whole batch, so that an int8 verdict also depends on which other devices are
due with it. That effect is measured like the first, by serving the same blocks once more in the company of 63 other
devices, some of them wild.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import msgspec
import numpy as np

from rarefault.export.parity import Check, largest_difference, random_sequence, run_sequence
from rarefault.runtime.arrays import Float32, Float64, Int64
from rarefault.runtime.errors import RarefaultError
from rarefault.runtime.inference.decision import AlarmChange, Decision
from rarefault.runtime.inference.engine import Step
from rarefault.runtime.inference.manifest import Manifest, Share
from rarefault.runtime.times import parse_time_ms
from rarefault.train.dataset.split import Block, Split
from rarefault.train.evaluation.evaluate import evaluate
from rarefault.train.history import History, read_history
from rarefault.train.runs.run_directory import Reference, RunDirectory

#: Devices that share each batch where the dependence on company is measured.
COMPANY = 63


class Int8Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much quantisation may change before an export is refused."""

    changed: Share = 0.02
    """Share of the verdicts that differ from float32's, or from int8's own in other company."""
    macro_f1_loss: Share = 0.02
    alarms_changed: Share = 0.05
    """Share of the alarms that only one of both raises; a single one may always, unless this is 0."""


@dataclass(frozen=True)
class Judged:
    """Predictions of a step for the blocks.

    Attributes:
        posterior: [W, K].
        fault: verdicts, [W].
        alarms: every change as (device, end of the window in milliseconds, state).
        macro_f1: None where labels are not at hand.
    """

    posterior: Float64
    fault: Int64
    alarms: frozenset[tuple[int, int, int]]
    macro_f1: float | None


#: Serves the blocks with a step.
Judge = Callable[[Step], Judged]


def choose_judge(run: RunDirectory, manifest: Manifest, reference: Reference) -> tuple[Judge, str]:
    """The best data at hand to compare on, and what it is.

    The run's held-out test blocks, if its history can still be read and is what was trained on; else the real windows
    of the reference outputs, which carry no labels.
    """
    try:
        history = _held_out(run)
    except RarefaultError as error:
        reason = str(error).splitlines()[0]
        return (lambda step: _judge_reference(step, manifest, reference)), f"reference windows of the run ({reason})"
    return (lambda step: _judge_history(step, manifest, history)), "held-out test blocks of the run"


def measure(judge: Judge, exact: Step, quantised: Step, company: Step) -> dict[str, Any]:
    """The effects of quantisation and of company, as they are written into the manifest.

    Args:
        judge: serves the blocks with a step.
        exact: the float32 file.
        quantised: the int8 file.
        company: the int8 file with other devices in each batch.
    """
    float32, int8, crowded = judge(exact), judge(quantised), judge(company)
    return {
        "verdicts": len(float32.fault),
        **_difference(float32, int8),
        "macro_f1": {"float32": float32.macro_f1, "int8": int8.macro_f1},
        "company": {"devices": COMPANY, **_difference(int8, crowded), "macro_f1": crowded.macro_f1},
    }


def limit_checks(effect: dict[str, Any], limits: Int8Limits) -> list[Check]:
    """The limits held against what :func:`measure` found."""
    checks = [
        Check("share of verdicts", "int8 vs float32", effect["changed"], limits.changed),
        Check(
            "share of verdicts",
            f"int8 among {COMPANY} others vs alone",
            effect["company"]["changed"],
            limits.changed,
        ),
    ]
    for between, found in (("int8 vs float32", effect), (f"int8 among {COMPANY} others vs alone", effect["company"])):
        raised = found["alarms"]
        one = 1 / max(raised["before"], 1) if limits.alarms_changed else 0.0
        checks.append(Check("share of alarms", between, raised["changed"], max(limits.alarms_changed, one)))
    exact, quantised = effect["macro_f1"]["float32"], effect["macro_f1"]["int8"]
    if exact is not None and quantised is not None:
        loss = max(0.0, exact - quantised)
        checks.append(Check("loss of macro-F1", "int8 vs float32", loss, limits.macro_f1_loss))
    return checks


class InCompany:
    """A step whose every batch is shared with the same other devices; implements :class:`Step`.

    Args:
        step: the model.
        center, scale: of the channels; the others' telemetry is drawn around them, [C].
        length: bins in a window.
        state_size: S.
    """

    def __init__(self, step: Step, center: Float32, scale: Float32, length: int, state_size: int) -> None:
        self._step = step
        self._windows = cycle(random_sequence(np.random.default_rng(1), COMPANY, length, center, scale))
        self._state = np.zeros((COMPANY, state_size), np.float32)

    def __call__(self, window: Float32, state: Float32, /) -> tuple[Float32, Float32]:
        """Like the step itself, for the devices that it is given."""
        n = len(window)
        opinions, next_state = self._step(
            np.concatenate((window, next(self._windows))), np.concatenate((state, self._state))
        )
        self._state = next_state[n:]
        return opinions[:n], next_state[:n]


def _difference(before: Judged, after: Judged) -> dict[str, Any]:
    return {
        "changed": float((before.fault != after.fault).mean()),
        "posterior_difference": largest_difference(before.posterior, after.posterior),
        "alarm_changes": {
            "before": len(before.alarms),
            "after": len(after.alarms),
            "different": len(before.alarms ^ after.alarms),
        },
        "alarms": alarm_difference(before.alarms, after.alarms),
    }


def alarm_difference(before: frozenset[tuple[int, int, int]], after: frozenset[tuple[int, int, int]]) -> dict[str, Any]:
    """How many alarms each of both raises, and the share of them that the other does not.

    Two alarms are one where device and state are the same and they stand at the same time for a while; an alarm that
    falls to pieces is one of them. So an alarm may come or go a window sooner.

    Args:
        before, after: changes of alarm states, see :class:`Judged`.

    Returns:
        ``before``, ``after``, ``only_before``, ``only_after`` and ``changed``, the sum of the last two over ``before``,
        1 at most.
    """
    standing, others_of = _standing(before), _standing(after)
    same = 0
    for key, mine in standing.items():
        others = iter(others_of.get(key, []))
        other = next(others, None)
        for since, until in mine:
            while other is not None and other[1] <= since:
                other = next(others, None)
            if other is not None and other[0] < until:
                same += 1
                other = next(others, None)
    n, m = (sum(map(len, of.values())) for of in (standing, others_of))
    only = n - same, m - same
    changed = min(1.0, sum(only) / max(n, 1))
    return {"before": n, "after": m, "only_before": only[0], "only_after": only[1], "changed": changed}


def _standing(changes: frozenset[tuple[int, int, int]]) -> dict[tuple[int, int], list[tuple[float, float]]]:
    """From when to when each alarm stands, by device and state, in order of time."""
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    after: tuple[int, float] = (-1, math.inf)
    for device, since, state in sorted(changes, reverse=True):
        if state > 0:
            found.setdefault((device, state), []).append((since, after[1] if after[0] == device else math.inf))
        after = (device, since)
    return {key: alarms[::-1] for key, alarms in found.items()}


def _held_out(run: RunDirectory) -> History:
    """The test blocks of a run's history.

    Raises:
        RarefaultError: the history cannot be read, or is not what the run was trained on.
    """
    history = read_history(run.load_config().data, run.path, channels=run.load_manifest().channel_specs)
    if history.fingerprint != run.load_json(run.data)["fingerprint"]:
        raise RarefaultError("the history has changed since training")
    blocks = tuple(
        Block(b["device"], parse_time_ms(b["start"]), parse_time_ms(b["end"]), b["part"])
        for b in run.load_json(run.split)["blocks"]
    )
    return Split(blocks, ()).select(history, "test")


def _judge_history(step: Step, manifest: Manifest, history: History) -> Judged:
    found = evaluate(history, manifest, step, manifest.name)
    verdicts = found.verdicts
    return Judged(verdicts.posterior, verdicts.fault, _alarms(verdicts.alarms), found.scores.macro_f1)


def _judge_reference(step: Step, manifest: Manifest, reference: Reference) -> Judged:
    steps, n = reference.window.shape[:2]
    zero = np.zeros((n, manifest.state_size), np.float32)
    opinions, _ = run_sequence(step, reference.window, zero)
    opinions = np.ascontiguousarray(opinions.swapaxes(0, 1))  # by device, then by time
    opinions = opinions.reshape(n * steps, *opinions.shape[2:])
    device = np.repeat(np.arange(n, dtype=np.int32), steps)
    turn = np.tile(np.arange(steps), n)
    end_ms = turn * manifest.window.stride * manifest.grid.period_ms
    decided = Decision(manifest.decision).judge(device, end_ms, turn == 0, opinions)
    return Judged(decided.posterior, decided.fault, _alarms(decided.alarms), None)


def _alarms(changes: list[AlarmChange]) -> frozenset[tuple[int, int, int]]:
    return frozenset((change.device, change.end_ms, change.state) for change in changes)
