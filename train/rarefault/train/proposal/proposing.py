"""A configuration for training from files: what they are, how they are written, and which grid suits them."""

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from rarefault.runtime.errors import UsageError
from rarefault.runtime.proposal.finding import Finding
from rarefault.runtime.proposal.proposal import Proposal, Table
from rarefault.train.config import TrainConfig
from rarefault.train.history import History
from rarefault.train.history.keys import check_zone
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.summary.findings import border_finding, code_finding
from rarefault.train.history.summary.summarise import summarise
from rarefault.train.proposal.distances import distances_of
from rarefault.train.proposal.grid import grid_sections, suggestions
from rarefault.train.proposal.looking.collect import collect
from rarefault.train.proposal.looking.excerpt import excerpt
from rarefault.train.proposal.preview import previews
from rarefault.train.proposal.reading import Reading, Source, contradictions, problems_of, read
from rarefault.train.proposal.recordings import recordings_of
from rarefault.train.proposal.sections.channels import describe_channels
from rarefault.train.proposal.sections.draft import Draft
from rarefault.train.proposal.sections.events import leave_zone_open
from rarefault.train.proposal.sections.samples import is_naive
from rarefault.train.proposal.sources import Work, folders_of, tables_of
from rarefault.train.proposal.timing import timed

#: Samples from which on a training is worth to be measured.
MEASURED = 500


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
        work = Work(output.parent, args.time_zone, excerpt(found.tables, Path(folder).resolve()))
        if found.others:
            work.questions.append(f"{listed(found.others, 5)} are no tables, and are left out")
        sources = [*tables_of(work, found, args.events), *folders_of(work, found), *recordings_of(work, found)]
        return _proposal(work, sources, [*args.sources, *args.events])


def _proposal(work: Work, sources: list[Source], names: Sequence[str]) -> Proposal:
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


def _check_zone(work: Work, source: Source, history: History) -> None:
    """Leave the zone open where the times, read as UTC, contradict each other: clocks may have been set back."""
    if work.zone or not is_naive(source.samples) or "time_zone" in source.samples.assumed:
        return
    if count := contradictions(history):
        why = f"read as UTC, {count} row(s) contradict an earlier one of that time, as where clocks are set back"
        leave_zone_open(source.samples, why)


def _grid(work: Work, reading: Reading, history: History) -> tuple[list[Draft], list[str]]:
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
    changes = {name: msgspec.structs.replace(getattr(config, name), **keys) for name, keys in values.items()}
    return msgspec.structs.replace(config, **changes)


def _previews(work: Work, sources: Sequence[Source], history: History, config: TrainConfig) -> tuple[Table, ...]:
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
    work: Work, sources: Sequence[Source], drafts: Sequence[Draft], names: Sequence[str], shown: tuple[Table, ...]
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
