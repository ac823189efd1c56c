"""``rarefault describe``: what is in a history, before a model is trained on it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rarefault.runtime.results import add_json_argument, write_json
from rarefault.train.evaluation.wording import duration, percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from rarefault.train.history.shift.structs import LogShift, ShiftCurve
    from rarefault.train.history.summary.structs import HistorySummary

HELP = "print what is in a history: devices, channels, gaps, duplicates, events, class proportions"
EXTRA = "train"
EPILOG = """examples:
  rarefault describe plant.toml
  rarefault describe plant.toml --strict               refuse bad lines, duplicates, unordered times
  rarefault describe plant.toml --period 300 --json plant.json

The configuration is the one of 'rarefault train'; only [data], [grid] and [split] are used. A fault log without
samples can be described, too.
"""

#: Devices that are shown one by one, and channels or devices at which something was found.
MOST_DEVICES, MOST_PARTS = 20, 8
#: Bars of the picture of a log's fit, from none to the best, and the shifts that one stands for, seconds.
BARS, BAR_S = "▁▂▃▄▅▆▇█", 1800.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", metavar="CONFIG.toml", type=Path, help="the configuration with the [data] section")
    parser.add_argument("--strict", action="store_true", help="fail where the files have any problem")
    parser.add_argument(
        "--period", metavar="S", type=_period, help="width of the grid's bins, seconds (default: grid.period_s)"
    )
    parser.add_argument("--all", action="store_true", help=f"show every device, not the first {MOST_DEVICES} alone")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Read the history and print its summary."""
    import msgspec

    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.config import load_train_config
    from rarefault.train.history import read_history
    from rarefault.train.history.shift import log_shift
    from rarefault.train.history.summary.summarise import summarise

    config = load_train_config(args.config)
    grid, split = config.grid, config.split
    block_s = split.block_s if split.by == "time" else None
    if args.period is not None:
        # A gap may not be shorter than a bin, so that it grows along where it has to.
        grid = msgspec.structs.replace(grid, period_s=args.period, max_gap_s=max(grid.max_gap_s, args.period))
    console = PlainConsole(stderr=str(args.json) == "-")
    with console.status("reading the history"):
        history = read_history(
            config.data, args.config.parent, strict=args.strict, allow_incomplete=True, channels=config.channels
        )
        summary = summarise(history, grid, span_ms=config.data.span_ms, folds=split.folds, block_s=block_s)
    with console.status("looking for a shift of the log"):
        summary.log_shift = log_shift(history, config.data)
    print_summary(console, summary, everything=args.all)
    if args.json is not None:
        write_json(args.json, summary)
    return 0


def print_summary(console: "Console", summary: "HistorySummary", *, everything: bool = False) -> None:
    """Print the tables; of many devices the first ones and a line for the others, or ``everything``."""
    _print_devices(console, summary, len(summary.devices) if everything else MOST_DEVICES)
    if summary.channels:
        _print_channels(console, summary)
    _print_classes(console, summary)
    if summary.notes:
        _print_notes(console, summary)
    console.print()
    if summary.log_shift is not None:
        _print_log_shift(console, summary.log_shift)
    for finding in summary.findings:
        console.print(f"note: {finding}", style="yellow", soft_wrap=True)
    console.print(f"fingerprint {summary.fingerprint}", soft_wrap=True)


def _print_devices(console: "Console", summary: "HistorySummary", most: int) -> None:
    console.print(f"{len(summary.devices)} device(s), {summary.samples:,} samples")
    table = _table()
    table.add_column("device")
    for name in ("samples", "first", "last", "longest gap", "from", f"gaps > {duration(summary.max_gap_s)}", "bins"):
        table.add_column(name, justify="right")
    shown = summary.devices if len(summary.devices) <= most + 1 else summary.devices[:most]
    for device in shown:
        table.add_row(
            device.name,
            f"{device.samples:,}",
            _minute(device.start),
            _minute(device.end),
            duration(device.longest_gap_s),
            _minute(device.longest_gap_start),
            f"{device.gaps:,}",
            f"{device.bins:,}",
        )
    if others := summary.devices[len(shown) :]:
        longest = max(others, key=lambda device: device.longest_gap_s or 0)
        table.add_row(
            f"and {len(others)} more (--all)",
            f"{sum(device.samples for device in others):,}",
            _minute(min((device.start for device in others if device.start), default=None)),
            _minute(max((device.end for device in others if device.end), default=None)),
            duration(longest.longest_gap_s),
            _minute(longest.longest_gap_start),
            f"{sum(device.gaps for device in others):,}",
            f"{sum(device.bins for device in others):,}",
        )
    console.print(table)


