"""What stands in the way of training on a history, one sentence each, with the remedy."""

from collections.abc import Sequence

import numpy as np

from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.history.data import History
from rarefault.train.history.dialect.tags import devices_are_tags
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.summary.intervals import interval_finding
from rarefault.train.history.summary.missing_codes import codes_of
from rarefault.train.history.summary.structs import ChannelSummary, ClassSummary

#: Channels and classes that are named one by one where something is wrong with many.
MOST_NAMED = 8
#: Codes, and channels of each, that a sentence names.
MOST_CODES = 5
#: So near a border, as a share of the period, a sample may as well have come on its other side.
NEAR = 0.05
#: Of the samples so many must be near a border, and of these so many on either side: were they spread evenly over the
#: period, a tenth would be near one.
CONCENTRATED, EITHER_SIDE = 0.5, 0.02


def findings(
    history: History,
    grid: GridSpec,
    channels: list[ChannelSummary],
    classes: list[ClassSummary],
    folds: int,
    block_s: float | None,
) -> list[str]:
    """All findings.

    Args:
        history: may be a fault log alone.
        grid: the bins.
        channels, classes: of the history's summary.
        folds: a class that a split cannot spread over as many parts is pointed out; 0 checks none.
        block_s: the split's blocks of time, into which longer events are cut; None where it is by device.
    """
    found = [] if len(history) else ["there are no samples: a fault log alone can be described, not learnt from"]
    tags = devices_are_tags(history.devices, history.channels)
    about = (tags, border_finding(history, grid), interval_finding(channels, grid), code_finding(history))
    found += [finding for finding in about if finding]
    found += [
        majority_finding(item.name, item.proportion)
        for item in classes[1:]
        if item.proportion and item.proportion > 0.5
    ]
    faulty = [item.name for item in classes[1:] if item.bins]
    if len(faulty) > 1 and not classes[0].bins:
        found.append(all_faulty_finding(faulty))
    if len(classes) == 1:
        found.append("there is no fault: nothing can be learnt from this history")
    found += _empty_channels(channels)
    found += _shortened(_few_events(history, classes, folds, block_s))
    return found + _shortened(_unseen(classes))


def _few_events(history: History, classes: list[ClassSummary], folds: int, block_s: float | None) -> list[str]:
    """A sentence for each class that a split cannot spread over all folds."""
    found = []
    for number, fault in enumerate(classes[1:], 1):
        own = history.events.fault == number
        if block_s is None:
            count, what = len(np.unique(history.events.device[own])), "device(s)"
        else:
            duration_s = (history.events.end_ms - history.events.start_ms)[own] / 1000
            count, what = int(np.maximum(duration_s // block_s, 1).sum()), "event(s) or blocks of long events"
        if count < folds:
            found.append(
                f"class {fault.name} has {count} {what}, fewer than the {folds} folds: "
                "some parts of the split will lack it"
            )
    return found


def _unseen(classes: list[ClassSummary]) -> list[str]:
    """A sentence for each class that labels no bin."""
    return [
        f"class {fault.name} labels no bin of the grid: its events lie where others win or no data is"
        for fault in classes[1:]
        if not fault.bins
    ]


def _shortened(sentences: list[str]) -> list[str]:
    """The first sentences, and how many more classes there are."""
    more = len(sentences) - MOST_NAMED
    return sentences[:MOST_NAMED] + ([f"and so {more} more classes"] if more > 0 else [])


def majority_finding(name: str, share: float) -> str:
    """Why a fault that covers more than half of the time is refused, and the remedies."""
    return (
        f"fault {name!r} covers {share:.0%} of the labelled time, more than all else together: if it is a word for "
        f'normal, set data.normal = ["{name}"], with all other such words; if machines were faulty most of the time, '
        "data.mostly_faulty = true"
    )


def all_faulty_finding(names: Sequence[str]) -> str:
    """Why a history without any normal time is refused, and the remedies."""
    return (
        f"faults cover all of the labelled time ({listed(names)}), none of it is normal: if one of them is a word for "
        "normal, name it as data.normal, with all other such words; if machines were never without a fault, "
        "data.mostly_faulty = true"
    )


def _empty_channels(channels: list[ChannelSummary]) -> list[str]:
    """A sentence for each channel that carries no information; one for all where they are many."""
    found = []
    for finding in ("never reported", "constant"):
        own = [channel for channel in channels if channel.finding == finding]
        if len(own) > MOST_NAMED:
            names = ", ".join(channel.name for channel in own[:MOST_NAMED])
            more = len(own) - MOST_NAMED
            found.append(f"{len(own)} channels are {finding}: {names} and {more} more: they carry no information")
            continue
        for channel in own:
            value = "" if channel.minimum is None else f" ({channel.minimum:g})"
            found.append(f"channel {channel.name} is {finding}{value}: it carries no information")
    return found


def border_finding(history: History, grid: GridSpec) -> str | None:
    """A sentence where most samples come at a border, some before it and some after; with the offset that avoids it."""
    found = border_offset(history, grid)
    return None if found is None else f"{found[1]}; set grid.offset_s = {found[0]:g}"


def border_offset(history: History, grid: GridSpec) -> tuple[float, str] | None:
    """Where most samples come at a border, some before it and some after, the offset that avoids it, and a sentence."""
    if not len(history):
        return None
    period_ms = grid.period_ms
    since = history.time_ms - (grid.end_ms(grid.bin_of(history.time_ms)) - period_ms)
    after, before = since < NEAR * period_ms, since >= (1 - NEAR) * period_ms
    near = float((after | before).mean())
    if near < CONCENTRATED or min(after.sum(), before.sum()) < EITHER_SIDE * (after | before).sum():
        return None
    # Half a period away from where they come, in whole seconds where the period has some.
    away = np.round((grid.offset_s + grid.period_s / 2) % grid.period_s, 0 if grid.period_s >= 10 else 3)
    return float(away), (
        f"{near:.0%} of the samples come within {NEAR * grid.period_s:g} s of a border of the grid's bins, "
        f"{before.mean():.0%} before and {after.mean():.0%} after it: chance decides which bin each falls into"
    )


def code_finding(history: History) -> str | None:
    """A sentence that names the codes, where they are and how often; None where there is none."""
    found: dict[float, list[tuple[str, int]]] = {}
    for i, name in enumerate(history.channels):
        for code, count in codes_of(history.values[:, i]).items():
            found.setdefault(code, []).append((name, count))
    if not found:
        return None
    codes = sorted(found, key=lambda code: -sum(count for _, count in found[code]))
    places = []
    for code in codes[:MOST_CODES]:
        shown = ", ".join(
            f"{name} ({count} time{'s' if count > 1 else ''})" for name, count in found[code][:MOST_CODES]
        )
        more = f" and {len(found[code]) - MOST_CODES} more channels" if len(found[code]) > MOST_CODES else ""
        places.append(f"{_text(code)} in {shown}{more}")
    more = f"; and {len(codes) - MOST_CODES} more such values" if len(codes) > MOST_CODES else ""
    return (
        f"values like codes for 'no value', far outside of all others of their channel: {'; '.join(places)}{more}; if "
        f"that is what they are, set data.missing = [{', '.join(map(_text, codes[:MOST_CODES]))}]"
    )


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**64 else repr(value)
