"""How much of a history a model was trained on, by time and device, and by the data's fingerprint."""

from typing import Any

import msgspec

from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.times import format_ms, parse_time_ms
from rarefault.train.dataset.split import Block, Split
from rarefault.train.history import History
from rarefault.train.runs.run_directory import RunDirectory


class Seen(msgspec.Struct, frozen=True):
    """How much of it.

    Attributes:
        share: fraction of the samples, from 0 to 1; None where it is not known.
        phrase: the same as the end of a sentence.
    """

    share: float | None
    phrase: str = msgspec.field(name="said")


def seen_by_run(run: RunDirectory, history: History, *, held_out: bool = False) -> Seen:
    """How many samples lie in the blocks that a finished run was trained on, those of the runs before it included.

    Args:
        run: its directory.
        history: what is evaluated.
        held_out: by the model that was not trained on the validation blocks.
    """
    found = run.load_json(run.split)
    sources: list[dict[str, Any]] = [*found.get("earlier", []), found]
    blocks = [
        Block(b["device"], parse_time_ms(b["start"]), parse_time_ms(b["end"]), b["part"])
        for source in sources
        for b in source["blocks"]
    ]
    split = Split(tuple(sorted(blocks, key=lambda block: (block.device, block.start_ms))), ())
    trained = split.mask(history, "train")
    fitted = split.mask(history, "validation")
    if run.load_config().training.refit and not held_out:
        trained, fitted = trained | fitted, fitted & False
    share = float(trained.mean()) if len(history) else 0.0
    clause = f"the model has SEEN {_percent(share)} of this" if share else "new to the model"
    decision = f"; its decision was fitted on {_percent(float(fitted.mean()))}" if fitted.any() else ""
    return Seen(share, clause + decision)


def trained_span(split: Split) -> dict[str, str]:
    """First and last time of the blocks that a model is trained on, as a manifest keeps them."""
    trained = [block for block in split.blocks if block.part != "test"]
    return {
        "start": format_ms(min(block.start_ms for block in trained)),
        "end": format_ms(max(block.end_ms for block in trained)),
    }


def seen_by_file(manifest: Manifest, history: History) -> Seen:
    """By a model file alone, which holds the fingerprint of its data and its first and last time."""
    training = manifest.training
    if training.get("data") == history.fingerprint:
        return Seen(None, "the model was trained on parts of this very data: its run directory tells which")
    try:
        span = training["learnt"]
        start_ms, end_ms = parse_time_ms(span["start"]), parse_time_ms(span["end"])
    except (KeyError, TypeError, ValueError):  # the section is for people, and older files lack it
        return Seen(None, "the file does not tell whether the model has seen this")
    inside = (history.time_ms >= start_ms) & (history.time_ms < end_ms)
    if not inside.any():
        return Seen(0.0, "new to the model")
    return Seen(
        None,
        f"{_percent(float(inside.mean()))} of this is of the time that the model has learnt from, {span['start']} to "
        f"{span['end']}: its run directory tells whether it has SEEN it",
    )


def _percent(share: float) -> str:
    if share == 1:
        return "all"
    return "less than 1 %" if share < 0.01 else f"{min(share, 0.99):.0%}".replace("%", " %")
