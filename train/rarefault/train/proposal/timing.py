"""How long the suggested grids would train here, measured on a little of each."""

import time
from dataclasses import replace
from pathlib import Path

import msgspec

from rarefault.runtime.errors import RarefaultError
from rarefault.train.config import TrainConfig
from rarefault.train.history import History
from rarefault.train.history.shift import LogShift
from rarefault.train.proposal.grid import Suggestion, with_minutes
from rarefault.train.runs import stages
from rarefault.train.runs.course import Course, Observer
from rarefault.train.runs.duration import Measured, duration, measure
from rarefault.train.runs.origin import Origin
from rarefault.train.runs.run_directory import RunDirectory

#: Seconds after which no further grid is measured.
MOST_S = 20.0
#: Samples and values of a history on which it is measured at all: with more, cutting windows alone takes long.
MOST_VALUES = 40_000_000


def timed(made: list[Suggestion], config: TrainConfig, history: History, share: float) -> tuple[list[Suggestion], str]:
    """The suggestions with about how long each trains; and why it is not known, "" where it is.

    Args:
        made: the first is that of ``config``.
        config: of the training.
        history: as the configuration reads it.
        share: of the history that was looked at.
    """
    if history.values.size > MOST_VALUES:
        return made, "the history is too large to measure how long a training takes before it begins"
    started, minutes, why = time.perf_counter(), {}, ""
    # What is set up at the first is no part of it, so that one is measured twice.
    for i, one in enumerate([made[0], *made], -1):
        if time.perf_counter() - started > MOST_S:
            break
        try:
            own = with_grid(config, one)
            seconds = _seconds(own, history, share)
        except (RarefaultError, ValueError) as error:
            why = why or str(error)  # what stands in the way of training is said, and the others may have none of it
            continue
        minutes[max(i, 0)] = f"about {duration(seconds)}"
    return with_minutes(made, minutes), "" if 0 in minutes else why


def with_grid(config: TrainConfig, one: Suggestion) -> TrainConfig:
    """The configuration with another grid, where its other times are as they are or fit the period."""
    period = one.period_s
    grid = msgspec.structs.replace(
        config.grid,
        period_s=period,
        offset_s=config.grid.offset_s if config.grid.offset_s < period else 0.0,
        max_gap_s=max(config.grid.max_gap_s, 2 * period),
    )
    window = msgspec.structs.replace(config.window, length=one.length, stride=one.stride)
    least = max(2 * one.length * period, grid.max_gap_s * 1.01)
    split = msgspec.structs.replace(config.split, block_s=max(config.split.block_s, least))
    return msgspec.structs.replace(config, grid=grid, window=window, split=split)


def _seconds(config: TrainConfig, history: History, share: float) -> float:
    """How long all stages of a training take that begins with the history."""
    course = Course(config, Path(), RunDirectory(Path()), "", False, False, None, Observer())
    course.own, course.label_notes = history, []
    course.log_shift = LogShift(kind="none", text="")
    course.origin = Origin.from_scratch(history, config)
    stages.cut(course)
    stages.begin(course)
    here = measure(course.config, course.network, course.parts, history, course.units, course.at_units)
    cross_fit = course.origin.cross_fits(course.config, course.parts["train"], course.parts["validation"])
    return _whole(here, course.config, share).estimate(course.config, cross_fit=cross_fit).left(())


def _whole(here: Measured, config: TrainConfig, share: float) -> Measured:
    """What was measured, for the whole of a history of which a share was looked at."""
    if share >= 1:
        return here
    train, validation, test = (round(n / share) for n in here.windows)
    # An epoch of a long history is no longer than this.
    sequences = config.training.passes * here.windows[0] / config.training.sequence_length
    most = config.training.max_sequences or sequences / share
    longer = max(1.0, min(sequences / share, most) / max(sequences, 1.0))
    epoch_s = {name: seconds * longer for name, seconds in here.speed.epoch_s.items()}
    return replace(
        here,
        windows=(train, validation, test),
        normal=round(here.normal / share),
        speed=replace(here.speed, epoch_s=epoch_s),
    )
