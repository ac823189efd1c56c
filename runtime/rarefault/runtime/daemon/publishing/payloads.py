"""What the daemon publishes: verdicts, alarms and its health as JSON."""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Literal

import msgspec

from rarefault.runtime.inference.decision import AlarmChange
from rarefault.runtime.inference.manifest import NO_DATA
from rarefault.runtime.inference.pipeline import Pipeline, Verdicts, verdict_id
from rarefault.runtime.journal.records import AlarmRecord
from rarefault.runtime.times import format_ms


class VerdictPayload(msgspec.Struct, frozen=True):
    """The class of one window of one device. Times are ISO 8601 in UTC."""

    id: str
    """The same at every delivery, so that a consumer can drop a repeated one."""
    device: str
    start: str
    """Start of the window."""
    end: str
    """End of the window."""
    fault: str
    """The class of the model that the decision takes."""
    probability: float
    """Of that class."""
    score: float
    """What decided: probability over the class's threshold, all classes' scaled to sum 1. The fault is the class with
    the largest score, which for a rare one may be far larger than its probability."""
    probabilities: dict[str, float]
    model: str
    time: str
    """When the verdict was made."""
    prediction_set: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The classes that the window can be of, at the coverage; absent where there is none."""
    overridden: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Keys of the daemon's ``[decision]`` that replace the model's own; absent where there are none."""


class AlarmPayload(msgspec.Struct, frozen=True):
    """A new alarm state of one device."""

    id: str
    device: str
    state: str
    """A class of the model, ``unknown`` or ``no data``."""
    since: str
    """End of the first window that spoke for the state; time of the last sample where the device has fallen silent."""
    probability: float | msgspec.UnsetType
    """Of the state's class; absent for ``unknown`` and ``no data``, which have none."""
    score: float | msgspec.UnsetType
    """What decided, to be compared with ``raise_threshold`` and ``clear_threshold``; absent likewise."""
    channels: dict[str, float]
    """For a fault: the channels that moved the verdict most, with what each gave to its log-probability."""
    model: str
    overridden: list[str] | msgspec.UnsetType = msgspec.UNSET
    """As in a verdict."""


class HealthPayload(msgspec.Struct, frozen=True):
    """How the daemon is; published when it changes."""

    status: Literal["online", "offline", "impaired"]
    """What the status topic says."""
    problems: list[str]
    """What keeps it from its work, a sentence each."""
    model: str
    devices: int
    """Devices seen and not forgotten."""
    muted: int
    """Those of them of which all samples have been late for a while."""
    silent: int
    """Those of them of which nothing has come for ``telemetry.silent_after_s``."""
    overridden: dict[str, float | tuple[str, ...]]
    """What the daemon's ``[decision]`` replaces of the model's own, by key."""
    version: str
    time: str
    """When it became so."""


def verdict_payloads(
    verdicts: Verdicts, pipeline: Pipeline, made_ms: int, overridden: Sequence[str] = ()
) -> Iterator[VerdictPayload]:
    """The verdicts of one push, in their order.

    Args:
        verdicts: of the push.
        pipeline: that it was made with.
        made_ms: when.
        overridden: keys of the daemon's ``[decision]``.
    """
    keys = list(overridden) or msgspec.UNSET
    classes = pipeline.manifest.classes
    made = format_ms(made_ms)
    for slot, end_ms, fault, score, posterior, prediction_set in zip(
        verdicts.device.tolist(),
        verdicts.end_ms.tolist(),
        verdicts.fault.tolist(),
        verdicts.score.tolist(),
        verdicts.posterior.tolist(),
        pipeline.decision.prediction_set(verdicts.posterior).tolist(),
        strict=True,
    ):
        device = pipeline.devices[slot]
        yield VerdictPayload(
            id=verdict_id(device, end_ms, pipeline.model_id),
            device=device,
            start=format_ms(pipeline.start_ms(end_ms)),
            end=format_ms(end_ms),
            fault=classes[fault],
            probability=posterior[fault],
            score=score,
            probabilities=dict(zip(classes, posterior, strict=True)),
            model=pipeline.model_id,
            time=made,
            prediction_set=list(compress(classes, prediction_set))
            if pipeline.manifest.decision.coverage
            else msgspec.UNSET,
            overridden=keys,
        )


def alarm_payload(change: AlarmChange, pipeline: Pipeline, overridden: Sequence[str] = ()) -> AlarmPayload:
    """One change of an alarm state; ``overridden``: keys of the daemon's ``[decision]``."""
    of_class = 0 <= change.state < len(pipeline.manifest.classes)
    device = pipeline.devices[change.device]
    # Silence has no window of its own; its id must not be that of a verdict whose window ends at the same time.
    source = f"{device}\0{NO_DATA}" if change.silent else device
    return AlarmPayload(
        id=verdict_id(source, change.end_ms, pipeline.model_id),
        device=device,
        state=pipeline.state_name(change.state),
        since=format_ms(change.since_ms),
        probability=change.probability if of_class else msgspec.UNSET,
        score=change.score if of_class else msgspec.UNSET,
        channels={pipeline.manifest.channels[c]: round(given, 4) for c, given in change.channels},
        model=pipeline.model_id,
        overridden=list(overridden) or msgspec.UNSET,
    )


def alarm_record(change: AlarmChange, alarm: AlarmPayload, said_ms: int) -> AlarmRecord:
    """The same for the journal."""
    return AlarmRecord(said_ms, alarm.id, alarm.device, alarm.state, change.since_ms, change.end_ms, alarm.model)
