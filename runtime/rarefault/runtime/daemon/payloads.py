"""What the daemon publishes: verdicts, alarms and its health as JSON."""

from collections.abc import Iterator
from itertools import compress
from typing import Literal

import msgspec

from rarefault.runtime.daemon.records import AlarmRecord
from rarefault.runtime.decision import AlarmChange
from rarefault.runtime.manifest import NO_DATA
from rarefault.runtime.pipeline import Pipeline, Verdicts, verdict_id
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
    """A class of the model, or ``unknown``."""
    probability: float
    """Of that class; of the most probable one for ``unknown``."""
    probabilities: dict[str, float]
    model: str
    time: str
    """When the verdict was made."""
    plausible: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The classes that the window can be of, at the model's coverage; absent where the model has none."""


class AlarmPayload(msgspec.Struct, frozen=True):
    """A new alarm state of one device."""

    id: str
    device: str
    state: str
    """A class of the model, ``unknown`` or ``no data``."""
    since: str
    """End of the first window that spoke for the state; time of the last sample where the device has fallen silent."""
    probability: float
    channels: dict[str, float]
    """For a fault: the channels that moved the verdict most, with what each gave to its log-probability."""
    model: str


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
    version: str
    time: str
    """When it became so."""


def verdict_payloads(verdicts: Verdicts, pipeline: Pipeline, made_ms: int) -> Iterator[VerdictPayload]:
    """The verdicts of one push, in their order."""
    classes = pipeline.manifest.classes
    made = format_ms(made_ms)
    for slot, end_ms, fault, posterior, plausible in zip(
        verdicts.device.tolist(),
        verdicts.end_ms.tolist(),
        verdicts.fault.tolist(),
        verdicts.posterior.tolist(),
        pipeline.decision.plausible(verdicts.posterior).tolist(),
        strict=True,
    ):
        device = pipeline.devices[slot]
        yield VerdictPayload(
            id=verdict_id(device, end_ms, pipeline.model_id),
            device=device,
            start=format_ms(pipeline.start_ms(end_ms)),
            end=format_ms(end_ms),
            fault=pipeline.state_name(fault),
            probability=posterior[fault] if fault < len(classes) else max(posterior),
            probabilities=dict(zip(classes, posterior, strict=True)),
            model=pipeline.model_id,
            time=made,
            plausible=list(compress(classes, plausible)) if pipeline.manifest.decision.coverage else msgspec.UNSET,
        )


def alarm_payload(change: AlarmChange, pipeline: Pipeline) -> AlarmPayload:
    """One change of an alarm state."""
    device = pipeline.devices[change.device]
    # Silence has no window of its own; its id must not be that of a verdict whose window ends at the same time.
    source = f"{device}\0{NO_DATA}" if change.silent else device
    return AlarmPayload(
        id=verdict_id(source, change.end_ms, pipeline.model_id),
        device=device,
        state=pipeline.state_name(change.state),
        since=format_ms(change.since_ms),
        probability=change.probability,
        channels={pipeline.manifest.channels[c]: round(given, 4) for c, given in change.channels},
        model=pipeline.model_id,
    )


def alarm_record(change: AlarmChange, alarm: AlarmPayload, said_ms: int) -> AlarmRecord:
    """The same for the journal."""
    return AlarmRecord(said_ms, alarm.id, alarm.device, alarm.state, change.since_ms, change.end_ms, alarm.model)
