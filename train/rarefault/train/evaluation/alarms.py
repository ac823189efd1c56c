"""Alarms against events: which of them were right, and what other thresholds would have raised."""

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.runtime.inference.decision import STATE_NO_DATA, AlarmChange, Decision
from rarefault.runtime.inference.manifest import DecisionSpec, GridSpec
from rarefault.train.history import History, labelled_ends

#: Windows times settings that are simulated at once; bounds the memory.
MAX_AT_ONCE = 2_000_000


class AlarmCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms and events of some stretch of time."""

    true: int
    """Raised fault alarms during which an event of their fault is active."""
    false: int
    """Other raised fault alarms, and ``unknown`` during which no event of any fault is; but for those that meet time
    without a label."""
    unknown: int
    """Raised ``unknown``, whatever was there."""
    changes: int
    """Changes of the alarm state that a person sees, faults to ``normal`` included, in time with a label. The
    first state of a device, and ``no data``, are none."""
    events: int
    """Events with at least one judged window."""
    seen: int
    """Those of them that an alarm of their fault meets."""

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the share of alarms that are true and the share of events seen; None without events."""
        if not self.events:
            return None
        precision, recall = self.true / max(self.true + self.false, 1), self.seen / self.events
        return 2 * precision * recall / (precision + recall) if self.seen and self.true else 0.0


class States(msgspec.Struct, frozen=True):
    """Alarm states of devices, in order of device and time, [S] each."""

    device: Int64
    state: Int64
    since_ms: Int64
    """End of the first window that spoke for the state."""
    end_ms: Int64
    """End of the window that brought it."""

    @classmethod
    def of(cls, alarms: list[AlarmChange]) -> "States":
        """Alarm changes of a pipeline."""
        ordered = sorted(alarms, key=lambda change: (change.device, change.end_ms))
        columns = [[getattr(change, name) for change in ordered] for name in ("device", "state", "since_ms", "end_ms")]
        return cls(*(np.asarray(column, np.int64) for column in columns))


class RaisedAlarms(msgspec.Struct, frozen=True):
    """Alarms of faults and ``unknown``, in order of device and time, [A] each."""

    device: Int64
    state: Int64
    """The fault; K for ``unknown``."""
    since_ms: Int64
    """End of the first window that spoke for it, half a bin earlier."""
    until_ms: Int64
    """When it ended, half a bin later."""
    raised_ms: Int64
    """When people saw it."""
    true: Bool
    """Whether an event of its fault is active at some time of it; never for ``unknown``."""
    false: Bool
    """Whether no event is, nor time without a label."""


