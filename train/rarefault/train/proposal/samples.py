"""The section of samples: how the files are written, what their columns are."""

from collections.abc import Collection
from pathlib import Path

import polars as pl

from rarefault.runtime.proposal.finding import Finding
from rarefault.train.history.dialect.head import column_findings
from rarefault.train.history.named_reader import as_text
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.frames import Columns
from rarefault.train.history.parsing.lines import read_header
from rarefault.train.history.parsing.normal import is_empty, means_normal
from rarefault.train.history.parsing.text_form import TimeForm
from rarefault.train.history.parsing.times import parse_times
from rarefault.train.history.time_columns import joined
from rarefault.train.proposal.devices import Named, add_devices, parsed_times
from rarefault.train.proposal.draft import Draft
from rarefault.train.proposal.looking.excerpt import Excerpt
from rarefault.train.proposal.looking.groups import FEW_WORDS, Group, is_numeric
from rarefault.train.proposal.looking.words import LABEL, TIME, WEAK_LABEL, filled, rank, time_names
from rarefault.train.proposal.paths import file_patterns

#: Keys whose wrong value would give other numbers or times without a word.
CORRUPTING = frozenset({"time_format", "time_unit", "thousands", "decimal"})
#: Rows that a label lasts on average.
RUN = 3.0


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
    named = add_devices(draft, group, base, time_ms)
    files = named.patterns or file_patterns(list(dict.fromkeys([*group.paths, *group.unseen])), base, besides)
    draft.findings = [
        Finding("format", "table", ""),
        Finding("samples", list(files), _files_evidence(group)),
        *draft.findings,
    ]
    if not draft.value("tag_column"):
        _add_label(draft, group, named, has_log=has_log)
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
    name = draft.value("time_column")
    column = filled(joined(columns, tuple(name) if isinstance(name, list) else name))
    return bool(parse_times(column, TimeForm("UTC", wanted)).good.all())


def _add_label(draft: Draft, group: Group, named: Named, *, has_log: bool) -> None:
    """The column of labels, where there is one."""
    own = {*named.columns, *_time_names(draft)}
    for name, column in group.columns.items():
        if name in own or column.dtype.is_temporal():
            continue
        found = _label_evidence(name, column)
        if not found:
            continue
        evidence, other = found
        if has_log:
            draft.questions.append(
                f"{name} looks like a label ({evidence}), but there is a log of events: set data.label_column = "
                f"{name!r} if it tells faults as well, or leave it"
            )
            return
        draft.add("label_column", name, evidence, other)
        words = _label_words(column)
        if not any(means_normal(word) or is_empty(word) for word in words):
            usual = as_text(column).value_counts(sort=True).to_series(0)[0]
            draft.add(
                "normal",
                [usual],
                f"none of the usual words for normal is among {listed(words, 6)}; {usual!r} is the commonest",
                f"normal = [...] with all of {listed(words, 6)} that mean no fault",
            )
        return


def _label_words(column: pl.Series) -> list[str]:
    return [str(word) for word in as_text(column).unique(maintain_order=True).to_list()]


def _label_evidence(name: str, column: pl.Series) -> tuple[str, str] | None:
    """Why a column is one of labels, and what else it may be; None where it is none."""
    there = filled(column)
    text = as_text(there)
    words = text.unique(maintain_order=True).to_list()
    usual = [word for word in words if means_normal(word) and not (is_numeric(there) and word == "0")]
    alone = len(words) == 1 and usual and rank(name, (*LABEL, *WEAK_LABEL)) is not None
    if not (1 < len(words) <= FEW_WORDS or alone) or len(there) < len(words) * RUN:
        return None
    whole = not is_numeric(there) or there.dtype == pl.Boolean or text.str.contains(r"^\d+$").all()
    if not whole or any(len(word) > 60 for word in words):
        return None
    runs = len(there) / (1 + int((text != text.shift(1)).sum()))
    evidence = f"{name} holds {listed(words, 5)}, {runs:.0f} rows in a row on average"
    if rank(name, LABEL) is not None:
        return evidence, "" if usual or runs >= RUN else "leave it out, if it is no label"
    if runs < RUN or is_numeric(there):
        return None
    if usual:
        weak = rank(name, WEAK_LABEL) is not None
        return f"{evidence}, and {usual[0]!r} means no fault", "" if weak else "leave it out, if it is a state"
    return None


def _time_names(draft: Draft) -> tuple[str, ...]:
    time = draft.value("time_column")
    return (time,) if isinstance(time, str) else tuple(time or ())
