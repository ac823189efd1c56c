"""Period, hold, gap and windows from the distances of samples and the durations of events: a few to choose from."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.evaluation.wording import duration
from rarefault.train.history import History
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.summary.findings import border_offset
from rarefault.train.proposal.distances import DAY_S, Distances
from rarefault.train.proposal.sections.draft import Draft

#: Widths that people use, seconds.
NICE = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400,
        21600, 28800, 43200, 86400)  # fmt: skip
#: Bins that a short event covers, and the fewest where more would make too many windows.
FINE, SEEN = 32, 4
#: Windows that are trained on in minutes.
MOST_WINDOWS = 50_000
#: Bins of a window, and the fewest that the network's convolutions leave something of.
LONG, SHORT = 16, 10
#: Blocks of time that a split should have to deal out.
BLOCKS = 20


@dataclass(frozen=True)
class Suggestion:
    """A grid and its windows.

    Attributes:
        period_s, length, stride: as in the configuration.
        why: for people.
        windows: about how many the whole history has.
        minutes: about how long it trains; "" where it is not known.
    """

    period_s: float
    length: int
    stride: int
    why: str
    windows: int
    minutes: str = ""

    def describe(self, distances: Distances) -> str:
        """What it sees, in one line."""
        sees = f"period_s = {self.period_s:g}, length = {self.length}, stride = {self.stride}: a window of "
        sees += f"{duration(self.period_s * self.length)}, a verdict every {duration(self.period_s * self.stride)}"
        if distances.short is not None:
            sees += f", {_bins(distances.short / self.period_s)} of a short event ({duration(distances.short)})"
        text = f"{sees}; about {self.windows:,} windows"
        return f"{text}, {self.minutes} of training" if self.minutes else text


def suggestions(distances: Distances, share: float) -> list[Suggestion]:
    """Grids to choose from, the chosen one first.

    Args:
        distances: of the history.
        share: of the history that was looked at.
    """
    usual = [median for median, _ in distances.channels.values()]
    # A bin should hold a value of most channels.
    least = nice(float(np.median(usual)) if usual else distances.sample)
    seconds = distances.covered / max(share, 1e-9)
    wanted, why = _chosen_period(distances, least, seconds)
    made = [_suggestion(wanted, seconds, distances.usual, why)]
    finer, coarser = nice(max(least, wanted / 4)), nice(wanted * 4)
    if finer < wanted:
        why = "finer: tells more of how a fault begins, for several times the time"
        made.append(_suggestion(finer, seconds, distances.usual, why))
    if distances.usual is None or coarser <= distances.usual or len(made) == 1:
        why = "coarser: quick, and each bin is the mean of more samples; short events are lost"
        made.append(_suggestion(coarser, seconds, distances.usual, why))
    return made


def _chosen_period(distances: Distances, least: float, seconds: float) -> tuple[float, str]:
    """The width of a bin, and why."""
    short = distances.short
    if short is None:
        wanted = max(least, nice(seconds / MOST_WINDOWS / 2))
        return wanted, "no event says how fine it must be: a few samples a bin"
    fine = wanted = max(least, nice(short / FINE, down=True))
    while seconds / wanted / 2 > MOST_WINDOWS and nice(wanted * 1.1) <= short / SEEN:
        wanted = nice(wanted * 1.1)
    why = f"a short event lasts {duration(short)}, which is {_bins(short / wanted)}"
    if wanted > fine:
        return wanted, f"{why}; narrower ones would make more than {MOST_WINDOWS:,} windows to train on"
    if fine == least:
        return wanted, f"{why}; values come every {duration(least)}, so that narrower ones would mostly be empty"
    return wanted, f"{why}, so that about half of it is in a window"


def _suggestion(period_s: float, seconds: float, usual: float | None, why: str) -> Suggestion:
    length = LONG
    if length * period_s > DAY_S / 2:  # days are dealt out to training and test, and hold two windows
        length = max(SHORT, min(LONG, int(DAY_S / 2 / period_s)))
    stride = 2 if usual is None or 4 * period_s <= usual else 1
    return Suggestion(period_s, length, stride, why, round(seconds / period_s / stride))


def _bins(count: float) -> str:
    rounded = round(count) if count >= 10 else round(count, 1)
    return f"{rounded:g} bin{'' if rounded == 1 else 's'}"


def nice(seconds: float, *, down: bool = False) -> float:
    """A width that people use, at least as long, or with ``down`` at most as long; a channel's jitter is let pass."""
    if down:
        return float(max((one for one in NICE if one <= seconds * 1.05), default=NICE[0]))
    whole_days = float(np.ceil(seconds / DAY_S) * DAY_S)
    return float(min((one for one in NICE if one >= seconds * 0.95), default=whole_days))


