"""Origins: from which topic each device came first, so that two machines of one name are not taken for one."""

from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.telemetry.reasons import Reason, RejectionError, quote
from rarefault.runtime.telemetry.topics import MAX_REMEMBERED, MAX_TOPICS, Place

#: Longest topic that is remembered, characters.
MAX_TOPIC = 1000
#: Stands between the first topics of a device that several mappings read; no topic that is remembered has it.
BETWEEN = "\n"
#: Most characters of the first topics of a device.
MAX_TOPICS_TEXT = 10 * MAX_TOPIC


class Origins:
    """Compares the topic of a device with the first one that it came on.

    ``siteA/pump1`` and ``siteB/pump1`` are two machines, or one that moves about; which it is only people know. Levels
    behind the device's name are its parts and do not matter.

    Args:
        devices: the table, whose column ``topic`` this is.
        place: how topics say where a device is; a first topic that does not fit, as it is of another mapping, or of an
            earlier one, does not count.
        several: whether the configuration allows that a device may come from several places.

    Attributes:
        watching: whether there is anything to compare.
    """

    def __init__(self, devices: DeviceTable, place: Place, *, several: bool) -> None:
        self.watching = place.ambiguous and not several
        self._devices = devices
        self._place = place
        self._checked: dict[str, str] = {}  # topics that agree with the first ones

    def check(self, device: str, topic: str) -> bool:
        """Whether a topic is the first of its device; RejectionError where it came from another place before."""
        slot = self._devices.by_name.get(device)
        known = "" if slot is None else self._devices.topic[slot]
        if known and (known == topic or self._checked.get(topic) == known):
            return False
        if len(topic) > MAX_TOPIC or not topic.isprintable():
            raise RejectionError(
                Reason.UNKNOWN_TOPIC, f"the topic is not printable text of at most {MAX_TOPIC} characters"
            )
        first = next((text for text in known.split(BETWEEN) if text and self._place.matches(text)), "")
        if not first:
            return True
        if self._place.of(first) != self._place.of(topic):
            raise RejectionError(
                Reason.TWO_TOPICS, f"device {quote(device)} comes on {quote(topic)}, and came on {quote(first)} before"
            )
        if len(self._checked) >= MAX_TOPICS:
            self._checked.clear()
        if len(topic) <= MAX_REMEMBERED:
            self._checked[topic] = known
        return False

    def remember(self, slot: int, topic: str) -> None:
        """The first topic of a device that this mapping reads."""
        known = self._devices.topic[slot]
        both = f"{known}{BETWEEN}{topic}" if known else topic
        self._devices.topic[slot] = both if len(both) <= MAX_TOPICS_TEXT else topic
        self._devices.unsaved_topics.append(slot)
