"""What channels are, from the history as it was read and from the columns that it was read from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Float64
from rarefault.runtime.proposal.finding import toml_key, toml_value
from rarefault.train.history import History
from rarefault.train.history.named_reader import as_text
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.frames import Columns
from rarefault.train.history.summary.missing_codes import codes_of
from rarefault.train.proposal.looking.groups import FEW_WORDS, Group, is_numeric
from rarefault.train.proposal.looking.words import filled, rank, unit_of
from rarefault.train.proposal.sections.draft import Draft

#: A counter increases at least so often, and falls back at most for this share of its steps.
STEPS, RESETS = 100, 0.002
#: Channels that a sentence names.
NAMED = 8
#: Most words of a state.
STATES = 12
#: A word of a state stands at least so often, on average.
OFTEN = 3
#: Names of columns that number rows.
_NUMBERS = ("index", "row", "nr", "no", "id", "unnamed", "zeile", "number", "nummer", "lfd")
_OFF = (
    "off",
    "aus",
    "false",
    "no",
    "nein",
    "closed",
    "zu",
    "stop",
    "stopped",
    "idle",
    "inactive",
    "manual",
    "hand",
    "man",
)


@dataclass(slots=True)
class Channels:
    """What was found.

    Attributes:
        sections: of single channels.
        questions: what no key settles.
    """

    sections: list[Draft] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)


def describe_channels(samples: Draft, group: Group, history: History) -> Channels:
    """Add counters, codes for missing values and the choice of channels to the section, and describe single channels.

    Args:
        samples: the section.
        group: the tables that it reads.
        history: as the section read it.
    """
    found = Channels()
    used = {samples.value(key) for key in ("device_column", "label_column", "tag_column", "value_column")}
    columns = {name: one for name, one in group.columns.items() if name not in used}
    states = {} if samples.value("tag_column") else _states(columns, samples, history.channels)
    missing, constant = _add_missing(samples, history), []
    left = []
    counters: list[str] = []
    for i, name in enumerate(history.channels):
        values = history.values[:, i]
        known = values[np.isfinite(values) & ~np.isin(values, missing)]
        if not len(known) or known.min() == known.max():
            constant.append(f"{name} ({known[0]:g})" if len(known) else f"{name} (empty)")
        elif _is_row_number(known, group, name):
            left.append(name)
        elif _only_increases(history, values, missing):
            counters.append(name)
    if constant:
        found.questions.append(
            f"{listed(constant, NAMED)} never change(s): such a channel tells nothing until it does. Was it exported "
            "rightly?"
        )
    if left:
        kept = [name for name in history.channels if name not in left]
        evidence = f"{listed(left)} counts rows and is left out"
        samples.add("channels", [*kept, *states], evidence, "channels = [...] with it, if it is a measurement")
    if counters:
        evidence = f"{listed(counters, NAMED)} only increase(s), as a meter does: what counts is the increase"
        other = "counters = [], if these are levels" if not all(map(_sounds_like_counter, counters)) else ""
        samples.add("counters", counters, evidence, other)
    _describe_each(found, history.channels, states, group)
    _say_like_parts(found, history.channels)
    _say_text(found, columns, states, samples, history)
    return found


def _say_like_parts(found: Channels, channels: Sequence[str]) -> None:
    """Name the like parts of a machine whose channels have the same names but for a prefix."""
    parts: dict[str, set[str]] = {}
    for name in channels:
        split = re.fullmatch(r"(\w*?\d+[_. -])(.+)", name)
        if split:
            parts.setdefault(split[1], set()).add(split[2])
    alike = len({frozenset(names) for names in parts.values()}) == 1
    if alike and len(parts) > 1 and len(next(iter(parts.values()))) > 1:
        found.questions.append(
            f"channels begin with {listed(list(parts), 4)} and go on alike: if these are parts of one machine, set "
            f"units = {toml_value(list(parts))} in a section [trees], so that a fault of one teaches all; if they are "
            "machines, export a table for each"
        )


def _describe_each(found: Channels, channels: Sequence[str], states: dict[str, list[str]], group: Group) -> None:
    units = {name: unit for look in group.looks for name, unit in look.units.items()}
    for name in (*channels, *states):
        draft = Draft(f"channels.{toml_key(name)}", channel=name)
        if name in states:
            words = states[name]
            draft.add(
                "states",
                {word: number for number, word in enumerate(words)},
                f"{name} holds {listed(words, STATES)}: numbers in this order",
                "states = {...} in another order, or no section, which leaves it out",
            )
        if name in units:
            draft.add("unit", units[name], "from the line after the header")
        elif unit := unit_of(name):
            draft.add("unit", unit, "from the name of the column")
        if draft.findings:
            found.sections.append(draft)


def _add_missing(samples: Draft, history: History) -> list[float]:
    """Numbers that look like codes for no value, which are taken for such."""
    counts: dict[float, list[str]] = {}
    for i, name in enumerate(history.channels):
        for code, count in codes_of(history.values[:, i]).items():
            counts.setdefault(code, []).append(f"{name}: {count} times")
    if not counts:
        return []
    codes = sorted(counts, key=lambda code: (-len(counts[code]), code))[:NAMED]
    shown = [int(code) if code == int(code) and abs(code) < 2**53 else code for code in codes]
    places = "; ".join(f"{code} in {', '.join(counts[float(code)][:4])}" for code in shown)
    evidence = f"values like codes for 'no value', far outside of all others of their channel: {places}"
    samples.add("missing", shown, evidence, "missing = [], if these are measurements")
    return codes


def _only_increases(history: History, values: Float64, missing: Sequence[float]) -> bool:
    """Whether a channel only increases at every device, but for a few resets."""
    there: Bool = np.isfinite(values) & ~np.isin(values, missing)
    order = np.argsort(history.device[there], kind="stable")
    device, value = history.device[there][order], values[there][order]
    step = np.diff(value)[np.diff(device) == 0]
    up, down = int((step > 0).sum()), int((step < 0).sum())
    # A slow drift or a ramp of a few samples is no meter: that rises most of the time, and far beyond one of its steps.
    return up >= STEPS and down <= RESETS * len(step) and up > 0.3 * len(step)


def _sounds_like_counter(name: str) -> bool:
    words = (
        "total",
        "count",
        "kwh",
        "hours",
        "stunden",
        "zähler",
        "zaehler",
        "meter",
        "energy",
        "energie",
        "cumul",
        "odo",
    )
    return any(word in name.lower() for word in words)


def _is_row_number(known: Float64, group: Group, name: str) -> bool:
    """Whether it is the number of the row in its file."""
    if name not in group.columns or len(known) < STEPS:
        return False
    cells = group.columns[name].cast(pl.Float64, strict=False).to_numpy()
    same_file = np.diff(group.file) == 0
    first = cells[np.r_[True, ~same_file]]
    named = rank(name, _NUMBERS) is not None or bool(np.isin(first, (0, 1)).all())
    return named and bool((np.diff(cells)[same_file] == 1).all() and same_file.sum() >= STEPS)


def _states(columns: Columns, samples: Draft, channels: Sequence[str]) -> dict[str, list[str]]:
    """The words of the columns that are states, by name."""
    used = {*channels, *samples.times}
    used |= set() if samples.value("device") is None else {n for n in columns if f"{{{n}}}" in samples.value("device")}
    found = {}
    for name, column in columns.items():
        there = filled(column)
        if name in used or column.dtype != pl.String or not len(there) or is_numeric(there):
            continue
        words = as_text(there).unique().to_list()
        short = all(len(word) <= 24 for word in words)
        if 1 < len(words) <= STATES and short and len(there) >= OFTEN * len(words):
            found[name] = sorted(words, key=lambda word: (word.lower() not in _OFF, word))
    return found


def _say_text(
    found: Channels, columns: Columns, states: dict[str, list[str]], samples: Draft, history: History
) -> None:
    """Name the columns of text that are left out."""
    used = {*history.channels, *states, *samples.times}
    used |= {"value"} if samples.value("tag_column") else set()
    used |= {samples.value("quality_column")}
    left = [name for name, one in columns.items() if name not in used and one.dtype == pl.String and len(filled(one))]
    left = [name for name in left if f"{{{name}}}" not in str(samples.value("device") or "")]
    if left:
        many = [name for name in left if filled(columns[name]).n_unique() > FEW_WORDS]
        what = "text" if many else "words"
        found.questions.append(f"{listed(left, NAMED)} hold(s) {what} and is left out of the channels")
