"""Notes of a training in groups: what makes scores meaningless first, then files, channels, blocks, decision."""

import re
from collections.abc import Iterable

from rarefault.train.dataset.findings import ABOUT_LABELS

#: The group of notes without which no score can be read.
GRAVE = "labels and leaks"
#: The group of those that say what a training did not do to keep to a time.
LEFT_OUT = "what was left out"
#: The group of those that no pattern matches.
OTHERS = "others"
#: How the notes of a group begin.
GROUPS: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern)
    for name, pattern in {
        GRAVE: r"the log is .* (?:late|early), |class .* cannot learn it|fault .* no rare fault|"
        r"channel .* gives fault |\d+ (?:" + "|".join(map(re.escape, ABOUT_LABELS)) + ")",
        LEFT_OUT: r"[^:]*: left out to save time: |budget of .* all the same",
        "few events": r"class .* has no window|fewer ",
        "blocks": r"\d+ event\(s\) last|\d+ samples of the new data|.* are gone from |.* has changed since ",
        "channels": r"channel\(s\) |values like codes|\d+% of the samples come",
        "units": r"looked for at each|the log names the unit",
        "decision": r"no thresholds keep|the held-out windows|further training made",
        "files": r"\d+ ",
    }.items()
}


def grouped(notes: Iterable[str]) -> dict[str, list[str]]:
    """The notes of each group that has some, in the order of :data:`GROUPS`."""
    found: dict[str, list[str]] = {name: [] for name in (*GROUPS, OTHERS)}
    for note in notes:
        found[next((name for name, pattern in GROUPS.items() if pattern.match(note)), OTHERS)].append(note)
    return {name: own for name, own in found.items() if own}


def is_grave(note: str) -> bool:
    """Whether it has to be read before any score."""
    return bool({GRAVE, LEFT_OUT} & grouped([note]).keys())


def counted(notes: Iterable[str]) -> str:
    """Such as ``5: 2 files, 1 channels, 2 few events``."""
    groups = {name: len(own) for name, own in grouped(notes).items()}
    return f"{sum(groups.values())}: {', '.join(f'{count} about {name}' for name, count in groups.items())}"
