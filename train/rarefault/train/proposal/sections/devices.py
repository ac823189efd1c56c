"""What names the device of a row: a column, two of them, a part of a tag, the path of its file, or nothing."""

from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Int64
from rarefault.train.history.named_reader import as_text
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.normal import means_normal
from rarefault.train.history.parsing.text_form import TimeForm
from rarefault.train.history.parsing.times import parse_times
from rarefault.train.proposal.looking.groups import FEW_WORDS, Group, is_numeric
from rarefault.train.proposal.looking.words import DEVICE, LABEL, SITE, WEAK_LABEL, best, filled, rank
from rarefault.train.proposal.sections.draft import Draft
from rarefault.train.proposal.sections.paths import PathDevices, device_paths, names_of_all

#: Most devices, and least rows of one on average, where a column names them.
MOST_DEVICES, ROWS_OF_ONE = 2000, 2
#: Share of rows at one time that belong to different devices.
TWICE = 0.02


class Named(NamedTuple):
    """The names of a group's devices, as far as they are known.

    Attributes:
        names: "" where nothing is known.
        columns: that name them.
        patterns: of the files, where these name them.
        apart: whether the files are of different machines, and no pattern names these.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    apart: bool = False


def add_devices(draft: Draft, group: Group, base: Path, time_ms: Int64, besides: Collection[Path]) -> Named:
    """Add the keys that name devices.

    Args:
        draft: of the section; its time columns and tags are there.
        group: the tables.
        base: folder of the configuration.
        time_ms: times of the group's rows, [m]; -1 where there is none.
        besides: files that a pattern may match as well.
    """
    if "{device}" in (draft.value("tag_pattern") or ""):
        return Named(())
    taken = {*draft.times, draft.value("tag_column"), draft.value("value_column")}
    taken |= {draft.value("quality_column"), "value" if draft.value("tag_column") else None}
    columns = {name: column for name, column in group.columns.items() if name not in taken}
    found = _by_column(draft, columns, time_ms)
    if found is not None:
        return found
    overlapping = _overlapping(group, time_ms)
    own = device_paths(group.paths, base, overlapping, [*besides, *group.unseen])
    if own is not None:
        _add_path_devices(draft, own)
        return Named(names_of_all(own, base, besides), patterns=own.patterns)
    if overlapping:
        return Named((), apart=True)
    name = _only_name(group)
    evidence = (
        f"no column and no part of a path tells machines apart, so all rows are of one machine, named {name!r} here"
    )
    if len(set(group.paths)) > 1:
        evidence += f"; the {len(group.looks)} files follow each other in time"
    draft.add("device", name, evidence, 'device = "the name that live telemetry has for it"')
    return Named((name,))


def parsed_times(group: Group, draft: Draft) -> Int64:
    """The times of a group's rows as the section reads them, -1 where it reads none, [m]."""
    form = TimeForm(
        draft.value("time_zone") or "UTC",
        draft.value("time_format") or "",
        draft.value("time_unit") or "",
        day_first=True,
    )
    times = parse_times(draft.moments(group.columns), form)
    return np.where(times.good, times.ms, -1)


