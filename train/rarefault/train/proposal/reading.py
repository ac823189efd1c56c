"""Reading a history with what is proposed, by the reader itself; what it refuses becomes a question."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.train.config import TrainConfig
from rarefault.train.history import History, read_history
from rarefault.train.history.notes import CONFLICTS
from rarefault.train.proposal.looking.excerpt import Excerpt
from rarefault.train.proposal.looking.groups import Group
from rarefault.train.proposal.sections.draft import Draft


@dataclass(slots=True)
class Source:
    """A source of the history.

    Attributes:
        samples: its section.
        events: the section of its log; None where there is none.
        group: the tables; None where it is no table.
        mappings: sections of what the messages of a recording look like.
    """

    samples: Draft
    events: Draft | None = None
    group: Group | None = None
    mappings: list[Draft] = field(default_factory=list)

    def drafts(self, name: str) -> list[Draft]:
        """The sections under the name that they have in the file."""
        several = name != "data"
        own = [self.samples.copied(name, one_of_several=several)]
        own += [mapping.copied(f"{name}.telemetry", one_of_several=True) for mapping in self.mappings]
        return [*own, self.events.copied(f"{name}.events")] if self.events is not None else own

    def plain(self, *, events: bool) -> dict[str, Any]:
        """The section as values, with what is assumed."""
        values = _plain(self.samples)
        if self.mappings:
            values["telemetry"] = [_plain(mapping) for mapping in self.mappings]
        if self.events is not None and events:
            values["events"] = _plain(self.events)
        return values


@dataclass(slots=True)
class Reading:
    """What reading gave.

    Attributes:
        config: as it was read with, with what is assumed; None where it is no configuration.
        history: None where nothing can be read.
        questions: what the reader refused, with its mend.
    """

    config: TrainConfig | None = None
    history: History | None = None
    questions: list[str] = field(default_factory=list)


def read(sources: Sequence[Source], others: Sequence[Draft], base: Path, made: Excerpt) -> Reading:
    """Read sources as one history; where the log cannot be read, without it.

    Args:
        sources: one or several.
        others: further sections, such as those of channels and of the grid.
        base: folder of the configuration.
        made: the copies that are read.
    """
    found = Reading()
    for events in (True, False):
        try:
            found.config = from_mapping(_mapping(sources, others, events=events), TrainConfig, "the proposal")
            folder = made.place(base)
            folder.mkdir(parents=True, exist_ok=True)
            found.history = read_history(
                found.config.data, folder, allow_incomplete=True, channels=found.config.channels
            )
        except (ConfigError, HistoryError) as error:
            text = made.plain(str(error))
            if text not in found.questions:
                found.questions.append(text)
            if not any(source.events is not None for source in sources):
                break
            continue
        break
    if found.history is not None and len(found.questions) == 1:
        found.questions = [f"the events cannot be read like this: {found.questions[0]}"]
    elif found.history is None:
        found.questions = [f"this cannot be read like this: {text}" for text in found.questions]
    return found


def contradictions(history: History) -> int:
    """Rows that hold other values than an earlier row of the same device and time."""
    return history.notes.count(CONFLICTS)


def problems_of(text: str, *, base: Path, whole: bool) -> tuple[str, ...]:
    """What is wrong with a configuration, a sentence each.

    Args:
        text: TOML.
        base: its folder.
        whole: whether its files are small enough to be read.
    """
    try:
        config = from_mapping(tomllib.loads(text), TrainConfig, "the answers")
        if whole:
            read_history(config.data, base, allow_incomplete=True, channels=config.channels)
    except (ConfigError, HistoryError) as error:
        return (f"this cannot be read like this: {error}",)
    return ()


def _mapping(sources: Sequence[Source], others: Sequence[Draft], *, events: bool) -> dict[str, Any]:
    own = [source.plain(events=events) for source in sources]
    values: dict[str, Any] = {"data": own[0] if len(own) == 1 else {"format": "together", "sources": own}}
    for draft in others:
        if draft.channel:
            values.setdefault("channels", {})[draft.channel] = _plain(draft)
        else:
            values[draft.name] = _plain(draft)
    return values


def _plain(draft: Draft) -> dict[str, Any]:
    return {one.key: one.value for one in draft.findings if one.value is not None} | draft.assumed
