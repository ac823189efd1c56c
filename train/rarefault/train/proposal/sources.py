"""The sources of a history: tables with the log that names their machines, folders of a known kind, journals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.parsing.natural import natural
from rarefault.train.proposal.looking.collect import Found
from rarefault.train.proposal.looking.excerpt import Excerpt
from rarefault.train.proposal.looking.groups import EventTimes, Group, Sorted, group_of, sort_tables
from rarefault.train.proposal.looking.look import Look, look_at
from rarefault.train.proposal.reading import Source
from rarefault.train.proposal.sections.devices import parsed_times
from rarefault.train.proposal.sections.draft import Draft
from rarefault.train.proposal.sections.events import device_overlap, events_section, say_others
from rarefault.train.proposal.sections.paths import relative
from rarefault.train.proposal.sections.samples import samples_section

#: Plants of the data challenge that are looked at.
PLANTS = 3
#: Files that are a source each, where no pattern tells them from others in their folder.
MOST_APART = 30


@dataclass(slots=True)
class Work:
    """A proposal on its way.

    Attributes:
        base: folder of the configuration.
        zone: that a person has named.
        made: what is looked at.
        questions: what no key settles.
        logs: of events, which the sources of tables have not taken.
    """

    base: Path
    zone: str
    made: Excerpt
    questions: list[str] = field(default_factory=list)
    logs: list[tuple[Look, EventTimes]] = field(default_factory=list)


def tables_of(work: Work, found: Found, events: Sequence[str]) -> list[Source]:
    """The sources of tables."""
    looks: list[Look] = []
    why: list[str] = []
    for path in found.tables:
        if work.made.looked.get(path, (1, 1))[0]:
            try:
                looks += look_at(path, work.made)
            except HistoryError as error:
                why.append(work.made.plain(str(error)))
    wanted = {Path(name).resolve() for name in events}
    tables = sort_tables(looks, wanted)
    why += _reasons(tables)
    if not tables.groups:
        if found.recordings:
            work.logs = list(tables.logs)
        if found.challenges or found.journals or found.recordings or not found.tables:
            return []
        logs = [f"{look.path}: is a log of events; name the files of the samples, too" for look, _ in tables.logs]
        raise HistoryError("no file holds samples:" + "".join(f"\n  {one}" for one in [*why, *logs]))
    work.questions += [f"{text}. It is left out" for text in why]
    _add_unseen(work, tables.groups, found)
    return _with_logs(work, tables)


def _reasons(tables: Sorted) -> list[str]:
    """Why tables are left out; one sentence for all of one reason."""
    kinds: dict[str, list[tuple[Look, str]]] = {}
    for look, text in tables.rest:
        kinds.setdefault(text.partition("(")[0], []).append((look, text))
    return [
        f"{rest[0][0].path}{f' and {len(rest) - 1} more' if len(rest) > 1 else ''}: {rest[0][1]}"
        for rest in kinds.values()
    ]


def _add_unseen(work: Work, groups: Sequence[Group], found: Found) -> None:
    """Say which files were taken for what others are."""
    unseen = [path for path in found.tables if not work.made.looked.get(path, (1, 1))[0]]
    if not unseen:
        return
    for group in groups:
        folders = {path.parent for path in group.paths}
        endings = {path.suffix for path in group.paths}
        alone = not any(endings & {path.suffix for path in other.paths} for other in groups if other is not group)
        like = [path for path in unseen if path.suffix in endings]
        group.unseen = like if alone else [path for path in like if path.parent in folders]
    work.questions.append(
        f"{len(unseen)} of {len(found.tables)} files were not looked at, and are taken for what those beside them are"
    )


def _with_logs(work: Work, tables: Sorted) -> list[Source]:
    """Each group of samples with the log that names its devices best."""
    # A pattern may match the log that is read: no others.
    besides = [look.path for look, _ in tables.logs] if len(tables.logs) == 1 else []
    sources = []
    groups = list(tables.groups)
    while groups:
        group = groups.pop(0)
        samples, named = samples_section(group, work.base, work.made, besides, work.zone, has_log=bool(tables.logs))
        if named.apart and len(group.looks) > MOST_APART:
            raise HistoryError(
                f"{group.name}: files hold the same times, and neither a column nor their names tell machines apart: "
                "put each machine's files into a folder of its name"
            )
        if named.apart:
            # No pattern tells these from other files in the folder, so each is a source of its own.
            groups = [*(group_of([look], group.time) for look in group.looks), *groups]
            continue
        source = Source(samples, group=group)
        ranked = sorted(tables.logs, key=lambda log: -device_overlap(log[0], named))
        if ranked:
            look, times = ranked[0]
            known = parsed_times(group, samples)
            known = known[known >= 0]
            span_ms = (int(known.min()), int(known.max())) if len(known) else (0, 0)
            source.events = events_section(look, times, samples, named, work.base, work.zone, span_ms)
            say_others(source.events, [other for other, _ in ranked[1:]])
        sources.append(source)
    return sources


def folders_of(work: Work, found: Found) -> list[Source]:
    """The sources that are no tables: folders of the data challenge, and journals."""
    sources = []
    for folder in found.challenges:
        draft = Draft("data", about=f"The plants of the PHM 2015 data challenge in {folder}.")
        draft.add(
            "format", "phm2015", "files are named plant_Na.csv (sensors), plant_Nb.csv (energy), plant_Nc.csv (faults)"
        )
        draft.add("path", relative(folder, work.base))
        names = [path.name[:-5] for path in folder.glob("plant_*[abc].csv")]
        plants = sorted({name for name in names if names.count(name) == len("abc")}, key=natural)
        for path in folder.glob("plant_*[abc].csv"):
            looked = path.name[:-5] in plants[:PLANTS]
            if looked:
                show_whole(work.made, path)
            work.made.looked[path] = (path.stat().st_size if looked else 0, path.stat().st_size)
        sources.append(Source(draft))
    if found.journals:
        for path in found.journals:
            show_whole(work.made, path)
        draft = Draft("data", about="What daemons have received.")
        draft.add("format", "journal", "these are files of SQLite that a daemon writes")
        draft.add("path", [relative(path, work.base) for path in found.journals])
        sources.append(Source(draft))
    return sources


def show_whole(made: Excerpt, path: Path) -> None:
    """Let all of a file be read."""
    place = made.place(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(path.resolve())
