"""Shapes of messages: whether the daemon and a recording of the same messages agree, and what reading each costs.

For each shape, made-up telemetry of 20 devices with 9 channels is published to the real daemon over Mosquitto, and
written down as a recording. ``mismatches`` counts verdicts that one side has and the other has not, or with other
probabilities (1e-5); ``by_configuration`` says whether keys alone, without code, read every value. ``ingest_ratio``
compares processor time: that of the daemon for a message in the plain shape, from the broker to the verdict, divided by
that for a message of this shape, the median of pairs that take turns; ``decoder_ratio`` is the same of the decoder by
itself. With ``--before FOLDER``, a checkout of an earlier release, the plain shape of that release is what all are
compared with. A message of one value a topic holds a ninth of what the others do.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import paho.mqtt.client as mqtt
from benchmarks.harness.broker import broker
from benchmarks.harness.clients import Publisher
from benchmarks.harness.daemon import Daemon
from benchmarks.harness.machine import RESULTS, ROOT, origin, write
from benchmarks.harness.models import make_tiny_model
from paho.mqtt.enums import CallbackAPIVersion
from tests.harness.sparkplug import EdgeNode

from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.times import format_ms, parse_time_ms
from rarefault.train.evaluation.evaluate import run_pipeline
from rarefault.train.history import History, RecordingConfig, read_history

CHANNELS = ("c1.S1", "c1.S2", "c1.R1", "c2.S1", "c2.S2", "c2.R1", "z1.E1", "z1.S1", "z1.S2")
DEVICES = tuple(f"pump{i}" for i in range(20))
BEGIN_MS = 1_767_323_040_000
#: Bins of the tiny model, minutes; a device has one sample in each.
PERIOD_MS = 60_000
#: Times that messages are read in one run of a pair.
ROUNDS = 7
#: Largest difference of two probabilities that count as equal.
EQUAL = 1e-5

Row = tuple[str, int, dict[str, float]]
Message = tuple[str, bytes]
NAMES = [name.replace(".", "_") for name in CHANNELS]
FIELDS = dict(zip(NAMES, CHANNELS, strict=True))


def rows(count: int) -> Iterator[Row]:
    """Device, time and values of each sample, in order of time."""
    rng = np.random.default_rng(8)
    for i in range(count):
        for device in DEVICES:
            values = rng.normal(700, 20, len(CHANNELS)).round(3).tolist()
            yield device, BEGIN_MS + i * PERIOD_MS, dict(zip(CHANNELS, values, strict=True))


def _json(message: Any) -> bytes:
    return json.dumps(message).encode()


def _foreign(values: dict[str, float]) -> dict[str, float]:
    return {name.replace(".", "_"): value for name, value in values.items()}


def plain(row: Row) -> list[Message]:
    """The usual object."""
    device, ms, values = row
    return [(f"telemetry/{device}", _json({"time": format_ms(ms), "values": values}))]


def compressed(row: Row) -> list[Message]:
    """The usual object, in gzip."""
    return [(topic, gzip.compress(payload)) for topic, payload in plain(row)]


def nested(row: Row) -> list[Message]:
    """Values in nested objects, under names of their own, a name from two levels of the topic."""
    device, ms, values = row
    inner = {name: {"v": value} for name, value in _foreign(values).items()}
    return [(f"north/{device}/data", _json({"meta": {"ts": ms}, "sensors": inner}))]


def names_and_values(row: Row) -> list[Message]:
    """A list of names, values, times and qualities."""
    device, ms, values = row
    metrics = [{"name": name, "value": value, "timestamp": ms, "q": 192} for name, value in values.items()]
    return [(f"gw/{device}", _json({"timestamp": ms, "metrics": metrics}))]


def details(row: Row) -> list[Message]:
    """Values with times of their own, as OPC UA PubSub has them."""
    device, ms, values = row
    stamp = format_ms(ms)
    payload = {name: {"Value": value, "SourceTimestamp": stamp} for name, value in values.items()}
    inner = [{"DataSetWriterId": device, "Timestamp": stamp, "Payload": payload}]
    return [("opcua/json/data/x", _json({"PublisherId": "plc", "MessageType": "ua-data", "Messages": inner}))]


def keyed(row: Row) -> list[Message]:
    """Devices as keys."""
    device, ms, values = row
    return [("v1/gateway/telemetry", _json({device: [{"ts": ms, "values": values}]}))]


def senml(row: Row) -> list[Message]:
    """A pack of SenML."""
    device, ms, values = row
    first = {"bn": f"urn:dev:ow:{device}:", "bt": ms / 1000}
    records = [{"n": name, "v": value} for name, value in values.items()]
    return [("senml/gw", _json([first | records[0], *records[1:]]))]


def influx(row: Row) -> list[Message]:
    """A line of the line protocol."""
    device, ms, values = row
    fields = ",".join(f"{name}={value}" for name, value in values.items())
    return [("influx/gw", f"pump,device={device},site=north {fields} {ms * 1_000_000}".encode())]


def scalars(row: Row) -> list[Message]:
    """One value a topic, with its time in an object."""
    device, ms, values = row
    return [(f"plant/{device}/{name}", _json({"value": value, "ts": ms})) for name, value in values.items()]


class Sparkplug:
    """Edge nodes of Sparkplug, one for each device: births first, then data by alias."""

    def __init__(self) -> None:
        self._nodes: dict[str, EdgeNode] = {}

    def __call__(self, row: Row) -> list[Message]:
        """The messages of a sample."""
        device, ms, values = row
        node = self._nodes.get(device)
        if node is not None and ms > BEGIN_MS:
            return [node.data("pump", ms, values)]
        node = self._nodes[device] = EdgeNode("hall", device)
        return [node.node_birth(ms), node.birth("pump", ms, values)]


#: Keys of ``[telemetry]``, and what makes the messages of a sample.
SHAPES: dict[str, tuple[dict[str, Any], Any]] = {
    "plain": ({}, plain),
    "gzip": ({}, compressed),
    "nested": (
        {
            "topic": "{site}/{device}/data",
            "device": "{site}-{device}",
            "time": "meta.ts",
            "values": "sensors",
            "fields": {f"{name}.v": channel for name, channel in FIELDS.items()},
        },
        nested,
    ),
    "names_and_values": (
        {
            "topic": "gw/{device}",
            "records": "metrics",
            "name": "name",
            "value": "value",
            "quality": "q",
            "time": "timestamp",
        },
        names_and_values,
    ),
    "opcua_pubsub": ({"preset": "opcua-pubsub"}, details),
    "devices_as_keys": ({"preset": "thingsboard"}, keyed),
    "senml": ({"preset": "senml"}, senml),
    "influx": ({"preset": "influx"}, influx),
    "scalar": (
        {"format": "scalar", "topic": "plant/{device}/{channel}", "time": "ts"},
        scalars,
    ),
    "sparkplug": ({"preset": "sparkplug"}, Sparkplug()),
}

#: Reads messages with the decoder of whichever release is on the path; prints microseconds of processor time a message.
WORKER = """
import json, sys, time
from rarefault.runtime.daemon.config import LimitsConfig, TelemetryConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.telemetry import decoder as module
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
work = json.load(sys.stdin)
channels, rounds = work["channels"], work["rounds"]
messages = [(topic, bytes.fromhex(payload)) for topic, payload in work["messages"]]
limits = LimitsConfig(samples_per_s=float("inf"))
try:
    from rarefault.runtime.telemetry.config import MappingConfig
