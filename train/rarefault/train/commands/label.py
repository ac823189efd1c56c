"""``rarefault label``: a fault log and people's answers to alarms, joined to what a journal holds."""

import argparse
import csv
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rarefault.runtime.errors import HistoryError, JournalError, UsageError
from rarefault.runtime.results import add_json_argument, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from rarefault.runtime.journal.reader import JournalReader
    from rarefault.train.history import ReadNotes
    from rarefault.train.labelling.labels import Labels, Row, Span

HELP = "label what the daemon's journal holds, from a fault log and people's answers to alarms"
EXTRA = "train"
EPILOG = """examples:
  rarefault label edge.journal -o labels.csv                        people's answers alone
  rarefault label edge.journal --log faults.csv -o labels.csv       a fault log, corrected by answers
  rarefault label edge.journal --log faults.csv --faults leak worn --normal OK NORMAL -o labels.csv
  rarefault label edge.journal --log faults.csv --time-zone Europe/Zurich --until 2024-06-01T00:00:00Z -o labels.csv

then, to learn from it:

  [data]
  format = "journal"
  path = "edge.journal"
  events = "labels.csv"

what an answer says (feedback on '{prefix}/{device}/feedback'):
  confirmed alarm    an event of its fault, or of the 'fault' that the answer names, from where the alarm stands since
                     to the device's next change of its alarm state, or to the last sample
  refuted alarm      the same time is normal, or of the 'fault' that the answer names
  'start', 'end'     of the answer replace those of the alarm; where it is known when a fault began, say so: it began
                     before the alarm. With both and without an alarm they are a stretch by itself
  retracted          what was answered to the alarm, or of just the time from 'start' to 'end', is as if not said
  Of several answers to one alarm the latest counts; where stretches overlap, the later answer does.

what is true of all other time:
  with a log         events of the log are taken as they are, cut to the time of the samples; all else is normal.
                     Where answers contradict the log, the answers win, and it is reported
  without a log      time under the alarm state 'normal' is normal. Time under an alarm that nobody answered, under
                     'unknown' and 'no data', and before the first state, is 'unlabelled'
  in both cases      time outside --since and --until, and after the last sample, is 'unlabelled', so that what the
                     journal receives later is not taken as normal; label it again then

Time that is 'unlabelled' is neither learnt from nor scored. A row of LABELS.csv is a device, start, end, fault, the
source, at which 'rarefault train' does not look, and the unit (part of the device) where the log has a column for it.
"""

