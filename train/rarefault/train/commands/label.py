"""``rarefault label``: a fault log and people's answers to alarms, joined to what a journal holds."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rarefault.runtime.errors import HistoryError, JournalError, UsageError
from rarefault.runtime.results import add_json_argument, write_json
from rarefault.train.commands.arguments import instant
from rarefault.train.evaluation.wording import duration, percent

if TYPE_CHECKING:
    from rich.console import Console

    from rarefault.train.history import ReadNotes
    from rarefault.train.labelling.labels import Labels
    from rarefault.train.labelling.rows import Row, Span

HELP = "label what the daemon's journal holds, from a fault log and people's answers to alarms"
EXTRA = "train"
EPILOG = """examples:
  rarefault label edge.journal -o labels.csv                        people's answers alone
  rarefault label edge.journal --log faults.csv -o labels.csv       a fault log, corrected by answers
  rarefault label edge.journal --log faults.csv --faults leak worn --normal OK NORMAL -o labels.csv
  rarefault label edge.journal --log faults.csv --time-zone Europe/Zurich --until 2024-06-01T00:00:00Z -o labels.csv

then, to train on it:

  [data]
  format = "journal"
  path = "edge.journal"
  events = "labels.csv"

what an answer means (feedback on '{prefix}/{device}/feedback'):
  confirmed alarm    an event of its fault, or of the 'fault' that the answer names, from where the alarm stands since
                     to the device's next change of its alarm state, or to the last sample
  refuted alarm      the same time is normal, or of the 'fault' that the answer names
  'start', 'end'     of the answer replace those of the alarm; give the start where it is known, as a fault begins
                     before its alarm. With both and without an alarm they are a stretch by itself
  retracted          the answer to the alarm, or for exactly the time from 'start' to 'end', is withdrawn
  Of several answers to one alarm the latest counts; where stretches overlap, the later answer does.

what is true of all other time:
  with a log         events of the log are taken as they are, cut to the time of the samples; all else is normal.
                     Where answers contradict the log, the answers win, and it is reported
  without a log      time under the alarm state 'normal' is normal. Time under an alarm that nobody answered, under
                     'unknown' and 'no data', and before the first state, is 'unlabelled'
  in both cases      time outside --since and --until, and after the last sample, is 'unlabelled', so that what the
                     journal receives later is not taken as normal; label it again then

