"""Progress of a training on the terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from rarefault.train.fitting.network import Epoch
from rarefault.train.runs.course import Observer
from rarefault.train.runs.duration import Estimate, duration


class TrainingProgress:
    """A bar over the epochs, with the validation score; on what is no terminal a line every few epochs.

    Args:
        console: to write to.
        epochs: at most; None where no network is trained.
    """

    def __init__(self, console: Console, epochs: int | None) -> None:
        self._console = console
        self._epochs = epochs
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=epochs)
        self._best: Epoch | None = None
        self._text = self._left = ""

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
            further_epoch=self._further_epoch,
            note=self._note,
            expect=self._expect,
            left=self._set_left,
        )

    def _expect(self, estimate: Estimate) -> None:
        self._console.print(str(estimate), soft_wrap=True)

    def _set_left(self, seconds: float) -> None:
        self._left = f" (about {duration(seconds)} left)" if seconds >= 1 else ""

    def _stage(self, text: str) -> None:
        text, self._left = text + self._left, ""
        self._text = text
        self._progress.update(self._task, description=text)
        if not self._console.is_terminal:
            self._console.print(text)

    def _note(self, text: str) -> None:
        self._console.print(Text.assemble(("note", "yellow"), f" {text}"), soft_wrap=True)

    def _epoch(self, epoch: Epoch, best: bool) -> None:
        if best:
            self._best = epoch
        text = (
            f"epoch {epoch.epoch}: loss {epoch.train_loss:.3f}, validation macro-F1 {epoch.validation_macro_f1:.3f}"
            + (f" (best {self._best.validation_macro_f1:.3f} in epoch {self._best.epoch})" if self._best else "")
        )
        self._progress.update(self._task, completed=epoch.epoch, description=text)
        if not self._console.is_terminal and (epoch.epoch % 10 == 0 or epoch.epoch == self._epochs):
            self._console.print(text)

    def _further_epoch(self, done: int, epochs: int) -> None:
        self._progress.update(self._task, total=epochs, completed=done, description=f"{self._text}: epoch {done}")
