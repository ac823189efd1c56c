"""The outbox: order, confirmation, and what goes first when there is no room."""

from hypothesis import given
from hypothesis import strategies as st

from rarefault.runtime.daemon.publishing.outbox import MemoryOutbox


def send_all(outbox: MemoryOutbox, first_mid: int = 1) -> list[bytes]:
    """Send everything there is; ids count up from ``first_mid``."""
    sent: list[bytes] = []
    while (entry := outbox.next()) is not None:
        outbox.sent(entry.key, first_mid + len(sent))
        sent.append(entry.payload)
    return sent


def test_messages_are_kept_until_confirmed() -> None:
    """Sent in order; what is not confirmed is sent again after a new connection, in order; the rest is forgotten."""
    outbox = MemoryOutbox(10)
    for payload in (b"1", b"2", b"3"):
        outbox.put("d/verdict", payload, retain=False)
    assert send_all(outbox) == [b"1", b"2", b"3"]
    outbox.confirm(2)
    outbox.confirm(99)
    assert len(outbox) == 2
    outbox.resend()
    outbox.confirm(1)  # an id of the connection of before says nothing any more
    assert send_all(outbox) == [b"1", b"3"]
    outbox.confirm(1)
    outbox.confirm(2)
    assert len(outbox) == 0


def test_the_oldest_verdict_makes_room_and_alarms_stay() -> None:
    """A full outbox gives up its oldest verdict, never an alarm, and counts it."""
    outbox = MemoryOutbox(3)
    outbox.put("a/alarm", b"alarm a", retain=True)
    outbox.put("a/verdict", b"1", retain=False)
    outbox.put("a/verdict", b"2", retain=False)
    assert outbox.full
    outbox.put("a/verdict", b"3", retain=False)
    outbox.put("b/alarm", b"alarm b", retain=True)
    assert outbox.dropped == 2
    assert send_all(outbox) == [b"alarm a", b"3", b"alarm b"]


def test_of_alarms_alone_the_last_of_each_device_stays() -> None:
    """Where only alarms wait, an alarm replaces the one before it of the same device, and all devices have one."""
    outbox = MemoryOutbox(2)
    for topic, payload in (("a", b"1"), ("b", b"1"), ("a", b"2"), ("c", b"1"), ("a", b"3")):
        outbox.put(f"{topic}/alarm", payload, retain=True)
    assert send_all(outbox) == [b"1", b"1", b"3"]  # b, c, a
    assert outbox.dropped == 2


@given(
    st.integers(1, 5),
    st.lists(st.sampled_from(["verdict", "alarm a", "alarm b", "send", "confirm", "resend"]), max_size=60),
)
def test_bounds_hold_whatever_happens(capacity: int, steps: list[str]) -> None:
    """Messages are confirmed, waiting or dropped, their number is bounded, and the last alarm arrives."""
    outbox = MemoryOutbox(capacity)
    put = confirmed = mid = 0
    on_air: list[int] = []
    last_alarm: dict[str, bytes] = {}
    for step in steps:
        if step == "send":
            if (entry := outbox.next()) is not None:
                mid += 1
                outbox.sent(entry.key, mid)
                on_air.append(mid)
        elif step == "confirm":
            if on_air:
                before = len(outbox)
                outbox.confirm(on_air.pop(0))
                confirmed += before - len(outbox)
        elif step == "resend":
            outbox.resend()
            on_air.clear()
        else:
            put += 1
            payload = str(put).encode()
            outbox.put(step, payload, retain=step != "verdict")
            if step != "verdict":
                last_alarm[step] = payload
        assert put == confirmed + outbox.dropped + len(outbox)
        assert len(outbox) <= capacity + 2
    outbox.resend()
    left = {}
    while (entry := outbox.next()) is not None:
        left[entry.topic] = entry.payload
        outbox.sent(entry.key, 1000 + entry.key)
    for topic, payload in last_alarm.items():
        if topic in left:
            assert left[topic] == payload
