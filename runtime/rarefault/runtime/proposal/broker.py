"""A configuration of the daemon from what a broker sends."""

import argparse
import difflib
import os
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from rarefault.runtime.daemon.config import BrokerConfig
from rarefault.runtime.errors import BrokerError, UsageError
from rarefault.runtime.proposal.dialogue import PlainScreen, Screen
from rarefault.runtime.proposal.finding import Finding
from rarefault.runtime.proposal.listening import listen
from rarefault.runtime.proposal.messages.recognition import Recognised, Source, recognise, shared_names
from rarefault.runtime.proposal.messages.topics import pattern
from rarefault.runtime.proposal.messages.trial import Trial
from rarefault.runtime.proposal.proposal import Proposal, Section, Table
from rarefault.runtime.telemetry.values import WORDS
from rarefault.runtime.times import format_ms

#: What the model file is called where none is named.
MODEL = "plant.onnx"
#: Rows of a preview, names in a comment, and channels in which words are told.
ROWS, NAMED, MOST_WORDED = 12, 8, 20


def screen() -> Screen:
    """Where the proposal is shown."""
    return PlainScreen()


def propose(args: argparse.Namespace) -> Proposal:
    """Listen, and propose.

    Args:
        args: of ``rarefault init``.

    Raises:
        UsageError: the address or the password's file cannot be used.
        BrokerError: nobody could listen, or nothing came.
    """
    broker, password = _broker(args)
    filters = args.topics or ["#"]
    for text in filters:
        if (
            not text
            or "#" in text[:-1]
            or any(mark in level and level != mark for level in text.split("/") for mark in "+#")
        ):
            raise UsageError(f"--topics {text!r} is no topic filter: '+' is a whole level, and '#' the last one")
    heard = listen(broker, Path("edge.toml").absolute(), password, filters, args.seconds, _tell)
    print(file=sys.stderr)
    if not heard:
        raise BrokerError(
            f"{broker.url}: nothing came on {', '.join(filters)} within {args.seconds:g} s; --seconds listens longer, "
            "and the broker's access rules may keep telemetry from this user"
        )
    found = recognise(heard)
    if not found.sources:
        shown = "; ".join(f"{topic}: {example[:40]!r}" for topic, example in list(found.unread.items())[:3])
        shown = shown or f"only {_some(list(found.noise) or sorted({message.topic for message in heard}))}"
        raise BrokerError(
            f"{broker.url}: {len(heard)} messages came, and none looks like telemetry that can be read ({shown}); "
            "'rarefault presets' prints mappings to begin with"
        )
    beside = (args.output or Path("edge.toml")).absolute().parent
    written = msgspec.structs.replace(
        broker,
        password_file=_seen_from(beside, broker.password_file),
        ca_file=_seen_from(beside, broker.ca_file),
    )
    return proposal_of(found, written, args.model, args.seconds, beside)


def _seen_from(folder: Path, path: str) -> str:
    """A path as a file in a folder has to have it: paths in a configuration are relative to its own folder."""
    if not path or Path(path).is_absolute():
        return path
    return os.path.relpath(Path(path).absolute(), folder)


def _tell(text: str) -> None:
    """How far it is, on one line of standard error."""
    print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)


def _broker(args: argparse.Namespace) -> tuple[BrokerConfig, str | None]:
    """The broker's section, and the password."""
    given = {
        "url": args.sources[0],
        "username": args.username,
        "password_file": str(args.password_file) if args.password_file else "",
        "ca_file": str(args.ca_file) if args.ca_file else "",
    }
    try:
        broker = msgspec.convert(given, BrokerConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"{args.sources[0]}: {error}") from None
    if args.password_file is None:
        return broker, None
    try:
        lines = args.password_file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--password-file {args.password_file} cannot be read: {error}") from None
    return broker, lines[0] if lines else ""


def proposal_of(
    found: Recognised, broker: BrokerConfig, model: Path | None, seconds: float, folder: Path | None = None
) -> Proposal:
    """The configuration for what was recognised.

    Args:
        found: what was.
        broker: the section of the broker.
        model: whose channels the telemetry is mapped to.
        seconds: how long was listened.
        folder: where the configuration will be.
    """
    channels = _channels_of(model)
    several = len(found.sources) > 1
    sections = [_model_section(model, folder or Path.cwd()), _broker_section(broker)]
    questions: list[str] = []
    for source in found.sources:
        findings, open_points = _mapped(source, channels)
        about = _about(source, seconds)
        sections.append(Section("telemetry", findings, about, one_of_several=several))
        questions += open_points
    if channels and (lacking := [name for name in channels if name not in _names(found, sections)]):
        questions.append(f"No telemetry has {_some(lacking)} of the model: map them in fields, or listen longer.")
    questions += shared_names(found.sources)
    if found.unread:
        topics = "; ".join(f"{topic}, such as {example!r}" for topic, example in list(found.unread.items())[:4])
        questions.append(f"Nothing was recognised on {topics}. If it is telemetry, give it a [[telemetry]] of its own.")
    sections.append(Section("journal", (Finding("path", "edge.journal", "What survives a restart."),)))
    title = f"Proposed from {seconds:g} s of {broker.url}. {_noise(found)}Change what is wrong; then: rarefault doctor."
    return Proposal(title, tuple(sections), tuple(questions), tuple(_previews(found)))


