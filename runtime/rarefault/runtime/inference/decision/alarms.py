"""Alarms: what a person sees of the verdicts.

A fault's alarm is raised when it is the verdict with a score of at least ``raise_threshold`` for ``on_delay_s``, and
stays until its score has been below ``clear_threshold`` for ``off_delay_s``, or until another fault is raised. A muted
fault raises no alarm.

A single window that fits no class is no evidence of something new: at a coverage of 0.9, a tenth of all windows of
normal are below their threshold. ``unknown_windows`` of them in a row are evidence, as held-out time hardly ever has as
many. Only then, and only where ``unknown_windows`` is not 0, the alarm state is ``unknown``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefault.runtime.arrays import ALL, Bool, DeviceArrays, Float64, Int32, Int64
from rarefault.runtime.inference.manifest import DecisionSpec

#: Alarm state of a device whose present segment has no window yet, or that is silent.
STATE_NO_DATA = -1
#: Stands for a state that a model with other classes reported.
STATE_FOREIGN = -2


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """One change of one device's alarm state.

    Attributes:
        device: slot of the device.
        state: index of the class, K for ``unknown``, -1 for ``no data``.
        since_ms: end of the first window that spoke for the new state.
        end_ms: end of the window that brought the change.
        probability: posterior of the new state's class; 0 for ``unknown`` and ``no data``, which have none.
        score: what decided, between 0 and 1: the score of the new state's class; 0 for ``unknown`` and ``no data``.
        silent: whether it is silence that brought the change; the two times are then those of the last sample.
        channels: columns of the channels that moved the verdict, with what each gave; see
            :mod:`rarefault.runtime.inference.explain`.
        unit: number of the unit that shows the fault; None where it is not looked for at units.
    """

    device: int
    state: int
    since_ms: int
    end_ms: int
    probability: float
    score: float = 0.0
    silent: bool = False
    channels: tuple[tuple[int, float], ...] = ()
    unit: int | None = None


class _Alarms(DeviceArrays):
    """The alarm of every device.

    Attributes:
        alarm: its state, [D].
        reported: the state that was reported last, [D].
        candidate: the state that the last window called for, [D].
        since_ms: end of the first window in a row that spoke for the candidate, [D].
        strange: windows in a row that fit no class, [D].
    """

    alarm: Int64
    reported: Int64
    candidate: Int64
    since_ms: Int64
    strange: Int64

    def __init__(self) -> None:
        super().__init__(alarm=STATE_NO_DATA, reported=STATE_NO_DATA, candidate=STATE_NO_DATA, since_ms=0, strange=0)


class Alarms:
    """Follows the verdicts of every device.

    Args:
        spec: scores, delays and muted faults are used.
    """

    def __init__(self, spec: DecisionSpec) -> None:
        self.use(spec)
        self._alarms = _Alarms()

    def use(self, spec: DecisionSpec) -> None:
        """Use other settings for the same classes from now on; the alarms of devices stay."""
        self._spec, self._n_classes = spec, len(spec.thresholds)
        self._audible = ~np.isin(np.arange(self._n_classes), spec.muted)

    def follow(
        self,
        device: Int32,
        end_ms: Int64,
        fresh: Bool,
        turns: list[NDArray[np.int64]],
        posterior: Float64,
        score: Float64,
        strange: Bool,
    ) -> list[AlarmChange]:
        """The alarm changes of windows sorted by device, then by time.

        Args:
            device, end_ms, fresh: of the windows, [W].
            turns: see :func:`rarefault.runtime.inference.engine.rounds`.
            posterior, score: [W, K].
            strange: see :meth:`rarefault.runtime.inference.decision.Decision.strange`, [W].
        """
        changes: list[AlarmChange] = []
        if len(device):
            self._alarms.make_room(int(device.max()) + 1)
        for turn in turns:
            changes += self._turn(device[turn], end_ms[turn], fresh[turn], posterior[turn], score[turn], strange[turn])
        return changes

    def _turn(
        self, device: Int32, end_ms: Int64, fresh: Bool, posterior: Float64, score: Float64, strange: Bool
    ) -> list[AlarmChange]:
        """Advance the alarms of different devices by one window each."""
        k, spec, alarms = self._n_classes, self._spec, self._alarms
        row = np.arange(len(device))
        verdict = score.argmax(axis=1)
        alarm = np.where(fresh, STATE_NO_DATA, alarms.alarm[device])
        candidate = np.where(fresh, STATE_NO_DATA, alarms.candidate[device])
        in_a_row = np.where(strange, np.where(fresh, 0, alarms.strange[device]) + 1, 0)

        raised = (verdict > 0) & (score[row, verdict] >= spec.raise_threshold) & self._audible[verdict]
        standing = (alarm > 0) & (alarm < k)
        class_ = np.clip(alarm, 0, k - 1)
        kept = standing & (score[row, class_] >= spec.clear_threshold) & self._audible[class_]
        new = (in_a_row >= spec.unknown_windows) if spec.unknown_windows else np.zeros(len(device), bool)
        wanted = np.where(raised, verdict, np.where(kept, alarm, np.where(new, k, 0)))

        since_ms = np.where(wanted == candidate, alarms.since_ms[device], end_ms)
        # A device of which nothing is known yet is normal at once; only faults and doubts must last.
        calm_delay_ms = np.where(alarm == STATE_NO_DATA, 0, round(spec.off_delay_s * 1000))
        delay_ms = np.where(wanted == 0, calm_delay_ms, round(spec.on_delay_s * 1000))
        change = (wanted != alarm) & (end_ms - since_ms >= delay_ms)

        alarm = np.where(change, wanted, alarm)
        alarms.alarm[device] = alarm
        alarms.candidate[device] = wanted
        alarms.since_ms[device] = since_ms
        alarms.strange[device] = in_a_row
        # Only a state that differs from the last reported one is reported: a device that comes back from a gap in the
        # same state causes no report; one that comes back in another state replaces the one that still stands.
        changed = np.flatnonzero(alarm != alarms.reported[device])
        alarms.reported[device] = alarm
        return [self._change(device[i], alarm[i], since_ms[i], end_ms[i], posterior[i], score[i]) for i in changed]

    def _change(
        self,
        device: np.int32,
        state: np.int64,
        since_ms: np.int64,
        end_ms: np.int64,
        posterior: Float64,
        score: Float64,
    ) -> AlarmChange:
        if state == STATE_NO_DATA:
            return AlarmChange(int(device), STATE_NO_DATA, int(end_ms), int(end_ms), 0.0)
        if state == self._n_classes:
            return AlarmChange(int(device), int(state), int(since_ms), int(end_ms), 0.0)
        probability, own_score = float(posterior[state]), float(score[state])
        return AlarmChange(int(device), int(state), int(since_ms), int(end_ms), probability, own_score)

    def silence(self, device: Int64, newest_ms: Int64) -> list[AlarmChange]:
        """Devices of which nothing has come for too long: nobody knows their state until they have a verdict again.

        Args:
            device: slots, each once, [D].
            newest_ms: time of the last sample of each, [D].
        """
        if len(device):
            self._alarms.make_room(int(device.max()) + 1)
        alarms = self._alarms
        had_state = np.flatnonzero(alarms.reported[device] != STATE_NO_DATA)
        alarms.alarm[device] = alarms.reported[device] = alarms.candidate[device] = STATE_NO_DATA
        alarms.strange[device] = 0
        return [
            AlarmChange(int(device[i]), STATE_NO_DATA, int(newest_ms[i]), int(newest_ms[i]), 0.0, silent=True)
            for i in had_state
        ]

    def reported(self, devices: int) -> Int64:
        """The state of the first ``devices`` slots that was reported last, [devices]."""
        self._alarms.make_room(devices)
        return self._alarms.reported[:devices].copy()

    def take_over(self, reported: Int64) -> None:
        """Go on after another model's decision: only states that differ from those that it reported are reported.

        Args:
            reported: states by slot, in this model's classes; -2 for one that this model does not have, [D].
        """
        self._alarms.make_room(len(reported))
        self._alarms.reported[: len(reported)] = reported

    def forget(self, devices: Int64) -> None:
        """Make slots as new."""
        self._alarms.forget(devices)

    def state(self, rows: slice = ALL) -> dict[str, NDArray[Any]]:
        """The alarms of the devices, by the name of the array."""
        return self._alarms.state(rows)

    def restore(self, state: Mapping[str, NDArray[Any]], first: int = 0) -> None:
        """Go on from what :meth:`state` gave from a slot on.

        Raises:
            KeyError, ValueError: it is another release's.
        """
        self._alarms.restore(state, first)
