"""The section of a log of events: which of its columns hold what, and which words are no faults."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.proposal.finding import Finding
from rarefault.train.history.dialect.head import time_findings
from rarefault.train.history.named_reader import as_text
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.text_form import UTF8, TimeForm
from rarefault.train.history.parsing.times import has_no_end, is_day, parse_times
from rarefault.train.history.time_columns import joined
from rarefault.train.proposal.looking.groups import EventTimes, TimeColumn
from rarefault.train.proposal.looking.look import Look
from rarefault.train.proposal.looking.words import DEVICE, FAULT, REMARK, best, filled, rank
from rarefault.train.proposal.sections.devices import Named
from rarefault.train.proposal.sections.draft import Draft
from rarefault.train.proposal.sections.paths import relative
from rarefault.train.proposal.sections.samples import add_zone, is_naive

#: How words begin that are no faults, in small letters.
NO_FAULTS = ("insp", "maint", "wartung", "service", "test", "calib", "kalib", "clean", "reinig", "planned", "geplant",
             "revision", "audit", "check", "prüf", "info", "umbau", "pm", "preventive")  # fmt: skip
#: Share of times within the samples that shows the order of day and month, and share that the other order may have.
INSIDE, OUTSIDE = 0.9, 0.5
#: Keys that the log takes from the section of the samples where it has none of its own.
_INHERITED = ("separator", "encoding")


def events_section(
    look: Look, times: EventTimes, samples: Draft, named: Named, base: Path, zone: str, span_ms: tuple[int, int]
) -> Draft:
    """The section of a log.

    Args:
        look: the log.
        times: its columns of start and end.
        samples: the section of the samples that it is of.
        named: their devices.
        base: folder of the configuration.
        zone: of times without an offset, that a person has named; "" where nobody has.
        span_ms: first and last sample, milliseconds since the epoch.
    """
    draft = Draft("data.events", about=f"Events: {look.name}, {look.rows} rows.")
    draft.add("path", relative(look.path, base))
    _add_lines(draft, look, samples)
    for key, column in (("start_column", times.start), ("end_column", times.end)):
        draft.add(key, list(column) if isinstance(column, tuple) else column, _shown(look, column))
    _add_device(draft, look, times, named)
    _add_fault(draft, look, times)
    _add_times(draft, look, times, samples, zone, span_ms)
    _add_open(draft, look, times)
    return draft


def device_overlap(look: Look, named: Named) -> float:
    """Share of the devices that some column of the log names."""
    known = {name for name in named.names if name}
    shares = [
        len(known & set(as_text(column).unique().to_list())) / max(len(known), 1) for column in look.columns.values()
    ]
    return max(shares, default=0.0)


def _add_lines(draft: Draft, look: Look, samples: Draft) -> None:
    own = {finding.key: finding for finding in look.findings}
    for finding in look.findings:
        if finding.key not in _INHERITED or samples.value(finding.key) != finding.value:
            draft.findings.append(finding)
    if look.form.separator is not None:  # text
        usual_keys = [("separator", ",")] if look.ascii else [("separator", ","), ("encoding", UTF8)]
        for key, usual in usual_keys:
            if key not in own and samples.value(key) not in {None, usual}:
                draft.add(key, usual, "unlike the samples")


def _shown(look: Look, column: TimeColumn) -> str:
    name = column if isinstance(column, str) else column[-1]
    there = filled(look.columns[name])
    return f"{name} holds times such as {str(there[0])!r}" if len(there) else ""


def _add_device(draft: Draft, look: Look, times: EventTimes, named: Named) -> None:
    columns = {name: as_text(one) for name, one in look.columns.items() if name not in times.names}
    known = {name for name in named.names if name}
    met = {name: len(known & set(column.unique().to_list())) for name, column in columns.items()}
    device = max(met, key=met.__getitem__) if any(met.values()) else best(list(columns), DEVICE)
    if device is None:
        if len(known) > 1:
            only = min(known)
            draft.findings.append(_open_device(known))
            draft.assumed["device"] = only
        else:
            draft.add("device_column", "", "no column names a machine: all events are of the only one")
        return
    words = [word for word in columns[device].unique(maintain_order=True).to_list() if word]
    foreign = [word for word in words if word not in known]
    evidence = f"{device} names {listed(words, 4)}"
    if known and foreign and len(foreign) == len(words):
        draft.questions.append(
            f"{look.name}: {device} names {listed(words, 4)}, and the samples are of {listed(sorted(known), 4)}: none "
            "is the same. Events of machines without samples are left out: write the names alike"
        )
    elif known and foreign:
        evidence += f"; of {listed(foreign, 4)} no sample was met: events of machines without samples are left out"
    draft.add("device_column", device, evidence)


def _open_device(known: set[str]) -> Finding:
    return Finding(
        "device",
        None,
        f"no column names a machine, and the samples are of {listed(sorted(known), 4)}",
        f'device = "{min(known)}" or another one',
    )


def _add_fault(draft: Draft, look: Look, times: EventTimes) -> None:
    taken = {*times.names, draft.value("device_column")}
    names = [name for name in look.columns if name not in taken and len(filled(look.columns[name]))]
    fault = best([name for name in names if rank(name, REMARK) is None], FAULT)
    if fault is None:
        few = [name for name in names if as_text(look.columns[name]).n_unique() <= max(2, look.rows // 2)]
        fault = next(
            (name for name in few if look.columns[name].dtype == pl.String and rank(name, REMARK) is None), None
        )
    if fault is None:
        draft.add(
            "fault", "fault", "no column tells kinds of faults apart: all events are of one", 'fault = "its name"'
        )
        return
    words = as_text(look.columns[fault]).value_counts(sort=True)
    counts = dict(zip(*(words.get_column(name).to_list() for name in words.columns), strict=True))
    others = [name for name in names if name != fault and rank(name, FAULT) is not None and rank(name, REMARK) is None]
    other = f'fault_column = "{others[0]}"' if others else ""
    draft.add("fault_column", fault, f"{fault} holds {_counted(counts)}", other)
    ignore = [word for word in counts if word and word.casefold().startswith(NO_FAULTS)]
    if ignore:
        evidence = f"{_counted({word: counts[word] for word in ignore})} look like work that is no fault"
        draft.add("ignore", ignore, evidence, "ignore = [], if these are faults")


def _all_fit(times: pl.Series, wanted: str) -> bool:
    """Whether a format reads all times, ends in a far future as well."""
    parsed = parse_times(times, TimeForm("UTC", wanted))
    return bool((parsed.good | parsed.far).all())


def _add_times(
    draft: Draft, look: Look, times: EventTimes, samples: Draft, zone: str, span_ms: tuple[int, int]
) -> None:
    """Format and zone, where the samples' do not hold for the log."""
    columns = [filled(joined(look.columns, one)) for one in (times.start, times.end)]
    texts = [one.cast(pl.String) if columns[0].dtype != columns[1].dtype else one for one in columns]
    written = pl.concat(texts).alias("time")
    both = written.filter(pl.Series(~parse_times(written, TimeForm("UTC", day_first=True)).far))
    found, _ = time_findings({"time": both})
    naive = False
    for finding in found:
        if finding.key == "time_zone":
            naive = True
        elif (
            finding.key == "time_format" and finding.other and (settled := _settled_by_samples(finding, both, span_ms))
        ):
            draft.findings.append(settled)
        elif finding.key in {"time_format", "time_unit"} and finding.other:
            draft.leave_open(finding, "a wrong value would move events without a word, so it is left open")
        elif finding.key == "time_format" and not _all_fit(written, str(finding.value)):
            continue  # the rows settle the order of day and month, and differ in the rest
        elif finding.key != "time_column":
            draft.findings.append(finding)
    zone_finding = next((finding for finding in found if finding.key == "time_zone"), None)
    if not naive or zone_finding is None:
        if is_naive(samples) and not zone:
            leave_zone_open(samples, "times of events have an offset of their own and those of the samples have none")
        return
    if is_naive(samples):
        return  # the log takes the zone of the samples over
    if zone or is_day(both).all():  # days are not known to the hour in any case
        add_zone(draft, zone_finding, zone)
    else:
        draft.leave_open(
            zone_finding,
            "the samples have one, so a wrong zone here would put all events at the wrong time; it is left open",
        )


