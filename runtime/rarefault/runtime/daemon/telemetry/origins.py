"""Origins: from which topic each device came first, so that two machines of one name are not taken for one."""

from collections.abc import Iterable, Mapping

from rarefault.runtime.daemon.telemetry.rejections import Reason, RejectionError, quote
from rarefault.runtime.daemon.topics import Template

#: Longest topic that is remembered, characters.
MAX_TOPIC = 1000


class Origins:
    """Compares the topic of a device with the first one that it came on.

    ``siteA/pump1`` and ``siteB/pump1`` are two machines, or one that moves about; which it is only people know. Levels
    behind the device's name are its parts and do not matter.

    Args:
        template: of the topics.
        several: whether people have said that a device may come from several places.

    Attributes:
        watching: whether there is anything to compare.
        fresh: devices that came for the first time since this was emptied last, and their topics.
    """

    def __init__(self, template: Template, *, several: bool) -> None:
        self.watching = template.ambiguous and not several
        self.fresh: dict[str, str] = {}
        self._template = template
        self._first: dict[str, str] = {}

    def know(self, devices: Iterable[str], first: Mapping[str, str]) -> None:
        """Take over the first topics of the devices that there are; those that the template does not fit are void."""
        self.fresh = {}
        self._first = {d: first[d] for d in devices if d in first and self._template.matches(first[d])}

    def check(self, device: str, topic: str) -> None:
        """Remember the first topic of a device; RejectionError where it came from another place before."""
        first = self._first.get(device)
        if first == topic:
            return
        if len(topic) > MAX_TOPIC or not topic.isprintable():
            raise RejectionError(
                Reason.UNKNOWN_TOPIC, f"the topic is not printable text of at most {MAX_TOPIC} characters"
            )
        if first is None:
            self._first[device] = self.fresh[device] = topic
        elif self._template.place(first) != self._template.place(topic):
            raise RejectionError(
                Reason.TWO_TOPICS, f"device {quote(device)} comes on {quote(topic)}, and came on {quote(first)} before"
            )