COLUMNS = ("device", "start", "end", "fault", "source", "unit")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("journal", metavar="JOURNAL", type=Path, help="the daemon's journal; it may be running")
    parser.add_argument(
        "--log", metavar="FAULTLOG", type=Path, help="events (device, start, end, fault; unit) as CSV or Parquet"
    )
    parser.add_argument("--since", metavar="T", type=_instant, help="label from here on (ISO 8601 with a zone)")
    parser.add_argument("--until", metavar="T", type=_instant, help="label what is before this")
    parser.add_argument("-o", "--output", metavar="LABELS.csv", type=Path, required=True, help="the file to write")
    parser.add_argument("--force", action="store_true", help="replace LABELS.csv if it is there")
    parser.add_argument(
        "--time-zone", metavar="NAME", default="", help="zone of the log's times where they have none, as Europe/Zurich"
    )
    parser.add_argument(
        "--separator", metavar="CHAR", default=",", help="what stands between the log's fields (default: a comma)"
    )
    parser.add_argument(
        "--faults",
        metavar="NAME",
        nargs="+",
        default=[],
        help="the log's faults; events of other names are left out and counted (default: all names are faults)",
    )
    parser.add_argument(
        "--normal",
        metavar="NAME",
        nargs="+",
        default=[],
        help="names in the log that mean no fault (default: the usual words for it, such as normal and ok)",
    )
    parser.add_argument("--encoding", metavar="NAME", default="utf-8", help="of the log's text, such as cp1252")
    parser.add_argument(
        "--open-events",
        choices=("refuse", "last", "unlabelled"),
        default="refuse",
        help="what events of the log without an end do: last to their device's last sample, or make it unlabelled",
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Label."""
    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.history.formats.journal import open_journal
    from rarefault.train.labelling.labels import make_labels

    _check_output(args)
    if args.since is not None and args.until is not None and args.until <= args.since:
        raise UsageError("--until must be after --since")
    if args.log is None and (args.faults or args.normal):
        raise UsageError("--faults and --normal say what the names in a fault log mean; name the log in --log")
    console = PlainConsole(stderr=str(args.json) == "-")
    with console.status("reading the journal"), open_journal(args.journal, "JOURNAL") as journal:
        try:
            spans = _spans(journal)
            alarms, feedback = list(journal.alarms()), list(journal.feedback())
        except JournalError as error:
            raise HistoryError(f"JOURNAL: {error}") from error
    if not spans:
        raise HistoryError(f"{args.journal}: the journal holds no samples, so there is nothing to label")
    log, notes = _read_log(args, spans) if args.log is not None else (None, None)
    labels = make_labels(spans, alarms, feedback, log, since_ms=args.since, until_ms=args.until)
    _write(args.output, labels.rows)
    findings = _findings(labels, notes, args)
    _print(console, spans, labels, findings)
    console.print(f"labels  {args.output}")
    if args.json is not None:
        write_json(args.json, _result(args, spans, labels, findings))
    return 0


def _check_output(args: argparse.Namespace) -> None:
    if args.output.is_dir():
        raise UsageError(f"-o {args.output} is a folder; name the file to write in it")
    if not args.output.parent.is_dir():
        raise UsageError(f"-o {args.output}: the folder {args.output.parent} does not exist; make it first")
    for name in ("journal", "log"):
        source: Path | None = getattr(args, name)
        if source is not None and args.output.resolve() == source.resolve():
            raise UsageError(f"-o {args.output} is the {name} itself; name another file")
    if args.output.exists() and not args.force:
        raise UsageError(f"-o {args.output} exists: name another file, or --force to replace it")


def _spans(journal: "JournalReader") -> "dict[str, Span]":
    """Samples of each device in the journal, in the natural order of the names."""
    import numpy as np

    from rarefault.runtime.journal.records import SAMPLES
    from rarefault.train.history.parsing.natural import natural
    from rarefault.train.labelling.labels import Span

    names = journal.devices()
    size = max(names, default=0) + 1
    count, first, last = np.zeros(size, np.int64), np.full(size, np.iinfo(np.int64).max), np.zeros(size, np.int64)
    for batch in journal.batches():
        if batch.kind == SAMPLES:
            named = batch.device < size
            device, time_ms = batch.device[named], batch.time_ms[named]
            count += np.bincount(device, minlength=size)
            np.minimum.at(first, device, time_ms)
            np.maximum.at(last, device, time_ms)
    found = {name: Span(int(count[i]), int(first[i]), int(last[i])) for i, name in names.items() if count[i]}
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def _read_log(args: argparse.Namespace, spans: "dict[str, Span]") -> "tuple[list[Row], ReadNotes]":
    """Events of the fault log, and what was wrong with it."""
    from rarefault.runtime.settings import from_mapping
    from rarefault.train.history import JournalConfig
    from rarefault.train.history.data import NO_UNIT
    from rarefault.train.history.event_log import NamedReader
    from rarefault.train.labelling.labels import LOG, Row

    keys = {"format": "journal", "path": str(args.journal), "time_zone": args.time_zone, "separator": args.separator}
    keys |= {name: words for name in ("faults", "normal") if (words := getattr(args, name))}
    keys |= {"encoding": args.encoding, "open_events": args.open_events}
    reader = NamedReader(from_mapping(keys, JournalConfig, "the command line"), Path())
    reader.events_key, reader.time_zone_key, reader.open_key = "--log", "--time-zone", "--open-events"
    reader.last_ms = {name: span.last_ms for name, span in spans.items()}
    for name in spans:
        reader.devices.code(name)
    reader.read_events(args.log)
    named, faults, units = reader.devices.list(), reader.faults.list(), [*reader.units.list(), ""]
    rows = [
        Row(named[device], start, end, faults[fault], LOG, units[unit])
        for piece in reader.draft.events
        for device, start, end, fault, unit in zip(
            piece.device.tolist(),
            piece.start_ms.tolist(),
            piece.end_ms.tolist(),
            piece.fault.tolist(),
            [NO_UNIT] * len(piece.fault) if piece.unit is None else piece.unit.tolist(),
            strict=True,
        )
    ]
    return rows, reader.notes


def _write(path: Path, rows: "list[Row]") -> None:
    """Write the labels; the file appears whole or not at all."""
    from rarefault.runtime.times import format_ms

    fresh = path.with_name(f"{path.name}.part")
    try:
        with fresh.open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(COLUMNS)
            out.writerows(
                (r.device, format_ms(r.start_ms), format_ms(r.end_ms), r.fault, r.source, r.unit) for r in rows
            )
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise UsageError(f"-o {path}: cannot be written: {error.strerror}") from error


def _findings(labels: "Labels", notes: "ReadNotes | None", args: argparse.Namespace) -> list[str]:
    """What a person should know, one sentence each."""
    from rarefault.train.history import UNLABELLED
    from rarefault.train.labelling.labels import describe_time

    found = [f"{args.log.name}: {note}" for note in notes or ()]
    if labels.dropped:
        found.append(f"{labels.dropped} event(s) of the log lie outside the labelled time and are left out")
    if labels.clipped:
        found.append(f"{labels.clipped} event(s) of the log reach beyond the labelled time and are cut to it")
    found += [
        f"{c.device}, {describe_time(c.start_ms, c.end_ms)}: feedback says {c.feedback}, the log {c.log}; feedback wins"
        for c in labels.conflicts
    ]
    if labels.replaced:
        found.append(f"{labels.replaced} answer(s) were replaced by a later one on the same alarm or the same time")
    if labels.retracted:
        found.append(f"{labels.retracted} answer(s) were taken back")
    found += [
        f"answer not used ({u.device}, {u.answer}{f' alarm {u.alarm}' if u.alarm else ''}): {u.why}"
        for u in labels.unused
    ]
    if labels.new_faults:
        found.append(
            f"named by feedback alone, by no alarm{' and no event of the log' if args.log else ''}: "
            f"{', '.join(labels.new_faults)}; check the spelling"
        )
    if all(row.fault == UNLABELLED for row in labels.rows):
        found.append("no fault is labelled: nothing can be learnt from these labels alone")
    return found


def _print(console: "Console", spans: "dict[str, Span]", labels: "Labels", findings: list[str]) -> None:
    from rich.table import Table

    from rarefault.train.commands.describe import MOST_DEVICES, duration, percent
    from rarefault.train.labelling.labels import describe_time

    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("device")
    table.add_column("samples", justify="right")
    table.add_column("time (UTC)")
    table.add_column("unlabelled", justify="right")
    table.add_column("events by fault and source", overflow="fold")
    for name, span in list(spans.items())[:MOST_DEVICES]:
        counts = _counts(labels.rows, name)
        total_s = (span.last_ms - span.first_ms) / 1000
        silent_s = _unlabelled_s(labels.rows, name, span)
        table.add_row(
            name,
            f"{span.samples:,}",
            describe_time(span.first_ms, span.last_ms),
            f"{duration(silent_s)} ({percent(silent_s / total_s if total_s else 0.0, 0)})" if silent_s else "",
            "; ".join(
                f"{fault}: {', '.join(f'{n} {source}' for source, n in by_source.items())}"
                for fault, by_source in counts.items()
            ),
        )
    console.print(table)
    if len(spans) > MOST_DEVICES:
        console.print(f"and {len(spans) - MOST_DEVICES} more devices (--json has all)")
    for finding in findings:
        console.print(f"note: {finding}", style="yellow", soft_wrap=True)


def _counts(rows: "list[Row]", device: str) -> dict[str, dict[str, int]]:
    """Number of events of a device by fault, then by source."""
    from rarefault.train.history import UNLABELLED

    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.device == device and row.fault != UNLABELLED:
            by_source = counts.setdefault(row.fault, {})
            by_source[row.source] = by_source.get(row.source, 0) + 1
    return dict(sorted(counts.items()))


def _unlabelled_s(rows: "list[Row]", device: str, span: "Span") -> float:
    """Seconds between a device's first and last sample that are unlabelled."""
    from rarefault.train.history import UNLABELLED

    own = [row for row in rows if row.device == device and row.fault == UNLABELLED]
    return sum(max(0, min(row.end_ms, span.last_ms) - max(row.start_ms, span.first_ms)) for row in own) / 1000


def _result(
    args: argparse.Namespace, spans: "dict[str, Span]", labels: "Labels", findings: list[str]
) -> dict[str, Any]:
    from dataclasses import asdict

    from rarefault.runtime.times import format_ms

    return {
        "journal": str(args.journal),
        "labels": str(args.output),
        "devices": [
            {
                "name": name,
                "samples": span.samples,
                "start": format_ms(span.first_ms),
                "end": format_ms(span.last_ms),
                "unlabelled_s": _unlabelled_s(labels.rows, name, span),
                "events": _counts(labels.rows, name),
            }
            for name, span in spans.items()
        ],
        "answers": {
            "used": labels.answers,
            "replaced": labels.replaced,
            "retracted": labels.retracted,
            "unused": [asdict(u) for u in labels.unused],
        },
        "conflicts": [asdict(conflict) for conflict in labels.conflicts],
        "log": {"cut": labels.clipped, "left_out": labels.dropped} if args.log else None,
        "notes": findings,
    }


def _instant(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it like 2011-03-01T12:00:00Z") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no time zone; write it like 2011-03-01T12:00:00Z")
    return round(moment.timestamp() * 1000)