def _settled_by_samples(finding: Finding, times: pl.Series, span_ms: tuple[int, int]) -> Finding | None:
    """The order of day and month with which the events are within the samples; None where both are, or none is."""
    other = finding.other.partition(" = ")[2].strip('"')
    day_ms = 86_400_000
    inside = []
    for wanted in (str(finding.value), other):
        found = parse_times(times, TimeForm("UTC", wanted))
        within = found.good & (found.ms >= span_ms[0] - day_ms) & (found.ms <= span_ms[1] + day_ms)
        inside.append(int(within.sum()))
    best_, worst = max(inside), min(inside)
    if best_ < INSIDE * len(times) or worst > OUTSIDE * len(times):
        return None
    value, left = (finding.value, other) if inside[0] == best_ else (other, finding.value)
    evidence = f"{best_} of {len(times)} times of events are within the samples if read so, {worst} in the other order"
    return Finding(finding.key, value, evidence, f'{finding.key} = "{left}"')


def leave_zone_open(samples: Draft, why: str) -> None:
    """Leave the zone of the samples to a person.

    Args:
        samples: the section, with a zone.
        why: a wrong one would do harm.
    """
    finding = next(one for one in samples.findings if one.key == "time_zone")
    samples.drop("time_zone")
    samples.leave_open(finding, f"{why}, so it is left open")


def _add_open(draft: Draft, look: Look, times: EventTimes) -> None:
    end = joined(look.columns, times.end) if isinstance(times.end, str) else look.columns[times.end[1]]
    form = TimeForm("UTC", draft.value("time_format") or "", draft.value("time_unit") or "", day_first=True)
    without: np.ndarray = has_no_end(end, form)
    if without.any():
        draft.add(
            "open",
            "unlabelled",
            f"{int(without.sum())} event(s) have no end: nobody knows how long these lasted",
            'open = "last", if they last to the last sample of their machine',
        )
    start = joined(look.columns, times.start)
    days = is_day(filled(start), form)
    if len(days) and days.all():
        draft.questions.append(
            f"{look.name}: {_text(times.start)} holds days without a time of the day, so events begin at midnight, "
            "and one that ends on a day ends with it. Are the hours kept elsewhere? A whole day is mostly no fault"
        )


def _text(column: TimeColumn) -> str:
    return column if isinstance(column, str) else " and ".join(column)


def _counted(counts: dict[str, int]) -> str:
    shown = [f"{word!r} ({n})" for word, n in list(counts.items())[:6]]
    return ", ".join(shown) + (f" and {len(counts) - 6} more" if len(counts) > 6 else "")


def say_others(draft: Draft, others: Sequence[Look]) -> None:
    """Name the logs that are not read."""
    for look in others:
        draft.questions.append(
            f"{look.name} is a log of events, too, and one section reads one log: put its rows into "
            f"{draft.value('path')}, or name it with --events alone"
        )
