"""The pipeline for programs that embed it: samples by name in, verdicts and alarms as objects out.

The daemon does not use this: it keeps arrays from the telemetry to the payload.
"""

import difflib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, SupportsFloat

import msgspec
import numpy as np

from rarefault.runtime.arrays import Float64, Int64
from rarefault.runtime.errors import SampleError
from rarefault.runtime.inference.manifest import NO_DATA
from rarefault.runtime.times import parse_time_ms

if TYPE_CHECKING:
    from rarefault.runtime.inference.decision import AlarmChange
    from rarefault.runtime.inference.pipeline import Pipeline, Verdicts

#: Values are float32 in the model; a larger one would become infinite there.
LARGEST_VALUE = float(np.finfo(np.float32).max)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A sample: name of the device; time as ISO 8601 text with a zone, epoch seconds or milliseconds, or a datetime with a
#: zone; values by the name of their channel, None or NaN = not reported.
Sample = tuple[str, "str | float | datetime", Mapping[str, SupportsFloat | None]]


class Verdict(msgspec.Struct, frozen=True):
    """The class of one window of one device, with the fields that the daemon publishes.

    >>> from rarefault.runtime import load_model
    >>> pipeline = load_model("plant.onnx").pipeline()
    >>> samples = [("plant_1", 60 * minute, {"c1.S1": 700.0 + minute}) for minute in range(7)]
    >>> (verdict,) = pipeline.push_samples(samples).verdicts
    >>> msgspec.json.encode(verdict)[:98]
    b'{"id":"...","device":"plant_1","start":"1970-01-01T00:00:00Z"...'
    """

    id: str
    """The same for the same device, window and model, everywhere."""
    device: str
    start: datetime
    """Start of the window, UTC."""
    end: datetime
    """End of the window, UTC."""
    fault: str
    """The class of the model that the decision takes; ``normal`` where there is no fault."""
    probability: float
    """Of that class."""
    score: float
    """Probability over the class's threshold, scaled so that those of all classes sum to 1; the largest decides."""
    probabilities: dict[str, float]
    """Of every class; they sum to 1."""
    prediction_set: list[str] | None
    """Classes that the window can be of at the model's coverage; None where the model has no coverage."""
    familiarity: float | None
    """Share of held-out windows of the known classes that were at least as far from all of them; None where the model
    measures no distance."""
    unknown: bool | None
    """Whether the window fits no class; None where the model has neither coverage nor distance."""
    model: str


class Alarm(msgspec.Struct, frozen=True):
    """A new alarm state of one device, with the fields that the daemon publishes."""

    id: str
    device: str
    state: str
    """A class of the model, ``unknown`` or ``no data``."""
    since: datetime
    """End of the first window that spoke for the state; time of the last sample where the device fell silent. UTC."""
    probability: float | None
    """Of the state's class; None for ``unknown`` and ``no data``."""
    score: float | None
    """To be compared with ``raise_threshold`` and ``clear_threshold``; None likewise."""
    channels: dict[str, float]
    """For a fault: the channels that moved the verdict most, with what each added to its log-probability."""
    unit: str | None
    """The unit that shows the fault, such as ``c1``; None for other states, and where the fault is not looked for at
    units."""
    model: str


class Outcome(NamedTuple):
    """What samples lead to.

    Attributes:
        verdicts: in order of time for each device.
        alarms: changes of alarm states, in order of time for each device.
    """

    verdicts: list[Verdict]
    alarms: list[Alarm]


