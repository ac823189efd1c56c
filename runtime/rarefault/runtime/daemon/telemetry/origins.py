"""Origins: from which topic each device came first, so that two machines of one name are not taken for one."""

from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.telemetry.rejections import Reason, RejectionError, quote
from rarefault.runtime.daemon.topics import Template

#: Longest topic that is remembered, characters.
MAX_TOPIC = 1000


class Origins:
    """Compares the topic of a device with the first one that it came on.

    ``siteA/pump1`` and ``siteB/pump1`` are two machines, or one that moves about; which it is only people know. Levels
    behind the device's name are its parts and do not matter.

    Args:
        devices: the table, whose column ``topic`` this is.
        template: of the topics; a first topic that does not fit it, as it is of an earlier template, does not count.
        several: whether the configuration allows that a device may come from several places.

    Attributes:
        watching: whether there is anything to compare.
    """

    def __init__(self, devices: DeviceTable, template: Template, *, several: bool) -> None:
        self.watching = template.ambiguous and not several
        self._devices = devices
        self._template = template

    def check(self, device: str, topic: str) -> bool:
        """Whether a topic is the first of its device; RejectionError where it came from another place before."""
        slot = self._devices.by_name.get(device)
        first = "" if slot is None else self._devices.topic[slot]
        if first == topic:
            return False
        if len(topic) > MAX_TOPIC or not topic.isprintable():
            raise RejectionError(
                Reason.UNKNOWN_TOPIC, f"the topic is not printable text of at most {MAX_TOPIC} characters"
            )
        if not first or not self._template.matches(first):
            return True
        if self._template.place(first) != self._template.place(topic):
            raise RejectionError(
                Reason.TWO_TOPICS, f"device {quote(device)} comes on {quote(topic)}, and came on {quote(first)} before"
            )
        return False

    def remember(self, slot: int, topic: str) -> None:
        """The first topic of a device."""
        self._devices.topic[slot] = topic
        self._devices.unsaved_topics.append(slot)
