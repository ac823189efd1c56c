"""Sparkplug B: its payloads, and what has to be remembered of edge nodes to read them."""

from rarefault.runtime.telemetry.sparkplug.nodes import Node, Nodes, NodeState
from rarefault.runtime.telemetry.sparkplug.payload import Metric, Payload, read_payload
from rarefault.runtime.telemetry.sparkplug.topics import NAMESPACE, SparkplugTopic

__all__ = ["NAMESPACE", "Metric", "Node", "NodeState", "Nodes", "Payload", "SparkplugTopic", "read_payload"]