Time that is 'unlabelled' is neither trained on nor scored. A row of LABELS.csv is a device, start, end, fault, the
source, at which 'rarefault train' does not look, and the unit (part of the device) where the log has a column for it.
"""

#: Devices that are shown one by one.
MOST_DEVICES = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("journal", metavar="JOURNAL", type=Path, help="the daemon's journal; it may be running")
    parser.add_argument(
        "--log", metavar="FAULTLOG", type=Path, help="events (device, start, end, fault; unit) as CSV or Parquet"
    )
    parser.add_argument("--since", metavar="T", type=instant, help="label from here on (ISO 8601 with a zone)")
    parser.add_argument("--until", metavar="T", type=instant, help="label what is before this")
    parser.add_argument("-o", "--output", metavar="LABELS.csv", type=Path, required=True, help="the file to write")
    parser.add_argument("--force", action="store_true", help="replace LABELS.csv if it is there")
    parser.add_argument(
        "--time-zone", metavar="NAME", default="", help="zone of the log's times where they have none, as Europe/Zurich"
    )
    parser.add_argument(
        "--time-format",
        metavar="FORMAT",
        default="",
        help="how the log's times are written, as in '%%d.%%m.%%Y %%H:%%M' (default: what can be read one way only)",
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
    from rarefault.train.labelling.files import device_spans
    from rarefault.train.labelling.labels import make_labels
    from rarefault.train.labelling.summary import findings, plain_values

    _check_arguments(args)
    console = PlainConsole(stderr=str(args.json) == "-")
    with console.status("reading the journal"), open_journal(args.journal, "JOURNAL") as journal:
        try:
            spans = device_spans(journal)
            alarms, feedback = list(journal.alarms()), list(journal.feedback())
        except JournalError as error:
            raise HistoryError(f"JOURNAL: {error}") from error
    if not spans:
        raise HistoryError(f"{args.journal}: the journal holds no samples, so there is nothing to label")
    log, notes = _read_log(args, spans) if args.log is not None else (None, None)
    labels = make_labels(spans, alarms, feedback, log, since_ms=args.since, until_ms=args.until)
    _write(args.output, labels.rows)
    found = findings(labels, args.log.name if args.log else "", notes)
    _print(console, spans, labels, found)
    console.print(f"labels  {args.output}")
    if args.json is not None:
        result = {"journal": str(args.journal), "labels": str(args.output)} | plain_values(spans, labels)
        cut = {"cut": labels.clipped, "left_out": labels.dropped} if args.log else None
        write_json(args.json, result | {"log": cut, "notes": found})
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    """UsageError where the arguments contradict each other, or the output cannot be written."""
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
    if args.since is not None and args.until is not None and args.until <= args.since:
        raise UsageError("--until must be after --since")
    if args.log is None and (args.faults or args.normal):
        raise UsageError("--faults and --normal say what the names in a fault log mean; name the log in --log")


def _read_log(args: argparse.Namespace, spans: "dict[str, Span]") -> "tuple[list[Row], ReadNotes]":
    """Events of the fault log, and what was wrong with it."""
    from rarefault.runtime.settings import from_mapping
    from rarefault.train.history import JournalConfig
    from rarefault.train.history.named_reader import KeyNames
    from rarefault.train.labelling.files import read_fault_log

    keys = {"format": "journal", "path": str(args.journal), "time_zone": args.time_zone, "separator": args.separator}
    keys |= {name: words for name in ("faults", "normal") if (words := getattr(args, name))}
    keys |= {"encoding": args.encoding, "open_events": args.open_events}
    keys |= {"events": {"path": str(args.log), "time_format": args.time_format}}
    section = from_mapping(keys, JournalConfig, "the command line")
    return read_fault_log(args.log, section, spans, KeyNames("--log", "--time-zone", "--open-events", "--"))


def _write(path: Path, rows: "list[Row]") -> None:
    from rarefault.train.labelling.files import write_labels

    try:
        write_labels(path, rows)
    except OSError as error:
        raise UsageError(f"-o {path}: cannot be written: {error.strerror}") from error


def _print(console: "Console", spans: "dict[str, Span]", labels: "Labels", findings: list[str]) -> None:
    from rich.table import Table

    from rarefault.train.labelling.rows import describe_time
    from rarefault.train.labelling.summary import event_counts, unlabelled_s

    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("device")
    table.add_column("samples", justify="right")
    table.add_column("time (UTC)")
    table.add_column("unlabelled", justify="right")
    table.add_column("events by fault and source", overflow="fold")
    for name, span in list(spans.items())[:MOST_DEVICES]:
        total_s = (span.last_ms - span.first_ms) / 1000
        unknown_s = unlabelled_s(labels.rows, name, span)
        table.add_row(
            name,
            f"{span.samples:,}",
            describe_time(span.first_ms, span.last_ms),
            f"{duration(unknown_s)} ({percent(unknown_s / total_s if total_s else 0.0, 0)})" if unknown_s else "",
            "; ".join(
                f"{fault}: {', '.join(f'{n} {source}' for source, n in by_source.items())}"
                for fault, by_source in event_counts(labels.rows, name).items()
            ),
        )
    console.print(table)
    if len(spans) > MOST_DEVICES:
        console.print(f"and {len(spans) - MOST_DEVICES} more devices (--json has all)")
    for finding in findings:
        console.print(f"note: {finding}", style="yellow", soft_wrap=True)
