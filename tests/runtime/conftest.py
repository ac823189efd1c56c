"""Fixtures of the runtime: a small real model, made without torch, and the daemon's parts around it."""

import asyncio
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.runtime.certificates import authority, new_authority, tls_broker  # noqa: F401 - fixtures

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.mqtt.connection import Confirmation
from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.daemon.publishing.payloads import alarm_payload, verdict_payloads
from rarefault.runtime.daemon.service import Service
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.turns.opening import open_store
from rarefault.runtime.inference.manifest import METADATA_KEY, DecisionSpec, GridSpec, Manifest, WindowSpec
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.times import format_ms, parse_time_ms

if TYPE_CHECKING:
    from tests.conftest import Peer

MANIFEST = Manifest(
    name="tiny",
    channels=("c1.S1", "c1.S2", "z1.E1"),
    counters=("z1.E1",),
    classes=("normal", "fault_1", "fault_2"),
    grid=GridSpec(period_s=10, max_hold_s=30, allowed_lateness_s=10, max_gap_s=120),
    window=WindowSpec(length=4, stride=2),
    state_size=8,
    decision=DecisionSpec(
        training_prior=(0.4, 0.3, 0.3),
        true_prior=(0.8, 0.15, 0.05),
        thresholds=(0.6, 0.2, 0.1),
        coverage=0.9,
        conformal_thresholds=(0.9, 0.5, 0.4),
        thresholds_by_coverage={"90": (0.9, 0.5, 0.4), "95": (0.5, 0.3, 0.2)},
        unknown_windows=2,
    ),
)


@pytest.fixture(scope="session")
def tiny_manifest() -> Manifest:
    """The manifest of ``tiny_model``."""
    return MANIFEST


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A step with fixed random weights: state' = tanh(state A + window B), log_prob = log_softmax(state' C)."""
    rng = np.random.default_rng(7)
    length, n_channels = MANIFEST.window.length, len(MANIFEST.channels)
    size, n_classes = MANIFEST.state_size, len(MANIFEST.classes)
    weights = {
        "A": rng.normal(size=(size, size), scale=0.5),
        "B": rng.normal(size=(length * n_channels, size), scale=0.3),
        "C": rng.normal(size=(size, n_classes), scale=2.0),
        "zero": np.zeros(()),
    }
    shape = np.asarray([-1, length * n_channels], np.int64)
    nodes = [
        helper.make_node("IsNaN", ["window"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "window"], ["filled"]),
        helper.make_node("Reshape", ["filled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "B"], ["input"]),
        helper.make_node("MatMul", ["state", "A"], ["carried"]),
        helper.make_node("Add", ["input", "carried"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next_state"]),
        helper.make_node("MatMul", ["next_state", "C"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_prob"], axis=-1),
    ]

    def tensor(name: str, *sizes: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *sizes])

    graph = helper.make_graph(
        nodes,
        "tiny",
        [tensor("window", length, n_channels), tensor("state", size)],
        [tensor("log_prob", n_classes), tensor("next_state", size)],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()]
        + [numpy_helper.from_array(shape, "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: MANIFEST.to_json()})
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Driven:
    """A session and what it has brought so far."""

    def __init__(self, config: DaemonConfig, password: str | None = None) -> None:
        self.session = BrokerSession(config, password)
        self.messages: list[Message] = []
        self.confirmations: list[Confirmation] = []

    def until(self, condition: Callable[[], object], *, hold: bool = False, patience_s: float = 20) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            self.poll(hold=hold)

    def poll(self, timeout_s: float = 0.05, *, hold: bool = False) -> None:
        self.confirmations += self.session.poll(timeout_s, hold=hold)
        while not hold and (message := self.session.next()) is not None:
            self.messages.append(message)

    def connect(self) -> "Driven":
        """Connect and subscribe."""
        self.until(lambda: self.session.subscriptions.ever_granted and self.session.connected)
        return self

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]


def settings(url: str, *, protocol: str = "auto", pending: int = 1000, qos: int = 1, **broker: Any) -> DaemonConfig:
    return msgspec.convert(
        {
            "model": {"path": "unused.onnx"},
            "broker": {"url": url, "protocol": protocol, "reconnect_min_s": 0.05, "reconnect_max_s": 0.2} | broker,
            "publish": {"runtime": "edge"},
            "telemetry": {"qos": qos},
            "limits": {"pending_messages": pending},
        },
        DaemonConfig,
    )


@pytest.fixture
def new_session() -> Iterator[Callable[..., Driven]]:
    """Makes sessions that are closed after the test."""
    made: list[Driven] = []

    def make(url: str, password: str | None = None, **options: Any) -> Driven:
        made.append(Driven(settings(url, **options), password))
        return made[-1]

    yield make
    for driven in made:
        driven.session.close(5)


@contextmanager
def running_amqtt(port: int, plugins: dict[str, Any]) -> Iterator[None]:
    """The broker amqtt in a thread of its own."""
    from amqtt.broker import Broker  # type: ignore[import-not-found, unused-ignore]

    loop = asyncio.new_event_loop()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}} | plugins,
    }
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Any:
        broker = Broker(config)
        await broker.start()
        return broker

    broker = asyncio.run_coroutine_threadsafe(start(), loop).result(20)

    async def stop() -> None:
        await broker.shutdown()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def start_amqtt(free_port: int) -> Iterator[Callable[..., str]]:
    """Starts an embedded broker that speaks MQTT 3.1.1 only, with plugins of the test's own; gives its URL."""
    with ExitStack() as stack:

        def start(**plugins: Any) -> str:
            stack.enter_context(running_amqtt(free_port, plugins))
            return f"mqtt://127.0.0.1:{free_port}"

        yield start


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

    def play(self, peer: "Peer", part: slice = slice(None)) -> None:
        """Publish messages in their order."""
        for topic, payload in self.messages[part]:
            peer.publish(topic, payload)

    def verdicts_at(self, peer: "Peer") -> list[dict[str, Any]]:
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


