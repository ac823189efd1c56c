"""What a run is trained on: its own history, and, where it was retrained, those of the runs before it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from rarefault.runtime.arrays import Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.times import parse_time_ms
from rarefault.train.dataset.split import Block, Split, describe_blocks
from rarefault.train.history import DataConfig, Events, History, Stretches, read_history
from rarefault.train.history.channel_specs import with_specs
from rarefault.train.history.labels import commonest_first
from rarefault.train.history.together import merge
from rarefault.train.runs.run_directory import RunDirectory


@dataclass(frozen=True)
class Sources:
    """A history, and which part each of its blocks belongs to.

    Attributes:
        history: of all sources, in the model's channels and classes where there is a model already.
        split: blocks of all sources.
        sources: what it was read from, as ``split.json`` keeps it, as it is now, the run's own data last.
        notes: where the sources are not as they were.
    """

    history: History
    split: Split
    sources: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()


def describe_source(data: DataConfig, history: History, blocks: Sequence[Block]) -> dict[str, Any]:
    """A source as plain values.

    Args:
        data: the section that it is read with.
        history: what was read.
        blocks: its blocks.
    """
    split = Split(tuple(blocks), ())
    return {
        "data": msgspec.to_builtins(data),
        "fingerprint": history.fingerprint,
        "samples": int(split.mask(history, None).sum()),
        "blocks": describe_blocks(split),
    }


def load_sources(run: RunDirectory, *, strict: bool = False) -> Sources:
    """Read once more what a finished run was trained on, with its blocks in the same parts.

    Args:
        run: its directory.
        strict: refuse a history with any finding.

    Raises:
        HistoryError: a source is gone.
    """
    manifest, split = run.load_manifest(), run.load_json(run.split)
    own = {"data": msgspec.to_builtins(run.load_config().data), "fingerprint": run.load_json(run.data)["fingerprint"]}
    own |= {"blocks": split["blocks"], "samples": split.get("samples")}
    sources: list[dict[str, Any]] = [*split.get("earlier", []), own]
    histories: list[History] = []
    blocks: list[Block] = []
    notes: list[str] = []
    for source in sources:
        section: DataConfig = from_mapping(source["data"], DataConfig, str(run.split))  # type: ignore[arg-type]
        try:
            history = read_history(section, run.path, strict=strict, channels=manifest.channel_specs)
        except HistoryError as error:
            raise HistoryError(
                f"{run.path}: what it was trained on cannot be read any more: {error}; bring it back, or train anew"
            ) from error
        mine = [
            Block(b["device"], parse_time_ms(b["start"]), parse_time_ms(b["end"]), b["part"]) for b in source["blocks"]
        ]
        there = Split(tuple(mine), ()).mask(history, None)
        expected = int(there.sum()) if source["samples"] is None else source["samples"]
        if not there.any():
            raise HistoryError(
                f"{run.path}: of the {expected} samples that it was trained on none is left in {_place(section)}; "
                "bring them back, or train anew"
            )
        if there.sum() < expected:
            notes.append(
                f"{expected - int(there.sum())} of {expected} samples of {run.path} are gone from {_place(section)}"
            )
        elif history.fingerprint != source["fingerprint"]:
            notes.append(
                f"{_place(section)} has changed since {run.path} was trained; its blocks are taken as it is now"
            )
        history = adapt(history, manifest, _place(section), str(run.path))
        histories.append(restrict(history, Split(tuple(mine), ())) if len(sources) > 1 else history)
        blocks += mine
        source |= {"fingerprint": history.fingerprint, "samples": int(there.sum())}
    return Sources(merge(histories), ordered(blocks), tuple(sources), tuple(notes))


def adapt(history: History, manifest: Manifest, what: str, model: str) -> History:
    """The history in a model's channels, classes and counters, without the values that the model takes as missing.

    Args:
        history: any.
        manifest: of the model.
        what, model: what history and model are called in messages.

    Raises:
        HistoryError: it lacks channels, or has faults that the model does not know.
    """
    history = with_specs(history, manifest.channel_specs, manifest.missing)
    values = history.values
    if (history.channels, history.classes, history.counters) == (
        manifest.channels, manifest.classes, manifest.counters,
    ):  # fmt: skip
        return replace(history, values=values)
    if lacking := [name for name in manifest.channels if name not in history.channels]:
        raise HistoryError(f"{what} lacks {len(lacking)} channel(s) of {model}: {', '.join(lacking[:10])}")
    if unknown := [name for name in history.classes if name not in manifest.classes]:
        raise HistoryError(
            f"{what} has faults that {model} does not know: {', '.join(unknown)}; it knows "
            f"{', '.join(manifest.classes[1:])}: train anew, without --from, on all data together"
        )
    place = np.array([manifest.classes.index(name) for name in history.classes], np.int32)
    return replace(
        history,
        channels=manifest.channels,
        classes=manifest.classes,
        counters=manifest.counters,
        values=values[:, [history.channels.index(name) for name in manifest.channels]],
        events=replace(history.events, fault=place[history.events.fault]),
    )


def restrict(history: History, split: Split) -> History:
    """The samples, events and unlabelled time that lie in a split's blocks; what reaches beyond them is cut.

    The labels of a history hold for its own time alone. What they give time outside, such as ``unlabelled``, must not
    touch another history that is merged with it.
    """
    slot = {name: number for number, name in enumerate(history.devices)}
    spans: dict[int, list[tuple[int, int]]] = {}
    for block in sorted(split.blocks, key=lambda block: (block.device, block.start_ms)):
        if block.device in slot:
            own = spans.setdefault(slot[block.device], [])
            if own and own[-1][1] >= block.start_ms:
                own[-1] = (own[-1][0], max(own[-1][1], block.end_ms))
            else:
                own.append((block.start_ms, block.end_ms))

    def cut(stretches: Events | Stretches) -> tuple[Int64, Int64, Int64]:
        """Number of the stretch that each piece is from, its start, its end."""
        pieces = [
            (i, max(start, a), min(end, b - 1))
            for i, (device, start, end) in enumerate(
                zip(stretches.device.tolist(), stretches.start_ms.tolist(), stretches.end_ms.tolist(), strict=True)
            )
            for a, b in spans.get(device, ())
            if start < b and end >= a
        ]
        row, start_ms, end_ms = np.array(pieces, np.int64).reshape(-1, 3).T
        return row, start_ms, end_ms

    row, start_ms, end_ms = cut(history.events)
    events = Events(history.events.device[row], start_ms, end_ms, history.events.fault[row], history.events.unit[row])
    row, start_ms, end_ms = cut(history.unlabelled)
    unlabelled = Stretches(history.unlabelled.device[row], start_ms, end_ms)
    # Which fault is the rarest stays what it was.
    rarity = history.rarity or tuple(commonest_first(history.events, len(history.classes)))
    return replace(history.select(split.mask(history, None)), events=events, unlabelled=unlabelled, rarity=rarity)


def ordered(blocks: Sequence[Block], notes: Sequence[str] = ()) -> Split:
    """A split of blocks, in order of device and time."""
    return Split(tuple(sorted(blocks, key=lambda block: (block.device, block.start_ms))), tuple(notes))


def without(blocks: Sequence[Block], taken: Sequence[Block], shortest_ms: int) -> list[Block]:
    """What is left of blocks outside of other ones of the same devices, where it is longer than ``shortest_ms``."""
    left = list(blocks)
    for hole in taken:
        pieces: list[Block] = []
        for block in left:
            if block.device != hole.device or block.end_ms <= hole.start_ms or hole.end_ms <= block.start_ms:
                pieces.append(block)
                continue
            for start, end in ((block.start_ms, hole.start_ms), (hole.end_ms, block.end_ms)):
                if end - start > shortest_ms:
                    pieces.append(replace(block, start_ms=start, end_ms=end))
        left = pieces
    return left


def _place(data: DataConfig) -> str:
    return data.describe()
