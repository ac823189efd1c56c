"""The pipeline as a program embeds it: samples by name in, objects out, and the verdicts of the daemon."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from rarefault.runtime import Alarm, ConfigError, Outcome, Pipeline, SampleError, Verdict, format_ms
from rarefault.runtime.inference.model_file import LoadedModel

if TYPE_CHECKING:
    from tests.harness.recording import Recording


def samples(recording: "Recording") -> list[tuple[str, str, dict[str, float]]]:
    """The recording's messages as a program would have them."""
    found = []
    for topic, payload in recording.messages:
        message = json.loads(payload)
        found.append((topic.split("/")[1], message["time"], message["values"]))
    return found


def as_published(found: Verdict | Alarm) -> dict[str, Any]:
    """An object as the daemon's payload has it: times as text, and nothing where there is nothing."""
    fields = {name: value for name, value in msgspec.structs.asdict(found).items() if value is not None}
    return {
        name: format_ms(round(value.timestamp() * 1000)) if isinstance(value, datetime) else value
        for name, value in fields.items()
    }


def test_the_verdicts_are_those_of_the_daemon(model: LoadedModel, recording: "Recording") -> None:
    """A recording gives the daemon's verdicts and alarms, sample by sample as well as all at once."""
    pipeline = model.pipeline()
    outcomes = [pipeline.push_sample(*sample) for sample in samples(recording)]
    verdicts = [as_published(verdict) for outcome in outcomes for verdict in outcome.verdicts]
    recording.assert_equal([{"time": "1970-01-01T00:00:00.000Z", **verdict} for verdict in verdicts])

    def by_device(alarms: list[dict[str, Any]]) -> dict[str, list[tuple[Any, ...]]]:
        return {
            device: [
                (a["id"], a["state"], a["since"], list(a["channels"]), round(a.get("probability", -1), 5))
                for a in alarms
                if a["device"] == device
            ]
            for device in recording.devices
        }

    alarms = [as_published(alarm) for outcome in outcomes for alarm in outcome.alarms]
    assert by_device(alarms) == by_device(recording.alarms)

    whole = model.pipeline().push_samples(samples(recording))
    assert {v.id for v in whole.verdicts} == {v["id"] for v in verdicts}
    assert by_device([as_published(alarm) for alarm in whole.alarms]) == by_device(alarms)


def test_the_daemon_publishes_what_is_embedded(
    model: LoadedModel,
    recording: "Recording",
    serving: Callable[..., Any],
    mosquitto: Any,
    peer: Any,
    wait_until: Callable[..., None],
) -> None:
    """The same recording through a real broker and daemon: the same ids, classes and probabilities."""
    embedded = {v.id: v for v in model.pipeline().push_samples(samples(recording)).verdicts}
    peer.subscribe("rarefault/+/verdict")
    with serving(mosquitto.url):
        recording.play(peer)
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(embedded), "all verdicts")
        live = recording.verdicts_at(peer)
    assert {v["id"] for v in live} == set(embedded)
    for verdict in live:
        mine = as_published(embedded[verdict["id"]])
        assert set(verdict) - set(mine) == {"time"}
        assert mine["probabilities"] == pytest.approx(verdict["probabilities"], rel=1e-5)
        for name in ("device", "start", "end", "fault", "prediction_set", "familiarity", "unknown", "model"):
            assert mine[name] == verdict[name], name


def test_times_and_values_may_be_of_any_usual_kind(model: LoadedModel) -> None:
    """ISO text, epoch seconds, milliseconds and datetime are the same time; NumPy's numbers are numbers."""
    times: list[Any] = [
        "2024-03-01T12:00:00Z",
        "2024-03-01T13:00:00+01:00",
        1_709_294_400,
        1_709_294_400_000,
        np.float64(1_709_294_400),
        datetime.fromisoformat("2024-03-01T12:00:00Z"),
    ]
    ids = set()
    for time in times:
        pipeline = model.pipeline()
        pipeline.push_sample("d", time, {"c1.S1": np.float32(0.5), "c1.S2": None, "z1.E1": True})
        base = datetime.fromisoformat("2024-03-01T12:00:00Z").timestamp()
        found = pipeline.push_samples(("d", base + 10 * n, {"c1.S1": n}) for n in range(1, 12))
        assert found.verdicts
        ids.add(tuple((v.id, v.probability) for v in found.verdicts))
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (("d", 1e9, {"c1.S3": 1.0}), "has no channel 'c1.S3'; did you mean 'c1.S"),
        (("d", 1e9, {"pressure": 1.0}), "has no channel 'pressure'; it has c1.S1, c1.S2, z1.E1"),
        (("d", 1e9, {"c1.S1": "warm"}), "channel 'c1.S1' is 'warm', not a finite number"),
        (("d", 1e9, {"c1.S1": float("inf")}), "channel 'c1.S1' is inf, not a finite number"),
        (("d", 1e9, {"c1.S1": 10**400}), "not a finite number"),
        (("d", 1e9, {"c1.S1": None}), "it has no value"),
        (("d", "2024-03-01T12:00:00", {"c1.S1": 1.0}), "has no time zone"),
        (("d", "yesterday", {"c1.S1": 1.0}), "yesterday"),
        (("d", True, {"c1.S1": 1.0}), "True is not a time"),
        (("d", -5, {"c1.S1": 1.0}), "is outside 1970 to 2109"),
        (("", 1e9, {"c1.S1": 1.0}), "a device must be a text that is not empty"),
    ],
)
def test_a_sample_that_cannot_be_taken_is_refused_whole(model: LoadedModel, sample: Any, message: str) -> None:
    """The error says what is wrong, and nothing was taken, of the good samples before it neither."""
    pipeline = model.pipeline()
    with pytest.raises(SampleError, match=".*".join(message.split())):
        pipeline.push_samples([("good", 1e9, {"c1.S1": 1.0}), sample])
    assert list(pipeline.devices) == []
    assert pipeline.grid.accepted == 0


def test_a_silent_device_has_no_data(model: LoadedModel) -> None:
    """Silence is an alarm of its own, once; a device that never was is none."""
    pipeline = model.pipeline()
    pipeline.push_samples(("d", 1e9 + 10 * n, {"c1.S1": 0.1 * n}) for n in range(12))
    (alarm,) = pipeline.silence_device("d")
    assert (alarm.device, alarm.state, alarm.probability) == ("d", "no data", None)
    assert alarm.since.timestamp() == 1e9 + 110
    assert pipeline.silence_device("d") == []
    assert pipeline.silence_device("never seen") == []


def test_a_pipeline_may_have_a_decision_of_its_own(model: LoadedModel, recording: "Recording") -> None:
    """Other thresholds change verdicts, not probabilities; a decision that does not fit is refused."""

    def push(pipeline: Pipeline) -> Outcome:
        return pipeline.push_samples(samples(recording))

    own = model.manifest.decision
    eager = msgspec.structs.replace(own, thresholds=(0.99, 0.01, 0.01))
    before, after = push(model.pipeline()), push(model.pipeline(eager))
    assert [v.probabilities for v in before.verdicts] == [v.probabilities for v in after.verdicts]
    faults = [sum(v.fault != "normal" for v in found.verdicts) for found in (before, after)]
    assert faults[1] > faults[0]
    for wrong in ({"thresholds": (0.5, 0.5)}, {"raise_threshold": 1.5}, {"temperature": 0.0}):
        with pytest.raises(ConfigError, match="the decision for tiny@"):
            model.pipeline(msgspec.structs.replace(own, **wrong))
