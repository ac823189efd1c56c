"""The last steps of every reader: span, fault classes, fingerprint."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int32, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import NO_DATA, NORMAL, UNKNOWN
from rarefault.runtime.times import format_ms
from rarefault.train.history.assemble import Piece, assemble, drop_values
from rarefault.train.history.data import NO_UNIT, UNLABELLED, Events, History, Stretches, fingerprint
from rarefault.train.history.notes import REPEATED_EVENTS, REVERSED_EVENTS, ReadNotes
from rarefault.train.history.parsing.lines import Block
from rarefault.train.history.source import SourceConfig


@dataclass(slots=True)
class EventPiece:
    """Events (v of them) that stand together in a log.

    Attributes:
        device: index into the devices, [v].
        start_ms: milliseconds since the epoch, [v].
        end_ms: milliseconds since the epoch, [v].
        fault: index into the faults met so far, [v].
        unit: index into the units met so far, -1 for none, [v]; None where the log has no column for units.
    """

    device: Int32
    start_ms: Int64
    end_ms: Int64
    fault: Int32
    unit: Int32 | None = None


@dataclass(slots=True)
class Draft:
    """What a reader has collected.

    Attributes:
        pieces: the samples, in the order of the files.
        events: the fault log, in the order of the files.
        notes: what was wrong.
    """

    pieces: list[Piece] = field(default_factory=list)
    events: list[EventPiece] = field(default_factory=list)
    notes: ReadNotes = field(default_factory=ReadNotes)


def refuse_reversed(block: Block, start_ms: Int64, end_ms: Int64, notes: ReadNotes) -> Bool:
    """Count the block's events that end before they start; which of them are left, [m]."""
    reversed_ = block.good & (end_ms < start_ms)
    block.note(notes, REVERSED_EVENTS, reversed_)
    return block.good & ~reversed_


def finish(
    config: SourceConfig,
    draft: Draft,
    *,
    devices: list[str],
    channels: list[str],
    counters: list[str],
    faults: list[str],
    fault_order: list[str],
    units: Sequence[str] = (),
) -> History:
    """Put a draft together.

    Args:
        config: start, end and the rule for overlaps.
        draft: samples and events.
        devices: names by index, as the draft numbers them; those of the history are in this order.
        channels: names in their order.
        counters: those of the channels that only increase.
        faults: names by index, as the draft numbers them; ``unlabelled`` is none.
        fault_order: all of them in the order of the classes; those that do not occur are left out.
        units: names by index, as the draft numbers them.
    """
    draft.pieces = [_piece_within(piece, config.span_ms) for piece in draft.pieces]
    drop_values(draft.pieces, config.missing, draft.notes)
    device, time_ms, values = assemble(draft.pieces, channels, draft.notes)
    log = _within(_concatenate(draft.events), config.span_ms)
    unknown = log.fault == (faults.index(UNLABELLED) if UNLABELLED in faults else -1)
    unlabelled = Stretches(log.device[unknown], log.start_ms[unknown], log.end_ms[unknown])
    classes, events = _classed(log.select(~unknown), faults, fault_order)
    _note_repeated(events, devices, classes, draft.notes)
    history = History(
        devices=tuple(devices),
        channels=tuple(channels),
        classes=classes,
        counters=tuple(counters),
        device=device,
        time_ms=time_ms,
        values=values,
        events=events,
        overlap=config.overlap,
        event_times=config.event_times,
        notes=draft.notes,
        fingerprint="",
        unlabelled=unlabelled,
        units=tuple(units),
    )
    return replace(history, fingerprint=_fingerprint(history))


def _piece_within(piece: Piece, span_ms: tuple[int | None, int | None]) -> Piece:
    """The samples of a piece from the start to before the end of a span."""
    start_ms, end_ms = span_ms
    if start_ms is None and end_ms is None:
        return piece
    low, high = start_ms or 0, end_ms if end_ms is not None else np.iinfo(np.int64).max
    return piece.select((piece.time_ms >= low) & (piece.time_ms < high))


def _within(events: Events, span_ms: tuple[int | None, int | None]) -> Events:
    """The events that share some time with a span."""
    start_ms, end_ms = span_ms
    inside = np.ones(len(events), bool)
    if start_ms is not None:
        inside &= events.end_ms >= start_ms
    if end_ms is not None:
        inside &= events.start_ms < end_ms
    return events.select(inside)


def _classed(events: Events, faults: list[str], fault_order: list[str]) -> tuple[tuple[str, ...], Events]:
    """The classes that occur, and the events with their numbers; before, faults are numbered as in ``faults``.

    Raises:
        HistoryError: a fault has the name of a verdict where no class is known.
    """
    occurring = {faults[code] for code in np.unique(events.fault).tolist()}
    _check_faults(occurring)
    classes = (NORMAL, *(name for name in fault_order if name in occurring))
    class_of = np.array([classes.index(name) if name in occurring else 0 for name in faults], np.int32)
    return classes, replace(events, fault=class_of[events.fault]) if len(events) else events


def _fingerprint(history: History) -> str:
    """sha256 of the samples and the log; what a history lacks leaves it as it is."""
    events, unlabelled = history.events, history.unlabelled
    arrays: list[Int32 | Int64 | Float64] = [history.device, history.time_ms, history.values]
    arrays += [events.device, events.start_ms, events.end_ms, events.fault]
    if len(unlabelled):
        arrays += [unlabelled.device, unlabelled.start_ms, unlabelled.end_ms]
    if (events.unit != NO_UNIT).any():
        arrays.append(events.unit)
    return fingerprint(history.devices, history.channels, history.classes, tuple(arrays))


def _check_faults(names: set[str]) -> None:
    """HistoryError where a fault has the name of a verdict where no class is known."""
    if reserved := sorted(names & {UNKNOWN, NO_DATA}):
        raise HistoryError(
            f"data: a fault is named {reserved[0]!r}, which is the verdict where no class is known: give it another "
            f"name or, for time of which nobody knows the class, {UNLABELLED!r}"
        )


def _concatenate(pieces: list[EventPiece]) -> Events:
    if not pieces:
        return Events.none()
    return Events(
        np.concatenate([piece.device for piece in pieces]),
        np.concatenate([piece.start_ms for piece in pieces]),
        np.concatenate([piece.end_ms for piece in pieces]),
        np.concatenate([piece.fault for piece in pieces]),
        np.concatenate([np.full(len(p.fault), NO_UNIT, np.int32) if p.unit is None else p.unit for p in pieces]),
    )


def _note_repeated(events: Events, devices: list[str], classes: tuple[str, ...], notes: ReadNotes) -> None:
    columns = (events.fault, events.end_ms, events.start_ms, events.device)
    order = np.lexsort(columns)
    twin = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        twin &= np.diff(column[order]) == 0
    if twin.any():
        row = int(order[1:][twin].min())
        example = (
            f"{devices[events.device[row]]} {classes[events.fault[row]]} "
            f"{format_ms(int(events.start_ms[row]))} to {format_ms(int(events.end_ms[row]))}"
        )
        notes.add(REPEATED_EVENTS, int(twin.sum()), example, problem=False)