@pytest.fixture(scope="session")
def model(tiny_model: Path) -> LoadedModel:
    """``tiny_model``, loaded."""
    return load_model(tiny_model)


@pytest.fixture(scope="session")
def recording(model: LoadedModel) -> Recording:
    """Telemetry and what the model says of it."""
    return Recording(model)


@pytest.fixture
def serving(model: LoadedModel, wait_until: Callable[..., None], tmp_path: Path) -> Callable[..., Any]:
    """Runs a service in a thread: ``with`` what it returns ``as service``; ``start=False`` only makes it."""

    def config(url: str, sections: dict[str, Any]) -> DaemonConfig:
        given: dict[str, dict[str, Any]] = {
            "model": {"path": str(model.path)},
            "broker": {"url": url, "reconnect_min_s": 0.1, "reconnect_max_s": 0.2},
            "telemetry": {"max_age_s": math.inf},
            "publish": {"runtime": "edge"},
        }
        merged: dict[str, Any] = sections | {name: given[name] | sections.get(name, {}) for name in given}
        return msgspec.convert(merged, DaemonConfig)

    @contextmanager
    def serve(url: str, *, start: bool = True, **sections: Any) -> Iterator[Service]:
        setup = Setup(config(url, sections), model, None, tmp_path / "edge.toml")
        made: list[Service] = []
        ended_well = threading.Event()

        def run() -> None:
            # The journal is to be used by the thread that has opened it.
            made.append(Service(setup, open_store(setup)))
            made[0].run()
            ended_well.set()

        thread = threading.Thread(target=run)
        if start:
            thread.start()
            wait_until(lambda: made or not thread.is_alive(), "the daemon to start")
        else:
            made.append(Service(setup, open_store(setup)))
        (service,) = made
        try:
            if start:
                wait_until(lambda: service.session.subscriptions.granted, "the daemon to subscribe")
            yield service
        finally:
            service.stop()
            if start:
                thread.join()
            else:
                service._shutdown()
        assert ended_well.is_set() or not start

    return serve