except ModuleNotFoundError:  # the release before
    config = TelemetryConfig(max_age_s=float("inf"))
    columns = module.column_tree(channels, {}, "")
    read = module.TelemetryDecoder(config, columns, DeviceTable(), limits, Rejections())
else:
    config = TelemetryConfig.checked(work["keys"] | {"max_age_s": float("inf")})
    read = module.TelemetryDecoder([config], channels, {}, DeviceTable(), limits, Rejections(), "")
samples = SampleBuffer(len(messages) + 20_000, len(channels))
best = float("inf")
for _ in range(rounds):
    samples.clear()
    begin = time.process_time()
    for topic, payload in messages:
        read.decode(topic, payload, 1_767_400_000_000, samples)
    best = min(best, time.process_time() - begin)
assert not sum(read.rejections.counts.values()), read.rejections.counts
print(json.dumps({"us": best / len(messages) * 1e6, "samples": len(samples)}))
"""


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier release, to compare with")
    parser.add_argument("--pairs", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--bins", type=int, default=250, help="of each device (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=RESULTS / "shapes.json")
    args = parser.parse_args()
    data = list(rows(args.bins))
    messages = {name: [m for row in data for m in make(row)] for name, (_, make) in SHAPES.items()}
    found: dict[str, dict[str, Any]] = {name: {"keys": keys} for name, (keys, _) in SHAPES.items()}
    with tempfile.TemporaryDirectory(prefix="rarefault-shapes-") as text:
        folder = Path(text)
        make_tiny_model(folder, CHANNELS)
        for name, (keys, _) in SHAPES.items():
            found[name] |= agreement(folder, keys, messages[name])
            # Keys alone read every value.
            found[name]["by_configuration"] = found[name].pop("values") == len(data) * len(CHANNELS)
        for name, ratios in ingest(folder, messages, args.before, args.pairs).items():
            found[name] |= ratios
    for name, result in found.items():
        shown = ", ".join(f"{key} {value}" for key, value in result.items() if key != "keys")
        print(f"{name}: {shown}")
    write(args.json, {**origin(), "compared_with": "the release before" if args.before else "plain", "shapes": found})
    return int(any(result["mismatches"] for result in found.values()))


def agreement(folder: Path, keys: dict[str, Any], messages: Sequence[Message]) -> dict[str, Any]:
    """How many verdicts of the daemon and of a recording of the same messages differ."""
    history = _recorded(folder, keys, messages)
    model = load_model(folder / "tiny.onnx")
    offline = run_pipeline(history, model.manifest, model.step, model.model_id)
    names = Pipeline(model.manifest, model.step, model.model_id).manifest.classes
    expected = {
        (history.devices[slot], end): dict(zip(names, posterior, strict=True))
        for slot, end, posterior in zip(
            offline.device.tolist(), offline.end_ms.tolist(), offline.posterior.tolist(), strict=True
        )
    }
    live = _live(folder, keys, messages, len(expected))
    both = live.keys() & expected.keys()
    other = [key for key in both if any(abs(live[key][name] - expected[key][name]) > EQUAL for name in names)]
    return {
        "verdicts": len(expected),
        "mismatches": len(live.keys() ^ expected.keys()) + len(other),
        "samples": len(history),
        "values": int((~np.isnan(history.values)).sum()),
    }


def _recorded(folder: Path, keys: dict[str, Any], messages: Sequence[Message]) -> History:
    """What the trainer reads of a recording."""
    lines = [{"topic": topic, "payload_hex": payload.hex(), "tst_ms": BEGIN_MS} for topic, payload in messages]
    (folder / "plant.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    section = {"recordings": "plant.jsonl", "telemetry": [keys], "channels": list(CHANNELS)}
    return read_history(from_mapping(section, RecordingConfig, "shapes"), folder)


def _live(
    folder: Path, keys: dict[str, Any], messages: Sequence[Message], count: int
) -> dict[tuple[str, int], dict[str, float]]:
    """The verdicts that the daemon publishes: probabilities by device and end of the window."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    up = threading.Event()

    def take(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        if message.topic.endswith("/status"):
            up.set()
            return
        verdict = json.loads(message.payload)
        found[verdict["device"], parse_time_ms(verdict["end"])] = verdict["probabilities"]

    with broker(folder, "max_queued_messages 0") as port, Publisher(port) as publisher:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.on_message = take
        client.connect("127.0.0.1", port)
        client.subscribe([("rarefault/+/verdict", 1), ("rarefault/edge/status", 1)])
        client.loop_start()
        settings = {"telemetry": keys | {"max_age_s": float("inf")}, "limits": {"samples_per_s": float("inf")}}
        with Daemon(folder, port, settings):
            up.wait(30)
            publisher.send(messages)
            until = time.monotonic() + 30
            while len(found) < count and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(0.5)  # whatever is too much
        client.disconnect()
        client.loop_stop()
    return found


def ingest(
    folder: Path, messages: dict[str, list[Message]], before: Path | None, pairs: int
) -> dict[str, dict[str, float]]:
    """Processor time for each shape, beside that of the plain one."""
    found: dict[str, dict[str, float]] = {}
    for name, (keys, _) in SHAPES.items():
        costs: dict[str, list[tuple[float, float]]] = {"ingest": [], "decoder": []}
        for number in range(pairs):
            took: dict[bool, tuple[float, float]] = {}
            for plain_one in (True, False) if number % 2 else (False, True):
                shape, given = ("plain", {}) if plain_one else (name, keys)
                root = before if plain_one else None
                took[plain_one] = (
                    _daemon_cost(folder, given, messages[shape], root),
                    _cost(messages[shape], given, root),
                )
            for i, what in enumerate(costs):
                costs[what].append((took[True][i], took[False][i]))
        found[name] = {f"{what}_ratio": _median([a / b for a, b in of]) for what, of in costs.items()}
        found[name] |= {f"{what}_us_per_message": _median([b for _, b in of]) for what, of in costs.items()}
    return found


def _median(numbers: list[float]) -> float:
    return round(statistics.median(numbers), 3)


def _daemon_cost(folder: Path, keys: dict[str, Any], messages: Sequence[Message], root: Path | None) -> float:
    """Processor time of the daemon, microseconds a message."""
    settings = {"telemetry": keys | {"max_age_s": float("inf")}, "limits": {"samples_per_s": float("inf")}}
    with (
        broker(folder, "max_queued_messages 0") as port,
        Publisher(port) as publisher,
        Daemon(folder, port, settings, root=root) as daemon,
    ):
        daemon.wait_until_ready()
        begin = daemon.cpu_s()
        publisher.send(messages)
        daemon.wait_for(len(messages))
        daemon.settle()
        return (daemon.cpu_s() - begin) / len(messages) * 1e6


def _cost(messages: Sequence[Message], keys: dict[str, Any], folder: Path | None) -> float:
    """Microseconds a message, in a process of its own."""
    root = (folder or ROOT) / "runtime"
    work = {
        "channels": CHANNELS,
        "rounds": ROUNDS,
        "keys": {**keys},
        "messages": [(topic, payload.hex()) for topic, payload in messages],
    }
    code = f"import sys; sys.path.insert(0, {str(root)!r})\n{WORKER}"
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(work), capture_output=True, text=True, check=True
    )
    cost: float = json.loads(done.stdout)["us"]
    return cost


if __name__ == "__main__":
    sys.exit(main())
