"""Progress of a training on the terminal."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

from rarefault.train.fitting.network import Epoch
from rarefault.train.runs.course import Observer
from rarefault.train.runs.duration import Estimate, duration

#: Where there is no terminal: seconds from one line on how far the training is to the next, at least.
EVERY_S = 30.0


class TrainingProgress:
    """One bar over the whole training, with the time that is left; on what is no terminal a line now and then.

    Args:
        console: to write to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            _Left(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)
        self._text = ""
        self._left: float | None = None
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def observer(self) -> Observer:
        """What :func:`rarefault.train.runs.training.train` is to call."""
        return Observer(
            stage=self._stage,
            epoch=self._epoch,
            note=self._note,
            expect=self._expect,
            progress=self._advance,
        )

    def _expect(self, estimate: Estimate) -> None:
        self._console.print(str(estimate), soft_wrap=True)

    def _advance(self, share: float, left: float) -> None:
        self._left = left
        self._progress.update(self._task, total=1.0, completed=share, ends=time.monotonic() + left)
        if not self._console.is_terminal and time.monotonic() - self._printed >= EVERY_S:
            self._line(f"{share:.0%} done, about {duration(left)} left")

    def _stage(self, text: str) -> None:
        self._text = text
        self._progress.update(self._task, description=text)
        if not self._console.is_terminal:
            left = "" if self._left is None or self._left < 1 else f" (about {duration(self._left)} left)"
            self._line(text + left)

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)
        self._printed = time.monotonic()

    def _note(self, text: str) -> None:
        self._console.print(Text.assemble(("note", "yellow"), f" {text}"), soft_wrap=True)

    def _epoch(self, epoch: Epoch) -> None:
        at, of = epoch.networks
        which = "" if of == 1 else f", network {at} of {of}"
        self._progress.update(self._task, description=f"{self._text}{which}: epoch {epoch.epoch}")


class _Left(ProgressColumn):
    """The time that is left, counted down from what was last known."""

    def render(self, task: Task) -> Text:
        """As a person says it."""
        ends: float | None = task.fields.get("ends")
        left = 0.0 if ends is None else ends - time.monotonic()
        return Text(f"about {duration(left)} left" if left >= 1 else "")