def _print_channels(console: "Console", summary: "HistorySummary") -> None:
    console.print(f"\n{len(summary.channels)} channels")
    table = _table()
    table.add_column("channel")
    for name in ("samples", "min", "mean", "max", "last", "every", "90 % within", "longest gap", "missing"):
        table.add_column(name, justify="right")
    table.add_column("")
    for channel in summary.channels:
        exception = channel.reports if channel.reports == "by exception" else ""
        remarks = [word for word in ("counter" if channel.counter else "", exception, channel.finding) if word]
        table.add_row(
            channel.name,
            f"{channel.samples:,}",
            _number(channel.minimum),
            _number(channel.mean),
            _number(channel.maximum),
            "" if channel.last is None else channel.last[:10],
            duration(channel.interval_s),
            duration(channel.interval_p90_s),
            duration(channel.longest_gap_s),
            percent(channel.missing),
            ", ".join(remarks),
        )
    console.print(table)


def _print_classes(console: "Console", summary: "HistorySummary") -> None:
    title = f"{summary.events:,} events"
    if summary.overlapping is not None:
        title += f", {percent(summary.overlapping, 0)} overlap another (label: {summary.overlap})"
    console.print(f"\n{title}; classes on a grid of {duration(summary.period_s)}", soft_wrap=True)
    table = _table()
    table.add_column("class")
    for name in ("events", "total", "median", "overlapping", "bins", "proportion"):
        table.add_column(name, justify="right")
    for item in summary.classes:
        table.add_row(
            item.name,
            f"{item.events:,}" if item.events else "",
            duration(item.total_s) if item.events else "",
            duration(item.median_s),
            percent(item.overlapping, 0),
            f"{item.bins:,}",
            percent(item.proportion),
        )
    if summary.unlabelled_bins:
        table.add_row("unlabelled", "", "", "", "", f"{summary.unlabelled_bins:,}", "")
    console.print(table)


def _print_notes(console: "Console", summary: "HistorySummary") -> None:
    from rarefault.train.history.summary.structs import PartSummary

    console.print("\nfound in the files")
    table = _table()
    table.add_column("count", justify="right")
    table.add_column("what")
    table.add_column("of")
    table.add_column("first example", overflow="fold")
    for note in summary.notes:
        parts = note.parts or {"": PartSummary(count=note.count, example=note.example)}
        for number, (name, part) in enumerate(list(parts.items())[:MOST_PARTS]):
            kind = note.kind if not number else ""
            table.add_row(f"{part.count:,}", kind, name, part.example)
        if more := list(parts.values())[MOST_PARTS:]:
            table.add_row(f"{sum(part.count for part in more):,}", "", f"{len(more)} others", "")
    console.print(table)


def _print_log_shift(console: "Console", shift: "LogShift") -> None:
    if shift.curve is not None:
        console.print(_picture(shift.curve), soft_wrap=True)
    found = shift.kind != "none"
    console.print(f"{'note: ' if found else 'log shift: '}{shift.text}", style="red" if found else None, soft_wrap=True)


def _picture(curve: "ShiftCurve") -> str:
    """The fit over the shift in bars, each the best of half an hour."""
    first, last = curve.shift_s[0], curve.shift_s[-1]
    best = [0.0] * (round((last - first) / BAR_S) + 1)
    for shift, fit in zip(curve.shift_s, curve.fit, strict=True):
        bar = round((shift - first) / BAR_S)
        best[bar] = max(best[bar], fit)
    middle = round(-first / BAR_S)
    bars = "".join(BARS[round(fit * (len(BARS) - 1))] for fit in best)
    line = f"log shifted by {first / 3600:+g} h {bars} {last / 3600:+g} h"
    under = "fit to the telemetry".ljust(line.index(bars[0], 15) + middle)
    return f"{line}\n{under}0"


def _table() -> "Table":
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))


def _minute(time: str | None) -> str:
    return "" if time is None else time[:16].replace("T", " ")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _period(text: str) -> float:
    period = float(text)
    if not period >= 0.001 or abs(period * 1000 - round(period * 1000)) > 1e-6:
        raise argparse.ArgumentTypeError(f"must be a whole number of milliseconds, at least 0.001 s, got {text}")
    return period
