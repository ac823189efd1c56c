"""Sparkplug B as a sink: the daemon is an edge node, whose devices are the machines that it watches."""

from rarefault.runtime.daemon.publishing.sparkplug.sink import SparkplugSink

__all__ = ["SparkplugSink"]
