"""Several kinds of messages over a real broker: each subscription is made, and what is no telemetry is counted."""

import json
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rarefault.runtime.daemon.host.counts import counts

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

MAPPINGS = [
    {
        "topic": "plant/{device}/{channel}",
        "format": "scalar",
        "time": "arrival",
        "fields": {"temp": "c1.S1", "state": "c1.S2"},
        "ignore_topics": ["plant/+/availability"],
    },
    {"topic": "gw/{device}", "records": "m", "name": "n", "value": "v", "time": "t", "ignore": {"kind": ["event"]}},
]
NOW_S = 1_700_000_000


def test_each_message_is_read_by_its_mapping(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Callable[..., Any],
    wait_until: Callable[..., None],
    free_port: int,
) -> None:
    """Both feed one device; a value that is no number costs itself; the pages of metrics have all of it."""
    metrics = [{"n": "z1.E1", "v": 4}, {"n": "c1.S1", "v": "unknown"}]
    messages = [
        ("plant/p1/temp", "41.2"),
        ("plant/p1/state", "ON"),
        ("plant/p1/availability", "online"),
        ("plant/p1/temp", ""),
        ("gw/p1", json.dumps({"t": NOW_S, "m": metrics})),
        ("gw/p1", json.dumps({"kind": "event"})),
    ]
    sections = {"telemetry": [dict(mapping) for mapping in MAPPINGS], "metrics": {"port": free_port}}
    with serving(mosquitto.url, **sections) as service:
        peer.catch_up()
        for topic, payload in messages:
            peer.publish(topic, payload)
        wait_until(lambda: service.intake.messages == len(messages), "all messages")
        found = counts(service)
        assert service.intake.rejections.samples == 3
        assert found["rarefault_ignored_total"] == {"empty": 1, "content": 1, "topic": 1, "repeated": 0, "name": 0}
        assert found["rarefault_values_dropped_total"] == {("c1.S1", "no_number"): 1}
        assert service.store.devices.names == ["p1"]
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        assert 'rarefault_values_dropped_total{channel="c1.S1",reason="no_number"} 1.0' in page
        assert 'rarefault_ignored_total{reason="topic"} 1.0' in page
        filters = {text for text, _ in service.session.subscriptions.filters}
        assert filters >= {"plant/+/+", "gw/+"}


def test_devices_in_the_names_of_values(
    mosquitto: "Mosquitto", peer: "Peer", serving: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """One list feeds two devices, again and again; names of neither are counted."""
    mapping = {"topic": "tags", "records": "m", "name": "n", "value": "v", "name_pattern": "Line 3/{device}/{channel}"}
    names = ("Line 3/p1/c1.S1", "Line 3/p2/c1.S1", "Line 3/p1/z1.E1", "system/uptime")
    with serving(mosquitto.url, telemetry=mapping) as service:
        peer.catch_up()
        for second in range(3):
            metrics = [{"n": name, "v": i} for i, name in enumerate(names)]
            peer.publish("tags", json.dumps({"time": NOW_S + second, "m": metrics}))
        wait_until(lambda: service.intake.messages == 3, "all messages")
        assert service.store.devices.names == ["p1", "p2"]
        assert service.intake.rejections.samples == 6
        assert counts(service)["rarefault_ignored_total"] == {
            "empty": 0,
            "content": 0,
            "topic": 0,
            "repeated": 0,
            "name": 3,
        }
        assert not any(service.intake.rejections.counts.values())
