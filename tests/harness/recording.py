"""Telemetry, and the verdicts that it must bring."""

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.harness.client import Peer

from rarefault.runtime.daemon.publishing.payloads import alarm_payload, verdict_payloads
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.times import format_ms, parse_time_ms


class Recording:
    """Telemetry of three devices in order of time, and its verdicts from one push of all of it.

    Attributes:
        messages: topics and payloads, with partial updates, gaps and samples out of order.
        expected: verdicts by id.
        alarms: alarms in order for each device.
    """

    devices = ("plant_1", "plant_2", "plant_3")

    def __init__(self, model: LoadedModel) -> None:
        rng = np.random.default_rng(11)
        begin_ms, n = parse_time_ms("2011-03-01T12:00:00Z"), 250
        rows = []
        for device in self.devices:
            at = np.cumsum(rng.choice([3.0, 9.0, 11.0, 25.0, 200.0], n, p=[0.3, 0.3, 0.3, 0.09, 0.01]))
            energy = np.cumsum(rng.random(n))
            for t, e in zip(at + rng.uniform(-9, 0, n), energy, strict=True):
                values = {"c1.S1": rng.normal(), "c1.S2": float(rng.normal()) * 3, "z1.E1": e}
                kept = {name: value for name, value in values.items() if rng.random() < 0.8}
                rows.append((begin_ms + round(t * 1000), device, kept or {"c1.S1": 0.5}))
        rows.sort(key=lambda row: row[0])
        self.messages = [
            (f"telemetry/{device}", json.dumps({"time": format_ms(time_ms), "values": values}).encode())
            for time_ms, device, values in rows
        ]
        pipeline = Pipeline(model.manifest, model.step, model.model_id)
        verdicts = pipeline.push(
            [pipeline.slot(device) for _, device, _ in rows],
            [time_ms for time_ms, _, _ in rows],
            [[values.get(name, math.nan) for name in model.manifest.channels] for _, _, values in rows],
            explained=True,
        )
        self.expected: dict[str, dict[str, Any]] = {
            v.id: msgspec.to_builtins(v) for v in verdict_payloads(verdicts, pipeline, 0)
        }
        self.alarms = [msgspec.to_builtins(alarm_payload(change, pipeline)) for change in verdicts.alarms]
        assert len(self.expected) > 200
        assert {v["fault"] for v in self.expected.values()} == {"normal", "fault_1", "fault_2"}
        assert {a["state"] for a in self.alarms} >= {"normal", "fault_1", "fault_2", "unknown"}

    def play(self, peer: Peer, part: slice = slice(None)) -> None:
        """Publish messages in their order."""
        for topic, payload in self.messages[part]:
            peer.publish(topic, payload)

    def verdicts_at(self, peer: Peer) -> list[dict[str, Any]]:
        """All verdicts that the peer has received."""
        return [json.loads(p) for device in self.devices for p in peer.payloads(f"rarefault/{device}/verdict")]

    def assert_equal(self, live: list[dict[str, Any]]) -> None:
        """The live verdicts are the expected ones, one for one."""
        assert {v["id"] for v in live} == set(self.expected)
        inexact = ("probability", "score", "probabilities", "time")
        for verdict in live:
            offline = self.expected[verdict["id"]]
            assert {k: v for k, v in verdict.items() if k not in inexact} == {
                k: v for k, v in offline.items() if k not in inexact
            }
            for name, probability in offline["probabilities"].items():
                assert math.log(verdict["probabilities"][name]) == pytest.approx(math.log(probability), abs=1e-5)
            for name in ("probability", "score"):
                assert verdict[name] == pytest.approx(offline[name], rel=1e-5)