def _noise(found: Recognised) -> str:
    if not found.noise:
        return ""
    return f"{sum(found.noise.values())} messages are no telemetry, such as on {_some(list(found.noise))}. "


def _channels_of(model: Path | None) -> tuple[str, ...]:
    if model is None:
        return ()
    from rarefault.runtime.inference.model_file import load_model

    return load_model(model).manifest.channels


def _model_section(model: Path | None, folder: Path) -> Section:
    if model is not None:
        return Section("model", (Finding("path", _seen_from(folder, str(model)), ""),))
    evidence = "No model was named"
    other = 'the file that "rarefault export" writes; to train one first, "rarefault record" keeps what is sent'
    return Section("model", (Finding("path", MODEL, evidence, other),))


def _broker_section(broker: BrokerConfig) -> Section:
    keys = ("url", "username", "password_file", "ca_file")
    return Section("broker", tuple(Finding(key, getattr(broker, key), "") for key in keys if getattr(broker, key)))


def _mapped(source: Source, channels: Sequence[str]) -> tuple[tuple[Finding, ...], list[str]]:
    """The keys of a source, with the names that its channels have in the model."""
    findings, trial = source.findings, source.trial
    questions = []
    if worded := _words(trial):
        questions.append(
            f"{worded} hold words. on and off, true and false are 1 and 0; of others the training's "
            '[channels."NAME"] states says the numbers.'
        )
    if not channels:
        return findings, questions
    names = trial.channels
    lacking = [name for name in channels if name not in names]
    foreign = {name.rpartition(".")[2].casefold(): name for name in names if name not in channels}
    fields = {}
    for channel in lacking:
        near = difflib.get_close_matches(channel.rpartition(".")[2].casefold(), foreign, n=1)
        if near:
            fields[foreign.pop(near[0])] = channel
    if fields:
        other = "other names, or none: these look most alike"
        findings = (*findings, Finding("fields", fields, "the model names these channels otherwise", other))
    return findings, questions


def _names(found: Recognised, sections: Sequence[Section]) -> set[str]:
    """Names that the model's channels come under, mapped ones as the model has them."""
    mapped = {
        name
        for section in sections
        for finding in section.findings
        if finding.key == "fields" and isinstance(finding.value, dict)
        for name in finding.value.values()
    }
    return mapped | {name for source in found.sources for name in source.trial.channels}


def _words(trial: Trial) -> str:
    """Channels that hold words which are no numbers by themselves."""
    worded = {
        name: words
        for name, words in trial.words.items()
        if len(words) <= 8 and not {word.lower() for word in words} <= set(WORDS)
    }
    shown = [f"{name} ({', '.join(list(words)[:4])})" for name, words in list(worded.items())[:3]]
    return ", ".join(shown) if len(worded) <= MOST_WORDED else ""


def _about(source: Source, seconds: float) -> str:
    trial = source.trial
    devices = list(trial.topics)
    read = f"{trial.used} of {trial.messages} messages are read"
    if trial.rejected:
        reason, count = trial.rejected.most_common(1)[0]
        read += f"; {count} are not ({reason}: {trial.examples[reason]})"
    channels = trial.channels
    return (
        f"{pattern(source.topics)}: {read}. {len(devices)} device(s): {_some(devices)}. "
        f"{len(channels)} channel(s): {_some(channels)}. {_rate(trial, seconds)}"
    )


def _rate(trial: Trial, seconds: float) -> str:
    """How often a device sends, as far as some seconds show it."""
    times: dict[str, list[int]] = defaultdict(list)
    for sample in trial.samples:
        times[sample.device].append(sample.arrived_ms)
    steps = [later - earlier for own in times.values() for earlier, later in pairwise(own)]
    if not steps:
        return f"Each device was heard once in {seconds:g} s."
    return f"A device sends every {statistics.median(steps) / 1000:.3g} s."


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _previews(found: Recognised) -> list[Table]:
    rows = []
    for source in found.sources:
        trial = source.trial
        last = trial.samples[-1]
        values = ", ".join(f"{name} {value:g}" for name, value in list(last.values.items())[:3])
        topics = Counter(topic for own in trial.topics.values() for topic in own)
        rows.append(
            (
                pattern(source.topics),
                str(len(topics)),
                str(len(trial.topics)),
                str(len(trial.channels)),
                last.device,
                format_ms(last.time_ms)[:19],
                values,
            )
        )
    columns = ("topics", "number", "devices", "channels", "last of", "at (UTC)", "values")
    if len(rows) > ROWS:
        rows = [*rows[:ROWS], (f"and {len(rows) - ROWS} more", "", "", "", "", "", "")]
    return [Table("What would be read:", columns, tuple(rows))]