def _by_column(draft: Draft, columns: dict[str, pl.Series], time_ms: Int64) -> Named | None:
    names = [name for name, one in columns.items() if _names_devices(name, one)]
    device = best([name for name in names if rank(name, DEVICE) is not None], DEVICE)
    repeated = _repeated([pl.Series(time_ms)])
    if device is None and repeated > TWICE:
        # Rows at one time are of different machines, and a column tells them apart.
        shares = {name: _repeated([pl.Series(time_ms), as_text(columns[name])]) for name in names}
        device = min(shares, key=shares.__getitem__, default=None)
        if device is not None and shares[device] > repeated / 2:
            device = None
        if device is not None:
            evidence = f"several rows have one time, and {device} tells them apart"
            draft.add("device_column", device, evidence, 'device_column = "another column"')
            return Named(_words(columns[device]), (device,))
    if device is None:
        return None
    words = _words(columns[device])
    others = [name for name in names if name != device]
    site = best(others, SITE)
    both = [as_text(columns[name]) for name in (site, device)] if site else []
    if site and pl.DataFrame([one.alias(str(i)) for i, one in enumerate(both)]).n_unique() > len(words):
        shown = list(dict.fromkeys(f"{a}-{b}" for a, b in zip(*(one.head(50_000) for one in both), strict=True)))
        template = f"{{{site}}}-{{{device}}}"
        if not all(part.isidentifier() for part in (site, device)):
            draft.questions.append(
                f"{site} has rows with one {device} at several places, and names in braces are of letters, digits "
                f"and _: rename both columns and set device, or machines of one name are one"
            )
        else:
            evidence = f"{device} has the same names at several of {site}: machines are named like {listed(shown, 3)}"
            draft.add("device", template, evidence, f'device_column = "{device}", if these are the same machines')
            return Named(tuple(shown), (site, device))
    evidence = f"{device} has {len(words)} name(s): {listed(words, 4)}"
    similar = [name for name in others if rank(name, DEVICE) is not None and columns[name].n_unique() > 1]
    other = f'device_column = "{similar[0]}"' if similar and rank(device, DEVICE) == rank(similar[0], DEVICE) else ""
    draft.add("device_column", device, evidence, other)
    return Named(words, (device,))


def _add_path_devices(draft: Draft, found: PathDevices) -> None:
    if "device" in found.keys:
        draft.add("device", found.keys["device"], found.evidence, 'device = "{device}", if these are the same machines')
    else:
        draft.add("device_column", "device", f"{found.evidence}: the part of the path in braces names the device")


def _overlapping(group: Group, time_ms: Int64) -> bool:
    """Whether two tables hold samples of the same stretch of time."""
    spans = []
    for number in range(len(group.looks)):
        own = time_ms[(group.file == number) & (time_ms >= 0)]
        if len(own) > 1:
            spans.append((int(own.min()), int(own.max())))
    spans.sort()
    shared = sum(before[1] > after[0] for before, after in pairwise(spans))
    return len(spans) > 1 and shared >= (len(spans) - 1) / 2


def _names_devices(name: str, column: pl.Series) -> bool:
    """Whether cells may be names: there in every row, text or whole numbers, of few different words, none "normal"."""
    if rank(name, (*LABEL, *WEAK_LABEL)) is not None:
        return False
    there = filled(column)
    if len(there) < len(column) or not len(there) or there.dtype == pl.Boolean or there.dtype.is_temporal():
        return False
    if there.dtype.is_float() and (there != there.round()).any():
        return False
    if there.dtype == pl.String and is_numeric(there) and not there.str.contains(r"^\s*\d+\s*$").all():
        return False
    if there.dtype == pl.String and any(map(means_normal, there.unique().to_list()[:MOST_DEVICES])):
        return False
    different = there.n_unique()
    return different <= MOST_DEVICES and (
        different <= 1 or len(there) >= ROWS_OF_ONE * different or different <= FEW_WORDS // 8
    )


def _repeated(columns: list[pl.Series]) -> float:
    """Share of the rows whose cells repeat those of another one."""
    frame = pl.DataFrame([one.alias(str(i)) for i, one in enumerate(columns)])
    return 1 - frame.n_unique() / max(frame.height, 1)


def _words(column: pl.Series) -> tuple[str, ...]:
    return tuple(as_text(column).unique(maintain_order=True).to_list())


def _only_name(group: Group) -> str:
    """A name for the only machine: that of the file, or of the folder of several."""
    first = next((folder for folder in group.paths[0].parents if folder.is_file()), group.paths[0])
    if first != group.paths[0]:  # in an archive
        return first.stem
    name = first.stem if len(set(group.paths)) == 1 else first.resolve().parent.name
    return name or "machine"
