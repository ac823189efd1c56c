"""What the daemon publishes: verdicts, alarms and its health as JSON."""

from collections.abc import Iterator, Sequence
from itertools import compress, repeat
from typing import Literal

import msgspec

from rarefault.runtime.inference.decision import AlarmChange
from rarefault.runtime.inference.manifest import NO_DATA
from rarefault.runtime.inference.pipeline import Pipeline, Verdicts, verdict_id
from rarefault.runtime.journal.records import AlarmRecord
from rarefault.runtime.times import format_ms


class VerdictPayload(msgspec.Struct, frozen=True):
    """One verdict: the class of one window of one device. Times are ISO 8601 in UTC."""

    id: str
    """Id of the verdict. It is the same at each delivery, so that a consumer can drop repeats."""
    device: str
    """Name of the device."""
    start: str
    """Start of the window."""
    end: str
    """End of the window."""
    fault: str
    """The class that the decision chose, ``normal`` included."""
    probability: float
    """Calibrated probability of that class."""
    score: float
    """What decided: each class's probability divided by its threshold, scaled to sum 1. The verdict is the class with
    the largest score. For a rare fault the score may be far larger than the probability."""
    probabilities: dict[str, float]
    """Calibrated probability of each class."""
    model: str
    """Id of the model that made it: name and digest."""
    time: str
    """When the verdict was made."""
    prediction_set: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The prediction set: the classes that the window can be of, at the model's coverage. Absent if the coverage is
    0."""
    familiarity: float | msgspec.UnsetType = msgspec.UNSET
    """Share of held-out windows of the known classes that were at least as far from all of them as this window, between
    0 and 1. Near 0: training has seen nothing like it. Absent if the model measures no distance."""
    unknown: bool | msgspec.UnsetType = msgspec.UNSET
    """Whether the window fits no class: its prediction set is empty, or it is too far from all classes. Many in a row
    make the alarm state ``unknown``. Absent if the model has neither."""
    overridden: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Keys of the daemon's ``[decision]`` that replace the model's own. Absent if there are none."""


class AlarmPayload(msgspec.Struct, frozen=True):
    """A new alarm state of one device, published when the state changes. Times are ISO 8601 in UTC."""

    id: str
    """Id of the alarm, to be named in feedback. It is the same at each delivery."""
    device: str
    """Name of the device."""
    state: str
    """The new state: a class of the model (``normal`` included), ``unknown`` or ``no data``."""
    since: str
    """End of the first window that showed the state. For a device that has fallen silent: the time of its last
    sample."""
    probability: float | msgspec.UnsetType
    """Calibrated probability of the state's class. Absent for ``unknown`` and ``no data``."""
    score: float | msgspec.UnsetType
    """What decided, to compare with ``raise_threshold`` and ``clear_threshold``. Absent for ``unknown`` and ``no
    data``."""
    channels: dict[str, float]
    """For a fault: the channels that contributed most to the verdict, each with what it added to the fault's
    log-probability. Empty otherwise."""
    model: str
    """Id of the model: name and digest."""
    unit: str | msgspec.UnsetType = msgspec.UNSET
    """The unit that shows the fault, such as ``c1``. Absent for other states, and where the fault is not looked for at
    units."""
    overridden: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Keys of the daemon's ``[decision]`` that replace the model's own. Absent if there are none."""


class HealthPayload(msgspec.Struct, frozen=True):
    """State of the daemon, published when it changes."""

    status: Literal["online", "offline", "impaired"]
    """The same as on the status topic. ``impaired``: the daemon runs, but it cannot take or keep telemetry, or can use
    none of it."""
    problems: list[str]
    """What is wrong, one sentence each."""
    model: str
    """Id of the model: name and digest."""
    devices: int
    """Number of devices that were seen and not forgotten."""
    muted: int
    """Number of these whose samples have all been late for a while."""
    silent: int
    """Number of these without telemetry for ``telemetry.silent_after_s``."""
    overridden: dict[str, float | tuple[str, ...]]
    """Keys of the daemon's ``[decision]`` that replace the model's own, with their values."""
    version: str
    """Release of rarefault."""
    time: str
    """When the daemon's state became this."""


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
    classes, decision = pipeline.manifest.classes, pipeline.decision
    made = format_ms(made_ms)
    familiarity = decision.familiarity(verdicts.opinions)
    for slot, end_ms, fault, score, posterior, prediction_set, familiar, strange in zip(
        verdicts.device.tolist(),
        verdicts.end_ms.tolist(),
        verdicts.fault.tolist(),
        verdicts.score.tolist(),
        verdicts.posterior.tolist(),
        decision.prediction_set(verdicts.posterior).tolist(),
        repeat(msgspec.UNSET, len(verdicts)) if familiarity is None else familiarity.tolist(),
        verdicts.strange.tolist(),
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
            familiarity=familiar,
            unknown=strange if pipeline.manifest.decision.tells_unknown else msgspec.UNSET,
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
        unit=pipeline.unit_name(change.unit) or msgspec.UNSET,
        overridden=list(overridden) or msgspec.UNSET,
    )


def alarm_record(change: AlarmChange, alarm: AlarmPayload, published_ms: int) -> AlarmRecord:
    """The same for the journal."""
    rest = {key: getattr(alarm, key) for key in ("probability", "score", "channels", "unit")}
    detail = {key: value for key, value in rest.items() if value is not msgspec.UNSET and value != {}}
    text = msgspec.json.encode(detail).decode() if detail else ""
    return AlarmRecord(
        published_ms, alarm.id, alarm.device, alarm.state, change.since_ms, change.end_ms, alarm.model, text
    )
