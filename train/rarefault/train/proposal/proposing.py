"""A configuration for training from files: what they are, how they are written, and which grid suits them."""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rarefault.runtime.errors import HistoryError, UsageError
from rarefault.runtime.proposal.finding import Finding
from rarefault.runtime.proposal.proposal import Proposal, Table
from rarefault.train.config import TrainConfig
from rarefault.train.history import History
from rarefault.train.history.keys import check_zone
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.natural import natural
from rarefault.train.history.summary.findings import border_finding, code_finding
from rarefault.train.history.summary.summarise import summarise
from rarefault.train.proposal.channels import describe_channels
from rarefault.train.proposal.devices import parsed_times
from rarefault.train.proposal.distances import distances_of
from rarefault.train.proposal.draft import Draft
from rarefault.train.proposal.events import device_overlap, events_section, leave_zone_open, say_others
from rarefault.train.proposal.grid import grid_sections, suggestions
from rarefault.train.proposal.looking.collect import RECORDING, Found, collect
from rarefault.train.proposal.looking.excerpt import Excerpt, excerpt
from rarefault.train.proposal.looking.groups import Group, Sorted, group_of, sort_tables
from rarefault.train.proposal.looking.look import Look, look_at
from rarefault.train.proposal.paths import relative
from rarefault.train.proposal.preview import previews
from rarefault.train.proposal.reading import Reading, Source, contradictions, problems_of, read
from rarefault.train.proposal.samples import is_naive, samples_section
from rarefault.train.proposal.timing import timed

#: Plants of the data challenge that are looked at.
PLANTS = 3
#: Files that are a source each, where no pattern tells them from others in their folder.
MOST_APART = 30
#: Samples from which on a training is worth to be measured.
MEASURED = 500


@dataclass(slots=True)
class _Work:
    """A proposal on its way.

    Attributes:
        base: folder of the configuration.
        zone: that a person has named.
        made: what is looked at.
        questions: what no key settles.
    """

    base: Path
    zone: str
    made: Excerpt
    questions: list[str] = field(default_factory=list)


def propose(args: argparse.Namespace) -> Proposal:
    """Look at files, and propose how they are read and what they are trained on.

    Args:
        args: ``sources``, ``events`` (logs among them), ``output`` (None is ``plant.toml`` here) and ``time_zone``.

    Raises:
        HistoryError: there is nothing that can be used; it names the file.
        UsageError: the zone is not known.
    """
    try:
        check_zone(args.time_zone)
    except ValueError as error:
        raise UsageError(str(error).replace("time_zone:", "--time-zone:")) from None
    output: Path = args.output or Path("plant.toml")
    found = collect([*args.sources, *args.events], output)
    with tempfile.TemporaryDirectory(prefix="rarefault-init-") as folder:
        work = _Work(output.parent, args.time_zone, excerpt(found.tables, Path(folder).resolve()))
        work.questions += [f"{path} {RECORDING}. It is left out" for path in found.recordings]
        if found.others:
            work.questions.append(f"{listed(found.others, 5)} are no tables, and are left out")
        sources = [*_tables(work, found, args.events), *_folders(work, found)]
        return _proposal(work, sources, [*args.sources, *args.events])


def _tables(work: _Work, found: Found, events: Sequence[str]) -> list[Source]:
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
        if found.challenges or found.journals or not found.tables:
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


def _add_unseen(work: _Work, groups: Sequence[Group], found: Found) -> None:
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


def _with_logs(work: _Work, tables: Sorted) -> list[Source]:
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


def _folders(work: _Work, found: Found) -> list[Source]:
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
                _show_whole(work.made, path)
            work.made.looked[path] = (path.stat().st_size if looked else 0, path.stat().st_size)
        sources.append(Source(draft))
    if found.journals:
        for path in found.journals:
            _show_whole(work.made, path)
        draft = Draft("data", about="What daemons have received.")
        draft.add("format", "journal", "these are files of SQLite that a daemon writes")
        draft.add("path", [relative(path, work.base) for path in found.journals])
        sources.append(Source(draft))
    return sources


