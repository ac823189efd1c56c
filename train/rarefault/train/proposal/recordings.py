"""Recordings of messages as a source: their mapping is recognised from the messages themselves."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.proposal.messages.recognition import Source as Sender
from rarefault.runtime.proposal.messages.recognition import recognise, shared_names
from rarefault.runtime.proposal.messages.topics import pattern
from rarefault.runtime.proposal.messages.trial import Heard
from rarefault.runtime.recording.state import FILE as STATE
from rarefault.train.history.formats.recording import messages_of
from rarefault.train.proposal.looking.collect import Found
from rarefault.train.proposal.reading import Source
from rarefault.train.proposal.sections.devices import Named
from rarefault.train.proposal.sections.draft import Draft
from rarefault.train.proposal.sections.events import device_overlap, events_section, say_others
from rarefault.train.proposal.sections.paths import relative
from rarefault.train.proposal.sources import Work, show_whole

#: Messages that are looked at: the first ones of each file.
MOST_MESSAGES = 20_000


def recordings_of(work: Work, found: Found) -> list[Source]:
    """The source of recordings, with the log that names its devices best.

    Raises:
        HistoryError: nothing was recognised in them, and there is nothing else.
    """
    if not found.recordings:
        return []
    heard = list(_heard(found.recordings))
    seen = recognise(heard)
    if not seen.sources:
        shown = "; ".join(f"{topic}: {example!r}" for topic, example in list(seen.unread.items())[:3])
        example = f" ({shown})" if shown else ""
        why = f"{found.recordings[0]}: of {len(heard)} messages none looks like telemetry that can be read{example}"
        if not (found.tables or found.challenges or found.journals):
            raise HistoryError(f"{why}; 'rarefault presets' prints mappings to begin with")
        work.questions.append(f"{why}. It is left out")
        return []
    for path in found.recordings:
        show_whole(work.made, path)
    draft = Draft("data", about="Messages of a broker.")
    draft.add("format", "recording", "lines of JSON with topic and payload")
    draft.add("recordings", _names(found.recordings, work.base))
    if seen.unread:
        draft.questions.append(f"Nothing was recognised on {', '.join(list(seen.unread)[:4])}; it is left out")
    draft.questions += shared_names(seen.sources)
    source = Source(draft, mappings=[_mapping(sender) for sender in seen.sources])
    _add_log(work, source, seen.sources)
    return [source]


def _names(paths: Sequence[Path], base: Path) -> list[str]:
    """The files; those of a recorder, which compresses and adds some, by a pattern."""
    kept = {path.parent for path in paths if (path.parent / STATE).exists()}
    patterns = [f"{relative(folder, base)}/*.jsonl*" for folder in sorted(kept)]
    return [*patterns, *(relative(path, base) for path in paths if path.parent not in kept)]


def _heard(paths: Sequence[Path]) -> Iterator[Heard]:
    """The first messages of each file."""
    each = max(1, MOST_MESSAGES // len(paths))
    for path in paths:
        for topic, payload, arrived_ms, retained in islice(messages_of(path), each):
            yield Heard(topic, payload, arrived_ms, retained)


def _mapping(sender: Sender) -> Draft:
    trial = sender.trial
    about = (
        f"{pattern(sender.topics)}: {trial.used} of {trial.messages} messages are read, of "
        f"{len(trial.topics)} device(s) with {len(trial.channels)} channel(s)."
    )
    return Draft("telemetry", list(sender.findings), about=about, one_of_several=True)


def _add_log(work: Work, source: Source, senders: Sequence[Sender]) -> None:
    """The log of events that names most of the devices."""
    samples = [sample for sender in senders for sample in sender.trial.samples]
    named = Named(tuple(dict.fromkeys(sample.device for sample in samples)))
    ranked = sorted(work.logs, key=lambda log: -device_overlap(log[0], named))
    if not ranked:
        return
    times = [sample.time_ms for sample in samples]
    look, columns = ranked[0]
    span_ms = (min(times), max(times))
    source.events = events_section(look, columns, source.samples, named, work.base, work.zone, span_ms)
    say_others(source.events, [other for other, _ in ranked[1:]])
