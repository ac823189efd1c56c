"""Topics of Sparkplug B: ``spBv1.0/{group}/{type}/{edge}`` and ``spBv1.0/{group}/{type}/{edge}/{device}``."""

from functools import lru_cache
from typing import NamedTuple

#: First level of all topics.
NAMESPACE = "spBv1.0"
#: Types of messages that carry telemetry, and whether they are of a device of the edge node.
TYPES = {"NBIRTH": False, "NDATA": False, "NDEATH": False, "DBIRTH": True, "DDATA": True, "DDEATH": True}


class SparkplugTopic(NamedTuple):
    """A topic.

    Attributes:
        group, edge: name the edge node.
        type: of the message.
        device: its device; empty where the message is of the edge node itself.
    """

    group: str
    type: str
    edge: str
    device: str

    @staticmethod
    @lru_cache(maxsize=4096)
    def parse(topic: str) -> "SparkplugTopic | None":
        """The parts of a topic; None where it is none of telemetry, such as one of a command.

        >>> SparkplugTopic.parse("spBv1.0/hall/DDATA/gw/pump")
        SparkplugTopic(group='hall', type='DDATA', edge='gw', device='pump')
        """
        levels = topic.split("/")
        if not 4 <= len(levels) <= 5 or levels[0] != NAMESPACE or not all(levels):
            return None
        _, group, type_, edge = levels[:4]
        device = levels[4] if len(levels) == 5 else ""
        if TYPES.get(type_) is not bool(device):
            return None
        return SparkplugTopic(group, type_, edge, device)
