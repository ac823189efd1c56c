"""Fixtures of the runtime: a small real model, made without torch, and the daemon's parts around it."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.harness.broker import Mosquitto, answers, free_port, running_amqtt
from tests.harness.certificates import Authority
from tests.harness.recording import Recording
from tests.harness.session import Driven, session_config
from tests.harness.tiny_model import MANIFEST, save_tiny_model

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.service import Service
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.turns.opening import open_store
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.settings import from_mapping


@pytest.fixture(scope="session")
def tiny_manifest() -> Manifest:
    """The manifest of ``tiny_model``."""
    return MANIFEST


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A step with fixed random weights."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    save_tiny_model(path)
    return path


@pytest.fixture(name="free_port")
def free_port_fixture() -> int:
    """A port of the loopback that nobody listens on."""
    return free_port()


@pytest.fixture
def new_session() -> Iterator[Callable[..., Driven]]:
    """Makes sessions that are closed after the test."""
    made: list[Driven] = []

    def make(url: str, password: str | None = None, **options: Any) -> Driven:
        made.append(Driven(session_config(url, **options), password))
        return made[-1]

    yield make
    for driven in made:
        driven.session.close(5)


@pytest.fixture
def start_amqtt(free_port: int) -> Iterator[Callable[..., str]]:
    """Starts an embedded broker that speaks MQTT 3.1.1 only, with plugins of the test's own; gives its URL."""
    with ExitStack() as stack:

        def start(**plugins: Any) -> str:
            stack.enter_context(running_amqtt(free_port, plugins))
            return f"mqtt://127.0.0.1:{free_port}"

        yield start


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
        if isinstance(several := sections.get("telemetry"), list):
            given.pop("telemetry")
            several[0] = {"max_age_s": math.inf} | several[0]
        merged: dict[str, Any] = sections | {name: given[name] | sections.get(name, {}) for name in given}
        return from_mapping(merged, DaemonConfig, "edge.toml")

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


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority of the plant."""
    return Authority(tmp_path, "plant-ca")


@pytest.fixture
def new_authority(tmp_path: Path) -> Callable[[str], Authority]:
    """Makes other authorities: ``new_authority(name)``."""
    return lambda name: Authority(tmp_path, name)


@pytest.fixture
def tls_broker(
    authority: Authority,
    start_mosquitto: Callable[[str], Mosquitto],
    free_port: int,
    wait_until: Callable[[Callable[[], object], str], None],
) -> Callable[..., tuple[str, Mosquitto]]:
    """Starts a broker whose first port speaks TLS, and its second, ``free_port``, does not; gives the URL of the first.

    ``hosts`` are what its certificate is made out to, ``settings`` further ones of the first port.
    """

    def start(*hosts: str, settings: str = "", days: int = 90) -> tuple[str, Mosquitto]:
        certificate, key = authority.sign("broker", *(hosts or ("localhost",)), days=days)
        broker = start_mosquitto(
            f"allow_anonymous true\ncafile {authority.file}\ncertfile {certificate}\nkeyfile {key}\n{settings}\n"
            f"listener {free_port} 127.0.0.1\n"
        )
        wait_until(lambda: answers(free_port), f"the broker's port {free_port}")
        return f"mqtts://localhost:{broker.port}", broker

    return start
