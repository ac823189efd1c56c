"""The live table of devices; plain lines on what is no terminal."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rarefault.export.demo.collector import Collector
from rarefault.runtime.inference.manifest import NORMAL

#: Seconds between two lines where there is no terminal.
LINE_S = 5.0
#: Devices shown.
MOST_DEVICES = 20


class LiveTable:
    """Shows the last verdict and alarm of every device while telemetry is played."""

    def __init__(self, console: Console, collector: Collector, total: int, expected: int) -> None:
        self._console, self._collector = console, collector
        self._total, self._expected = total, expected
        self._sent = 0
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)
        self._line_at = time.monotonic() + LINE_S

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def sent(self) -> None:
        """One message went out."""
        self._sent += 1
        self.tick()

    def tick(self) -> None:
        """Print a line where that is due and there is no terminal."""
        if not self._console.is_terminal and time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + LINE_S
            self._console.print(self._summary())

    def _summary(self) -> Text:
        return Text(
            f"{self._sent} of {self._total} messages, {len(self._collector.verdicts)} of {self._expected} verdicts, "
            f"{len(self._collector.alarms)} alarm changes"
        )

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for column in ("device", "time of the plant", "verdict", "probability", "alarm"):
            table.add_column(column, min_width=10)
        alarms = {alarm.device: alarm.state for alarm in list(self._collector.alarms)}
        for device, verdict in sorted(self._collector.latest.copy().items())[:MOST_DEVICES]:
            style = "green" if verdict.fault == NORMAL else "bold red"
            alarm = alarms.get(device, "")
            table.add_row(
                device,
                verdict.end[:16].replace("T", " "),
                Text(verdict.fault, style),
                f"{verdict.probability:.2f}",
                Text(alarm, "green" if alarm == NORMAL else "bold red"),
            )
        return Group(self._summary(), table)