class AlarmJudge:
    """Counts right and wrong alarms.

    An alarm and an event meet where they share some time, once the alarm is widened by half a bin at both ends: who is
    called half a bin too soon or too late was not called for nothing. An alarm lasts from the first window that spoke
    for it to the next change, or to the last window.

    Args:
        history: gives events, time without a label and classes.
        device, end_ms: of the windows with a label, sorted by device and time, [W].
        grid: the bins.
    """

    def __init__(self, history: History, device: Int64, end_ms: Int64, grid: GridSpec) -> None:
        self._k, self._half_ms = len(history.classes), grid.period_ms // 2
        events = history.events
        self._group = events.device.astype(np.int64) * self._k + events.fault
        self._start_ms, self._end_ms = events.start_ms, events.end_ms
        self._events = _Spans(self._group, events.start_ms, events.end_ms)
        self._any_event = _Spans(events.device.astype(np.int64), events.start_ms, events.end_ms)
        silent = history.unlabelled
        self._silent = _Spans(silent.device.astype(np.int64), silent.start_ms, silent.end_ms)
        windows = _Spans(device.astype(np.int64), end_ms, end_ms)
        self._windows = windows
        labelled = labelled_ends(events, grid, history.event_times)
        self._judged = np.flatnonzero(windows.meet(events.device.astype(np.int64), *labelled))
        self._last_ms = dict(zip(device.tolist(), end_ms.tolist(), strict=True))

    @property
    def n_events(self) -> int:
        """Number of events with at least one judged window."""
        return len(self._judged)

    def count(self, states: States) -> AlarmCounts:
        """Compare the alarms with the events."""
        raised = self.raised(states)
        first = np.diff(states.device, prepend=-1) != 0
        there = self._windows.meet(states.device, states.end_ms, states.end_ms)
        changed = ~first & (states.state != STATE_NO_DATA) & there
        chosen, of_fault = self._judged, raised.state != self._k
        group = (raised.device * self._k + raised.state)[of_fault]
        alarms = _Spans(group, raised.since_ms[of_fault], raised.until_ms[of_fault])
        seen = alarms.meet(self._group[chosen], self._start_ms[chosen], self._end_ms[chosen])
        return AlarmCounts(
            true=int(raised.true.sum()),
            false=int(raised.false.sum()),
            unknown=int((~of_fault).sum()),
            changes=int(changed.sum()),
            events=len(chosen),
            seen=int(seen.sum()),
        )

    def false_alarms(self, raised: RaisedAlarms) -> dict[int, int]:
        """Number of false alarms of each device that has some, those with most first."""
        slots, counts = np.unique(raised.device[raised.false], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return dict(zip(slots[order].tolist(), counts[order].tolist(), strict=True))

    def raised(self, states: States) -> RaisedAlarms:
        """The alarms among the states, each judged by the events."""
        device, state = states.device, states.state
        last_ms = np.asarray([self._last_ms.get(slot, 0) for slot in device.tolist()], np.int64)
        until_ms = last_ms.copy()
        until_ms[:-1] = np.where(device[1:] == device[:-1], states.end_ms[1:], last_ms[:-1])
        until_ms = np.maximum(until_ms, states.end_ms)
        raised = state > 0
        device, state, until_ms = device[raised], state[raised], until_ms[raised] + self._half_ms
        since_ms = states.since_ms[raised] - self._half_ms
        unknown = state == self._k
        true = ~unknown & self._events.meet(device * self._k + state, since_ms, until_ms)
        right = true | (unknown & self._any_event.meet(device, since_ms, until_ms))
        excused = ~right & self._silent.meet(device, since_ms, until_ms)
        return RaisedAlarms(device, state, since_ms, until_ms, states.end_ms[raised], true, ~right & ~excused)

    def first_alarms(self, raised: RaisedAlarms) -> dict[int, int]:
        """When the first alarm of its fault was raised for each event that met one, by the event's number."""
        group = raised.device * self._k + raised.state
        group[raised.state == self._k] = -1
        found = {}
        for event in self._judged.tolist():
            meets = (group == self._group[event]) & (raised.since_ms <= self._end_ms[event])
            if len(mine := np.flatnonzero(meets & (raised.until_ms >= self._start_ms[event]))):
                found[event] = int(raised.raised_ms[mine].min())
        return found


class AlarmTrial:
    """What other thresholds would have raised, by the very rule of the daemon.

    Args:
        judge: counts.
        spec: the decision; its thresholds do not matter.
        device, end_ms, fresh: of all windows, sorted by device and time, [W]; ``fresh`` at the first of a segment.
        posterior: [W, K].
        span_ms: time between the ends of two windows of a segment.
        far: which windows are far from all classes; None: where no distance was measured, [W].
    """

    def __init__(
        self,
        judge: AlarmJudge,
        spec: DecisionSpec,
        device: Int64,
        end_ms: Int64,
        fresh: Bool,
        posterior: Float64,
        span_ms: int,
        far: Bool | None = None,
    ) -> None:
        self._far = far
        self.judge, self._spec = judge, spec
        self._device, self._end_ms, self._fresh = device.astype(np.int64), end_ms, fresh
        self._posterior = posterior
        self._span_ms = span_ms

    def count(self, thresholds: Float64) -> list[AlarmCounts]:
        """Counts for each setting of the thresholds, [N, K]."""
        at_once = max(1, MAX_AT_ONCE // max(len(self._device), 1))
        return [
            self.judge.count(states)
            for a in range(0, len(thresholds), at_once)
            for states in self.states(thresholds[a : a + at_once])
        ]

    def states(self, thresholds: Float64) -> list[States]:
        """The alarm states under each of some settings, [N, K].

        An alarm state starts anew in every segment, so the segments of all settings are followed side by side, as if
        each were a device; a state that is not the last one of the device itself is then a change.
        """
        n, w = len(thresholds), len(self._device)
        if w == 0:
            return [States(*(np.empty(0, np.int64),) * 4)] * n
        decisions = [
            Decision(msgspec.structs.replace(self._spec, thresholds=tuple(row))) for row in thresholds.tolist()
        ]
        scores = [decision.score(self._posterior) for decision in decisions]
        first = np.flatnonzero(self._fresh)
        segment = np.cumsum(self._fresh) - 1
        changes = decisions[0].follow(
            (np.arange(n)[:, None] * len(first) + segment).ravel().astype(np.int32),
            np.tile(self._end_ms, n),
            np.tile(self._fresh, n),
            np.tile(self._posterior, (n, 1)),
            np.concatenate(scores),
            None if self._far is None else np.tile(self._far, n),
        )
        state = np.zeros((n, w), np.int64)
        since_ms = np.zeros((n, w), np.int64)
        set_here = np.zeros((n, w), bool)
        state[:, first], since_ms[:, first], set_here[:, first] = STATE_NO_DATA, self._end_ms[first], True
        if changes:
            slot, new, since, end = np.asarray([(c.device, c.state, c.since_ms, c.end_ms) for c in changes]).T
            begin = first[slot % len(first)]
            at = (slot // len(first), begin + (end - self._end_ms[begin]) // self._span_ms)
            state[at], since_ms[at], set_here[at] = new, since, True
        held = np.maximum.accumulate(np.where(set_here, np.arange(w), 0), axis=1)
        state, since_ms = (np.take_along_axis(values, held, axis=1) for values in (state, since_ms))
        new_device = np.r_[True, self._device[1:] != self._device[:-1]]
        before = np.where(new_device, STATE_NO_DATA, np.c_[state[:, :1], state[:, :-1]])
        found = []
        for row in range(n):
            at_row = np.flatnonzero(state[row] != before[row])
            found.append(States(self._device[at_row], state[row, at_row], since_ms[row, at_row], self._end_ms[at_row]))
        return found


class _Spans:
    """Intervals in groups, and which others they meet."""

    def __init__(self, group: Int64, start: Int64, end: Int64) -> None:
        order = np.lexsort((start, group))
        group, start, end = group[order], start[order], end[order]
        names, first = np.unique(group, return_index=True)
        stop = np.r_[first[1:], len(group)][: len(first)]
        # With the starts in order and the latest end so far, one search tells whether any interval is met.
        self._groups = {
            int(name): (start[a:b], np.maximum.accumulate(end[a:b]))
            for name, a, b in zip(names, first, stop, strict=True)
        }

    def meet(self, group: Int64, start: Int64, end: Int64) -> Bool:
        """Which of some intervals share an instant with one of their group, both ends inclusive, [V]."""
        met = np.zeros(len(group), bool)
        for name in np.unique(group).tolist():
            if name in self._groups:
                starts, latest = self._groups[name]
                mine = np.flatnonzero(group == name)
                at = np.searchsorted(starts, end[mine], "right") - 1
                met[mine] = (at >= 0) & (latest[np.maximum(at, 0)] >= start[mine])
        return met
