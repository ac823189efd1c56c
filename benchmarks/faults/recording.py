"""What the fault suite plays, and how it compares what comes of it."""

import json
from typing import Any

import msgspec
import numpy as np

from rarefault.runtime.daemon.publishing.payloads import verdict_payloads
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.times import format_ms

BEGIN_MS = 1_300_000_000_000
DEVICES = 12
MALFORMED = (
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[]",
    b"null",
    b'{"time": "yesterday", "values": {"c1.S1": 1}}',
    b'{"values": {"c1.S1": NaN}, "time": 1300000000}',
    b'{"values": {"c1.S1": 1e999}, "time": 1300000000}',
    b'{"values": {"c1.S1": "unknown"}, "time": 1300000000}',  # "700" would be a number, and count as a late sample
    b'{"values": {"nothing": 1}, "time": 1300000000}',
    b'{"values": 3, "time": 1300000000}',
    b'{"time": 9999999999999, "values": {"c1.S1": 1}}',
    b"[" * 5000,
    b'{"values": {"c1.S1": 1' + b"0" * 400 + b"}}",
)

#: Messages at the end in which clocks are right: a device whose clock has just gone back would still be late.
CALM = 600
#: How far ahead single absurd stamps are, seconds: beyond the grid's gap, and what the recording's pauses reach.
ABSURD_S = (3600, 86_400)

#: Topic and payload.
Message = tuple[str, bytes]


#: All that was published with each id.
Verdicts = dict[str, list[dict[str, Any]]]


def compare(peaceful: Verdicts, disturbed: Verdicts) -> dict[str, int]:
    """Count what is wrong with the verdicts of a disturbed run; both map an id to all that was published with it."""

    def content(verdict: dict[str, Any]) -> str:
        return json.dumps({k: v for k, v in verdict.items() if k != "time"}, sort_keys=True)

    def differs(one: dict[str, Any], other: dict[str, Any]) -> bool:
        exact = ("id", "device", "start", "end", "fault", "model")
        if any(one[key] != other[key] for key in exact):
            return True
        p, q = (np.array(list(v["probabilities"].values())) for v in (one, other))
        return not np.allclose(p, q, rtol=1e-5, atol=1e-7)

    return {
        "lost": len(set(peaceful) - set(disturbed)),
        "extra": len(set(disturbed) - set(peaceful)),
        "contradicting": sum(len({content(v) for v in said}) > 1 for said in disturbed.values())
        + sum(differs(peaceful[i][0], disturbed[i][0]) for i in set(peaceful) & set(disturbed)),
    }


class Recording:
    """Telemetry of devices whose clocks step and that repeat themselves, and the verdicts of the offline pipeline.

    Some clocks are a day ahead for a few samples, or a few minutes for one: the verdicts follow from the rules. Single
    samples are stamped far ahead: the verdicts are those of a recording without them.

    Attributes:
        devices: their names.
        messages: in their order.
        absurd_stamps: number of single samples that are stamped far ahead.
        wrong_for_a_while: how often a clock was a day ahead for a few samples.
        expected: verdicts by id.
    """

    def __init__(self, model: LoadedModel, n_messages: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        channels = model.manifest.channels
        self.devices = [f"plant_{i}" for i in range(DEVICES)]
        clock = np.full(DEVICES, BEGIN_MS) + rng.integers(0, 60_000, DEVICES)
        level = rng.normal(size=(DEVICES, len(channels)))
        meter = np.zeros(DEVICES)
        center = np.array([700, 650, 720, 0])
        rows: list[tuple[int, int, dict[str, float]]] = []
        absurd: list[bool] = []  # for each row, whether it counts for nothing
        wrong = np.zeros(DEVICES, np.int64)  # samples for which a clock is a day ahead
        settled = np.zeros(DEVICES, np.int64)  # samples since something unusual
        self.wrong_for_a_while = 0
        while len(rows) < n_messages:
            calm = len(rows) > n_messages - CALM
            i = int(rng.integers(DEVICES))
            kind = rng.random()
            # Mostly every 20 s; sometimes a pause within the grid's gap or beyond, or a step of the clock either way.
            step = 20_000
            if kind < 0.004:
                step = int(rng.integers(120_000, 900_000))
            elif kind < 0.008 and not calm:
                step = -int(rng.integers(30_000, 200_000))
            elif kind < 0.009 and not calm and not wrong[i]:
                wrong[i] = rng.integers(2, 6)
                self.wrong_for_a_while += 1
                settled[i] = -60  # until it has started anew
            clock[i] += step + int(rng.integers(-4000, 4000))
            level[i] += rng.normal(scale=0.4, size=len(channels))
            meter[i] += rng.random()
            values = dict(
                zip(channels, (center + level[i] * [20, 15, 10, 0] + [0, 0, 0, meter[i]]).tolist(), strict=True)
            )
            kept = {name: value for name, value in values.items() if rng.random() < 0.85} or {channels[0]: 700.0}
            late_by = int(rng.integers(0, 50_000)) if rng.random() < 0.05 else 0
            ahead = 86_400_000 if wrong[i] else 290_000 if rng.random() < 0.002 and not calm else 0
            settled[i] = settled[i] + 1 if step == 20_000 else min(settled[i], 0)
            if settled[i] > 3 and not calm and rng.random() < 0.015:
                rows.append((i, int(clock[i]) + 1000 * int(rng.integers(*ABSURD_S)), kept))
            absurd += [True] * (len(rows) - len(absurd))
            wrong[i] = max(0, wrong[i] - 1)
            rows.append((i, int(clock[i]) - late_by + ahead, kept))
            if rng.random() < 0.03:
                rows.append(rows[-1])
            absurd += [False] * (len(rows) - len(absurd))
        self.messages: list[Message] = [
            (f"telemetry/{self.devices[i]}", json.dumps({"time": format_ms(t), "values": v}).encode())
            for i, t, v in rows
        ]
        #: Place of a sample in the recording, by what the journal knows of it.
        self.place = {(self.devices[i], t): n for n, (i, t, _) in reversed(list(enumerate(rows)))}
        self.absurd_stamps = sum(absurd)
        rows = [row for row, no in zip(rows, absurd, strict=True) if not no]
        pipeline = Pipeline(model.manifest, model.step, model.model_id)
        slots = [pipeline.slot(device) for device in self.devices]
        verdicts = pipeline.push(
            [slots[i] for i, _, _ in rows],
            [t for _, t, _ in rows],
            [[v.get(name, np.nan) for name in channels] for _, _, v in rows],
        )
        self.expected: Verdicts = {v.id: [msgspec.to_builtins(v)] for v in verdict_payloads(verdicts, pipeline, 0)}
