"""TLS between the daemon and a real Mosquitto."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from rarefault.runtime.daemon.config import BrokerConfig
from rarefault.runtime.daemon.mqtt.tls import tls_context
from rarefault.runtime.errors import ConfigError

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.certificates import Authority
    from tests.harness.client import Peer
    from tests.harness.recording import Recording
    from tests.harness.session import Driven

Serving = Callable[..., Any]
Broker = Callable[..., tuple[str, "Mosquitto"]]


def test_verdicts_over_tls(
    tls_broker: Broker,
    authority: "Authority",
    free_port: int,
    new_peer: Callable[..., "Peer"],
    serving: Serving,
    recording: "Recording",
    wait_until: Callable[..., None],
) -> None:
    """A recording played while the daemon speaks TLS with a certificate of its own gives the offline verdicts."""
    url, _ = tls_broker(settings="require_certificate true")
    authority.sign("gateway", client=True)
    peer = new_peer(free_port)
    peer.subscribe("rarefault/+/verdict")
    secured = {"url": url, "ca_file": "plant-ca.pem", "certificate_file": "gateway.crt", "key_file": "gateway.key"}
    # Large batches make TLS records with many messages, which the socket shows once only.
    with serving(url, broker=secured) as service:
        for device in recording.devices:
            payloads = [payload for topic, payload in recording.messages if topic.endswith(device)]
            peer.publish_all(f"telemetry/{device}", payloads)
        wait_until(lambda: service.intake.messages >= len(recording.messages), "all telemetry")
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
    recording.assert_equal(recording.verdicts_at(peer))


@pytest.mark.parametrize(
    ("hosts", "broker", "sentence"),
    [
        (("localhost",), {"ca_file": "other-ca.pem"}, "its certificate was not issued by an authority in other-ca.pem"),
        (("localhost",), {}, "its certificate was not issued by an authority in the system's store"),
        (("elsewhere",), {"ca_file": "plant-ca.pem"}, "its certificate is not made out to 'localhost'"),
        (("localhost",), {"ca_file": "gone.pem"}, "gone.pem cannot be read: No such file or directory"),
    ],
)
def test_what_is_wrong_with_tls_is_said(
    tls_broker: Broker,
    new_authority: Callable[[str], "Authority"],
    serving: Serving,
    caplog: pytest.LogCaptureFixture,
    hosts: tuple[str, ...],
    broker: dict[str, str],
    sentence: str,
) -> None:
    """The daemon does not connect, says why in plain words, and goes on trying."""
    url, _ = tls_broker(*hosts)
    new_authority("other-ca")
    with serving(url, start=False, broker={"url": url} | broker) as service:
        service._turn(0.1)
        assert not service.session.connected
        assert sentence in caplog.text
        assert "trying again in" in caplog.text


def test_host_names_may_go_unchecked(tls_broker: Broker, new_session: Callable[..., "Driven"], tmp_path: Path) -> None:
    """With check_host_name = false, the authority's signature is enough."""
    url, _ = tls_broker("elsewhere")
    driven = new_session(url, ca_file=str(tmp_path / "plant-ca.pem"), check_host_name=False)
    driven.connect()
    assert driven.session.connected


def test_an_expired_certificate(
    tls_broker: Broker, new_session: Callable[..., "Driven"], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said that it has expired."""
    url, _ = tls_broker(days=-1)
    driven = new_session(url, ca_file=str(tmp_path / "plant-ca.pem"))
    driven.poll()
    assert "its certificate has expired" in caplog.text


def test_a_port_without_tls(
    mosquitto: "Mosquitto", new_session: Callable[..., "Driven"], caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that does not speak TLS there is told from one that cannot be reached."""
    driven = new_session(f"mqtts://localhost:{mosquitto.port}", connect_timeout_s=3)
    driven.poll()
    assert f"port {mosquitto.port} does not speak TLS" in caplog.text


def test_files_that_are_not_what_they_should_be(tmp_path: Path, authority: "Authority") -> None:
    """Each is named with its key; a key with a password is not asked for."""
    certificate, _ = authority.sign("gateway", client=True)
    (tmp_path / "text").write_text("no PEM")
    source = tmp_path / "edge.toml"
    for files, sentence in (
        ({"ca_file": "text"}, r"broker\.ca_file: .*text does not hold certificates in PEM"),
        ({"certificate_file": "gone", "key_file": "text"}, r"broker\.certificate_file: .*gone cannot be read"),
        ({"certificate_file": certificate.name, "key_file": "text"}, r"broker\.key_file: .*does not hold the key"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            tls_context(msgspec.convert({"url": "mqtts://x"} | files, BrokerConfig), source)
    context = tls_context(BrokerConfig(url="mqtts://x"), source)
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert tls_context(BrokerConfig(url="mqtt://x"), source) is None