def grid_sections(
    history: History, distances: Distances, made: list[Suggestion], slow: dict[str, tuple[float, float]] | None = None
) -> list[Draft]:
    """The sections ``[grid]``, ``[window]`` and ``[split]`` of the first suggestion, with the others as comments."""
    chosen = made[0]
    channels = slow or distances.channels
    grid = Draft("grid", about=_about(distances, made))
    grid.add("period_s", _plain(chosen.period_s), f"chosen: {chosen.why}")
    spec = _add_times(grid, distances, chosen, channels)
    offset = border_offset(history, spec)
    if offset is not None:
        grid.add("offset_s", _plain(offset[0]), offset[1])
    window = Draft("window")
    long = duration(chosen.period_s * chosen.length)
    usual = "" if distances.usual is None else f"; an event lasts {duration(distances.usual)} at the median"
    window.add("length", chosen.length, f"a verdict looks at {long}{usual}")
    window.add("stride", chosen.stride, f"a verdict every {duration(chosen.period_s * chosen.stride)}")
    split = _split(distances, chosen, spec)
    return [grid, window, split] if split.findings else [grid, window]


def _about(distances: Distances, made: list[Suggestion]) -> str:
    text = f"A device reports every {duration(distances.sample)} at the median."
    if distances.shortest is not None:
        name, seconds = distances.shortest
        text += f" Shortest are the events of {name}, {duration(seconds)} at the median."
    return "\n".join(
        [
            text,
            "Grids to choose from, with what each sees; the first is chosen:",
            *(f"  {one.describe(distances)}: {one.why}" for one in made),
        ]
    )


def _add_times(
    grid: Draft, distances: Distances, chosen: Suggestion, channels: dict[str, tuple[float, float]]
) -> GridSpec:
    """Hold and gap; and the grid that this makes."""
    period = chosen.period_s
    name, (median, p90) = max(channels.items(), key=lambda item: item[1][1], default=("", (period, period)))
    hold = nice(min(max(3 * period, 1.5 * p90), 100 * max(period, distances.sample)))
    slow = [one for one, (_, apart) in channels.items() if apart > hold]
    evidence = (
        f"the slowest channel is {name}, every {duration(median)} at the median, at most {duration(p90)} in nine "
        "of ten cases"
    )
    if slow:
        evidence += f"; {listed(slow, 4)} come(s) more rarely, and is missing in between"
    grid.add("max_hold_s", _plain(hold), evidence)
    usual = distances.gaps[distances.gaps <= DAY_S]
    gap = nice(max(2 * hold, 8 * period))
    longer = int((distances.gaps > gap).sum())
    evidence = f"{longer} stretch(es) without a sample are longer"
    if len(distances.gaps):
        evidence += (
            f"; of {len(distances.gaps)} that are ten times as long as usual, half last "
            f"{duration(float(np.median(distances.gaps)))}"
            f" or more, the longest {duration(float(distances.gaps[-1]))}"
        )
    if len(usual):
        grid.add("max_gap_s", _plain(gap), f"{evidence}; a device starts anew after them")
    else:
        grid.add("max_gap_s", _plain(gap), evidence)
    return GridSpec(period_s=period, max_hold_s=hold, max_gap_s=gap)


def _split(distances: Distances, chosen: Suggestion, spec: GridSpec) -> Draft:
    """Blocks of time, where a day is too long or too short for them."""
    split = Draft("split")
    least = max(2 * chosen.length * chosen.period_s, spec.max_gap_s * 1.01)
    if least > DAY_S:
        split.add("block_s", _plain(nice(least / 0.95)), "a block must hold two windows, and be longer than max_gap_s")
    elif distances.span and distances.span < BLOCKS * DAY_S:
        wanted = max(nice(max(distances.span / BLOCKS, 2 * (distances.usual or 0.0)), down=True), nice(least / 0.95))
        if wanted < DAY_S:
            evidence = (
                f"there are {duration(distances.span)} of a device: whole days would be too few blocks to deal out"
            )
            split.add("block_s", _plain(wanted), evidence)
    return split


def _plain(value: float) -> Any:
    return int(value) if value == int(value) else value


def with_minutes(made: list[Suggestion], minutes: dict[int, str]) -> list[Suggestion]:
    """The suggestions with how long they train, by their place."""
    return [replace(one, minutes=minutes.get(i, one.minutes)) for i, one in enumerate(made)]