def _show_whole(made: Excerpt, path: Path) -> None:
    place = made.place(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(path.resolve())


def _proposal(work: _Work, sources: list[Source], names: Sequence[str]) -> Proposal:
    """Read the sources, describe what was read, read them once more with it, and choose a grid."""
    channels: dict[str, Draft] = {}
    for source in sources:
        alone = read([source], [], work.base, work.made)
        if alone.history is None or not len(alone.history):
            continue
        _check_zone(work, source, alone.history)
        if source.group is not None:
            described = describe_channels(source.samples, source.group, alone.history)
            channels |= {draft.channel: draft for draft in described.sections}
            work.questions += described.questions
    drafts = list(channels.values())
    reading = read(sources, drafts, work.base, work.made)
    shown: tuple[Table, ...] = ()
    if reading.history is not None and len(reading.history):
        grid, why = _grid(work, reading, reading.history)
        reading = read(sources, [*drafts, *grid], work.base, work.made)
        drafts = [*grid, *drafts]
        work.questions += why
        if reading.history is not None and reading.config is not None:
            shown = _previews(work, sources, reading.history, reading.config)
            # Of a part of the files nobody knows what the whole lacks.
            work.questions += _findings(reading.history, reading.config) if work.made.share >= 1 else []
    elif not reading.questions:
        work.questions.append("no sample can be read with this, so nothing is known of its channels and times")
    work.questions += reading.questions
    return _written(work, sources, drafts, names, shown)


def _check_zone(work: _Work, source: Source, history: History) -> None:
    """Leave the zone open where the times, read as UTC, contradict each other: clocks may have been set back."""
    if work.zone or not is_naive(source.samples) or "time_zone" in source.samples.assumed:
        return
    if count := contradictions(history):
        why = f"read as UTC, {count} row(s) contradict an earlier one of that time, as where clocks are set back"
        leave_zone_open(source.samples, why)


def _grid(work: _Work, reading: Reading, history: History) -> tuple[list[Draft], list[str]]:
    """The sections of the grid, and what is said of it."""
    share = work.made.share
    distances = distances_of(history, work.made.cuts())
    made = suggestions(distances, share)
    drafts = grid_sections(history, distances, made)
    if len(history.classes) < 2 or len(history) < MEASURED or reading.config is None:
        return drafts, []
    values = {draft.name: {one.key: one.value for one in draft.findings} for draft in drafts}
    config = _with_sections(reading.config, values)
    made, why = timed(made, config, history, share)
    questions = [f"a training on this would stop: {why}"] if why and share >= 1 else []
    return grid_sections(history, distances, made), questions


def _with_sections(config: TrainConfig, values: dict[str, dict[str, object]]) -> TrainConfig:
    import msgspec

    changes = {name: msgspec.structs.replace(getattr(config, name), **keys) for name, keys in values.items()}
    return msgspec.structs.replace(config, **changes)


def _previews(work: _Work, sources: Sequence[Source], history: History, config: TrainConfig) -> tuple[Table, ...]:
    drafts = [draft for source in sources for draft in (source.samples, source.events) if draft is not None]
    assumed = [setting for draft in drafts for setting in draft.open_keys]
    remarks = [text for text in (work.made.describe(),) if text]
    if assumed:
        remarks.append(f"as if {' and '.join(dict.fromkeys(assumed))}, which is open")
    return previews(history, config.grid, remarks)


def _findings(history: History, config: TrainConfig) -> list[str]:
    """What stands in the way of training, as ``describe`` says it, without what keys of the proposal settle."""
    split = config.split
    block_s = split.block_s if split.by == "time" else None
    summary = summarise(history, config.grid, folds=split.folds, block_s=block_s)
    settled = {code_finding(history), border_finding(history, config.grid)}
    return [text for text in summary.findings if text not in settled and not text.startswith("channel")]


def _written(
    work: _Work, sources: Sequence[Source], drafts: Sequence[Draft], names: Sequence[str], shown: tuple[Table, ...]
) -> Proposal:
    """The proposal as the file has it."""
    several = len(sources) > 1
    own = [draft for source in sources for draft in source.drafts("data.sources" if several else "data")]
    if several:
        evidence = f"{len(sources)} kinds of files, which are read as one history"
        own = [Draft("data", [Finding("format", "together", evidence)]), *own]
    questions = [text for draft in own for text in draft.questions] + work.questions
    looked = work.made.describe()
    title = f"A configuration for training, proposed from {', '.join(names)}."
    title += f" It {looked}." if looked else ""
    title += "\nEach key has its evidence above it. What stands at a QUESTION is to be confirmed or changed."
    sections = tuple(draft.section() for draft in [*own, *drafts])
    check = partial(problems_of, base=work.base, whole=work.made.share >= 1)
    return Proposal(title, sections, tuple(dict.fromkeys(questions)), shown, check)
