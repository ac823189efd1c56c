"""The section of samples: how the files are written, what their columns are."""

from collections.abc import Collection
from pathlib import Path

import polars as pl

from rarefault.runtime.proposal.finding import Finding
from rarefault.train.history.dialect.head import column_findings
from rarefault.train.history.dialect.tags import QUALITY_WORDS, VALUE_WORDS
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.frames import Columns
from rarefault.train.history.parsing.lines import read_header
from rarefault.train.history.parsing.text_form import TimeForm
from rarefault.train.history.parsing.times import parse_times
from rarefault.train.proposal.looking.excerpt import Excerpt
from rarefault.train.proposal.looking.groups import Group, is_numeric
from rarefault.train.proposal.looking.words import TAG, TIME, best, filled, rank, time_names
from rarefault.train.proposal.sections.devices import Named, add_devices, parsed_times
from rarefault.train.proposal.sections.draft import Draft
from rarefault.train.proposal.sections.labels import add_label
from rarefault.train.proposal.sections.paths import file_patterns

#: Keys whose wrong value would give other numbers or times without a word.
CORRUPTING = frozenset({"time_format", "time_unit", "thousands", "decimal"})


def samples_section(
    group: Group, base: Path, made: Excerpt, besides: Collection[Path], zone: str, *, has_log: bool
) -> tuple[Draft, Named]:
    """The section of a group of tables, and the names of its devices.

    Args:
        group: the tables.
        base: folder of the configuration.
        made: what is looked at.
        besides: files of events, which a pattern may match as well.
        zone: of times without an offset, that a person has named; "" where nobody has.
        has_log: whether there is a log of events, so that a column of labels is one more.
    """
    draft = Draft("data", about=f"Samples: {group.name}, {len(next(iter(group.columns.values())))} rows looked at.")
    draft.findings += group.looks[0].findings
    _add_dialect(draft, group, made, zone)
    time_ms = parsed_times(group, draft)
    named = add_devices(draft, group, base, time_ms, besides)
    files = named.patterns or file_patterns(list(dict.fromkeys([*group.paths, *group.unseen])), base, besides)
    draft.findings = [
        Finding("format", "table", ""),
        Finding("samples", list(files), _files_evidence(group)),
        *draft.findings,
    ]
    if not draft.value("tag_column"):
        add_label(draft, group, named, has_log=has_log)
    return draft, named


def is_naive(draft: Draft) -> bool:
    """Whether times of a section have no offset of their own."""
    return any(finding.key == "time_zone" for finding in draft.findings)


def _files_evidence(group: Group) -> str:
    count = len({*group.paths, *group.unseen})
    if count == 1:
        return ""
    return f"{count} files with the same kind of columns; new ones that the pattern matches are read as well"


def _add_dialect(draft: Draft, group: Group, made: Excerpt, zone: str) -> None:
    """Times, tags and numbers, from the rows of all tables together."""
    times = time_names(group.columns)
    others = [name for name in times if name != group.time]
    columns = {group.time: group.columns[group.time]}  # before all that may look like times, too
    columns |= {name: column for name, column in group.columns.items() if name not in others}
    separator = read_header(made.place(group.paths[0]), group.looks[0].form).separator if _is_text(group) else ","
    for finding in column_findings(columns, separator):
        if finding.key == "time_zone":
            add_zone(draft, finding, zone)
        elif finding.key in CORRUPTING and finding.other:
            draft.leave_open(finding, "a wrong value would change what is read without a word, so it is left open")
        elif finding.key == "time_format" and not _all_in_format(columns, draft, str(finding.value)):
            continue  # the rows settle the order of day and month, and differ in the rest
        elif finding.key == "time_column" and others:
            similar = [name for name in others if rank(name, TIME) is not None]
            other = f'time_column = "{similar[0]}"' if similar else ""
            draft.findings.append(Finding(finding.key, finding.value, finding.evidence, other))
        else:
            draft.findings.append(finding)
    if not draft.value("tag_column"):
        _add_tags(draft, group)


def _add_tags(draft: Draft, group: Group) -> None:
    """Long form whose tags name no device: a column of values, and few words that tell rows of one time apart."""
    value = next((name for name in group.columns if name.lower() in VALUE_WORDS), None)
    if value is None or not draft.times:
        return
    used = {value, *draft.times}
    texts = {name: one for name, one in group.columns.items() if name not in used and one.dtype == pl.String}
    named = [name for name, one in texts.items() if rank(name, TAG) is not None and one.n_unique() > 1]
    tag = best([name for name in named if rank(name, tuple(QUALITY_WORDS)) is None], TAG)
    moments = draft.moments(group.columns)
    if tag is None or moments.n_unique() > len(moments) // 2 or not is_numeric(group.columns[value]):
        return
    words = texts[tag].drop_nulls().unique(maintain_order=True).to_list()
    draft.add(
        "tag_column",
        tag,
        f"{tag} holds {listed(words, 4)}, {value} the values, and several rows have one time",
        f'device_column = "{tag}", if these are machines and not what is measured',
    )
    if value != "value":
        draft.add("value_column", value, "its name says so")
    quality = next((name for name in group.columns if name.lower() in QUALITY_WORDS), None)
    if quality is not None:
        draft.add("quality_column", quality, "its name says so")


def _is_text(group: Group) -> bool:
    return group.looks[0].form.separator is not None or group.paths[0].suffix.lower() in {".csv", ".txt", ".tsv", ".gz"}


def add_zone(draft: Draft, finding: Finding, zone: str) -> None:
    """Add the zone of times without an offset: the one that a person has named, or UTC as a question."""
    if zone:
        draft.add("time_zone", zone, f"{finding.evidence.split(' has no zone')[0]} has no zone; named by --time-zone")
        return
    evidence = (
        f"{finding.evidence}. Read as UTC, samples and events keep their distances; but hours at which clocks are set "
        "would be wrong, and so would events that are in another zone than the samples"
    )
    draft.add("time_zone", finding.value, evidence, finding.other)


def _all_in_format(columns: Columns, draft: Draft, wanted: str) -> bool:
    column = filled(draft.moments(columns))
    return bool(parse_times(column, TimeForm("UTC", wanted)).good.all())