def sample_arrays(samples: Iterable[Sample], channels: tuple[str, ...]) -> tuple[list[str], Int64, Float64]:
    """Device names [M], times in milliseconds [M] and values [M, C] of samples.

    >>> sample_arrays([("pump", 60, {"flow": 3})], ("flow", "speed"))
    (['pump'], array([60000]), array([[ 3., nan]]))
    >>> sample_arrays([("pump", 60, {"flo": 3})], ("flow", "speed"))
    Traceback (most recent call last):
    rarefault.runtime.errors.SampleError: sample of 'pump': the model has no channel 'flo'; did you mean 'flow'?

    Raises:
        SampleError: a sample has a channel that the model does not know, a value that is not a finite number, no value
            at all, a time that is none or has no time zone, or an empty device name.
    """
    column = {name: c for c, name in enumerate(channels)}
    rows = list(samples)
    devices: list[str] = []
    time_ms = np.empty(len(rows), np.int64)
    values = np.full((len(rows), len(channels)), np.nan)
    for row, (device, time, by_name) in enumerate(rows):
        if not isinstance(device, str) or not device:
            raise SampleError(f"a device must be a text that is not empty, got {device!r}")
        devices.append(device)
        time_ms[row] = _time_ms(device, time)
        for name, value in by_name.items():
            if name not in column:
                raise SampleError(f"sample of {device!r}: {_unknown_channel(name, channels)}")
            if value is not None:
                values[row, column[name]] = _number(device, name, value)
        if np.isnan(values[row]).all():
            raise SampleError(f"sample of {device!r}: it has no value; leave it out, or give one of a channel")
    return devices, time_ms, values


def _time_ms(device: str, time: object) -> int:
    if isinstance(time, datetime):
        time = time.isoformat()
    if isinstance(time, bool) or not isinstance(time, (str, int, float, np.integer, np.floating)):
        raise SampleError(f"sample of {device!r}: {time!r} is not a time")
    try:
        return parse_time_ms(time if isinstance(time, str) else _as_float(time))
    except ValueError as error:
        raise SampleError(f"sample of {device!r}: {error}") from None


def _as_float(number: SupportsFloat) -> float:
    try:
        return float(number)
    except OverflowError:  # of a whole number with more than 308 digits
        return float("inf")


def _number(device: str, channel: str, value: object) -> float:
    if isinstance(value, (int, float, np.integer, np.floating, np.bool_)):
        number = _as_float(value)
        if not abs(number) > LARGEST_VALUE:  # written so that NaN, which is not reported, passes
            return number
    raise SampleError(f"sample of {device!r}: channel {channel!r} is {value!r}, not a finite number")


def _unknown_channel(name: str, channels: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(name), channels, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(channels[:10])}"
    return f"the model has no channel {name!r}; {hint}"


def verdict_objects(verdicts: "Verdicts", pipeline: "Pipeline") -> list[Verdict]:
    """The verdicts of a push as objects."""
    classes = pipeline.manifest.classes
    within = pipeline.decision.prediction_set(verdicts.posterior)
    familiarity, tells = pipeline.decision.familiarity(verdicts.opinions), pipeline.manifest.decision.tells_unknown
    found = []
    for i, (slot, end_ms, fault) in enumerate(
        zip(verdicts.device.tolist(), verdicts.end_ms.tolist(), verdicts.fault.tolist(), strict=True)
    ):
        device = pipeline.devices[slot]
        probabilities = verdicts.posterior[i].tolist()
        found.append(
            Verdict(
                id=pipeline.verdict_id(device, end_ms),
                device=device,
                start=_moment(pipeline.start_ms(end_ms)),
                end=_moment(end_ms),
                fault=classes[fault],
                probability=probabilities[fault],
                score=float(verdicts.score[i]),
                probabilities=dict(zip(classes, probabilities, strict=True)),
                prediction_set=[name for name, is_in in zip(classes, within[i], strict=True) if is_in]
                if pipeline.manifest.decision.coverage
                else None,
                familiarity=None if familiarity is None else float(familiarity[i]),
                unknown=bool(verdicts.strange[i]) if tells else None,
                model=pipeline.model_id,
            )
        )
    return found


def alarm_object(change: "AlarmChange", pipeline: "Pipeline") -> Alarm:
    """A change of an alarm state as an object."""
    has_class = 0 <= change.state < len(pipeline.manifest.classes)
    device = pipeline.devices[change.device]
    # Silence has no window of its own; its id must not be that of a verdict whose window ends at the same time.
    source = f"{device}\0{NO_DATA}" if change.silent else device
    return Alarm(
        id=pipeline.verdict_id(source, change.end_ms),
        device=device,
        state=pipeline.state_name(change.state),
        since=_moment(change.since_ms),
        probability=change.probability if has_class else None,
        score=change.score if has_class else None,
        channels={pipeline.manifest.channels[c]: round(given, 4) for c, given in change.channels},
        unit=pipeline.unit_name(change.unit),
        model=pipeline.model_id,
    )


def _moment(time_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=time_ms)
