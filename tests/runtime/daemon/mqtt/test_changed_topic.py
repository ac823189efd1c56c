"""A changed ``telemetry.topic``: the session must not go on with the old subscription beside the new one."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

Serving = Callable[..., Any]
WaitUntil = Callable[[Callable[[], object], str], None]
JOURNAL = {"path": "edge.journal"}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_old_topic_is_left(
    serving: Serving,
    start_mosquitto: Callable[[str], "Mosquitto"],
    new_peer: Callable[..., "Peer"],
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
    protocol: str,
) -> None:
    """Filters that overlap would bring each message twice; feedback, whose topic is as before, goes on."""
    caplog.set_level("INFO")
    broker = start_mosquitto("allow_anonymous true\nallow_duplicate_messages true")
    peer = new_peer(broker.port)
    common: dict[str, Any] = {"journal": JOURNAL, "broker": {"protocol": protocol}}
    with serving(broker.url, telemetry={"topic": "site/+/{device}"}, **common) as service:
        wait_until(lambda: service.identity.saved_session is not None, "the session in the journal")
    with serving(broker.url, telemetry={"topic": "site/north/{device}"}, **common) as service:
        wait_until(
            lambda: (
                service.identity.saved_session is not None
                and service.identity.saved_session.filters[0] == "site/north/+"
            ),
            "the new session in the journal",
        )
        for second in range(20):
            peer.publish("site/north/a", json.dumps({"time": 1e9 + second, "values": {"c1.S1": second}}))
        peer.publish("site/south/a", json.dumps({"time": 1e9, "values": {"c1.S1": 1}}))
        peer.publish("rarefault/a/feedback", b"nonsense")
        wait_until(lambda: service.intake.messages >= 21, "telemetry and feedback")
        peer.catch_up()
        assert (service.intake.messages, service.intake.rejections.samples) == (21, 20)
        assert service.intake.rejections.counts["bad_feedback"] == 1
    assert "the session is still subscribed to site/+/+, which is not wanted any more: unsubscribed" in caplog.text
    # And once more with the same: nothing is left to be unsubscribed.
    assert caplog.text.count("unsubscribed") == 1
    with serving(broker.url, telemetry={"topic": "site/north/{device}"}, **common) as service:
        assert service.session.subscriptions.sessions_lost == 0
    assert caplog.text.count("unsubscribed") == 1
