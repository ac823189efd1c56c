"""What a demo ends in."""

import msgspec
from rich.console import Console
from rich.table import Table


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from the message that closes a window to its verdict, at an even pace."""

    p50: float | None
    p99: float | None


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """The summary, as ``--json`` writes it."""

    mismatches: int
    """Verdicts that are missing, extra or different, live against offline."""
    missing: int
    extra: int
    different: int
    first_mismatch: str
    largest_difference: float
    """Largest difference of a probability."""
    verdicts: int
    expected: int
    repeated: int
    """Deliveries of a verdict that had come before; consumers drop them by id."""
    alarm_changes: int
    messages: int
    messages_per_s: float
    macro_f1: float
    recall: dict[str, float | None]
    events_detected: int
    events_total: int
    false_alarms_per_device_day: float | None
    alarm_changes_per_device_day: float | None
    latency_ms: Latency
    seconds: dict[str, float]
    model: str
    devices: int
    data: str
    out: str

    @property
    def succeeded(self) -> bool:
        """Whether there were verdicts, and all were the offline ones."""
        return self.mismatches == 0 and self.verdicts > 0


def print_result(console: Console, result: DemoResult) -> None:
    """The summary for people; its last line is the one that counts."""
    console.print("\nheld-out blocks, judged live over MQTT", style="bold")
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("recall", justify="right")
    for name, recall in result.recall.items():
        table.add_row(name, "-" if recall is None else f"{recall:.3f}")
    console.print(table)
    wolf, changes = result.false_alarms_per_device_day, result.alarm_changes_per_device_day
    ms = [f"{p:.0f}" if p is not None else "-" for p in (result.latency_ms.p50, result.latency_ms.p99)]
    for name, text in {
        "macro-F1": f"{result.macro_f1:.3f}",
        "events detected": f"{result.events_detected} of {result.events_total}",
        "false alarms": f"{wolf:.2f} per device and day" if wolf is not None else "-",
        "alarm changes": f"{changes:.2f} per device and day" if changes is not None else "-",
        "telemetry": f"{result.messages} messages of {result.devices} device(s), {result.messages_per_s:.0f}/s",
        "latency": f"p50 {ms[0]} ms, p99 {ms[1]} ms, through the broker twice",
        "seconds": ", ".join(f"{stage} {value:.1f}" for stage, value in result.seconds.items()),
        "files": f"{result.out}: run/report.html, plant.onnx, daemon.toml, daemon.log, edge.journal",
        "verdicts": f"{result.verdicts} live, {result.expected} offline",
    }.items():
        console.print(f"{name:16}{text}", soft_wrap=True)
    if result.first_mismatch:
        console.print(f"first mismatch: {result.first_mismatch}", style="red")
    console.print(f"mismatches: {result.mismatches}", style="green" if result.succeeded else "bold red")
