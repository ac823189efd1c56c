"""Metrics for Prometheus: read from the daemon's parts when they are asked for, so that counting costs nothing."""

from collections.abc import Callable, Iterator
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rarefault.runtime import __version__
from rarefault.runtime.daemon.config import MetricsConfig
from rarefault.runtime.errors import ConfigError

#: Seconds; from a single verdict to a large backlog.
TURN_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Counts(Collector):
    """Turns plain numbers into metrics at every request.

    Args:
        read: gives the present numbers by name: counters end in ``_total``, the rest are gauges. Values may be a
            number, or a dict from the value of the label ``by`` to a number.
        model: id of the model.
    """

    def __init__(self, read: "Callable[[], dict[str, float | dict[str, int]]]", model: str) -> None:
        self._read = read
        self._model = model

    def collect(self) -> Iterator[Metric]:
        """All metrics with their present values."""
        info = GaugeMetricFamily("rarefault_info", "Version and model.", labels=("version", "model"))
        info.add_metric((__version__, self._model), 1)
        yield info
        for name, value in self._read().items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            text = HELP[name]
            if isinstance(value, dict):
                metric = family(name, text, labels=(LABELS[name],))
                for label, number in value.items():
                    metric.add_metric((label,), number)
                yield metric
            else:
                yield family(name, text, value=value)


HELP = {
    "rarefault_connected": "Whether the broker has accepted the connection.",
    "rarefault_connections_total": "Connections that the broker accepted.",
    "rarefault_messages_total": "Telemetry messages received.",
    "rarefault_messages_dropped_total": "Telemetry of QoS 0 dropped because it could not be processed in time.",
    "rarefault_samples_total": "Samples read.",
    "rarefault_samples_late_total": "Samples dropped because their bin had closed.",
    "rarefault_rejected_total": "Messages and samples rejected, by reason.",
    "rarefault_unknown_channels_total": "Values of channels that the model does not have, ignored.",
    "rarefault_devices": "Devices seen.",
    "rarefault_verdicts_total": "Verdicts, by fault.",
    "rarefault_alarm_changes_total": "Changes of alarm states, by new state.",
    "rarefault_outbox_messages": "Verdicts and alarms that wait for the broker's confirmation.",
    "rarefault_outbox_dropped_total": "Verdicts given up because the outbox was full.",
    "rarefault_refused_total": "Verdicts and alarms that the broker refused.",
    "rarefault_journal_failures_total": "Turns that the journal could not keep.",
}
LABELS = {
    "rarefault_rejected_total": "reason",
    "rarefault_verdicts_total": "fault",
    "rarefault_alarm_changes_total": "state",
}


class MetricsPage:
    """The page ``http://host:port/metrics``; nothing is opened where the port is 0.

    Attributes:
        turn_seconds: how long the turns of the daemon take that had telemetry, from its arrival to its acknowledgement.
    """

    def __init__(self, config: MetricsConfig, counts: Counts) -> None:
        self._config = config
        # A registry of its own: the global one would outlive the daemon, and tell of other things in the process.
        self._registry = CollectorRegistry()
        self._registry.register(counts)
        self.turn_seconds = Histogram(
            "rarefault_turn_seconds",
            "Time of one turn: decoding, grid, model, decision, publishing, acknowledging.",
            buckets=TURN_BUCKETS,
            registry=self._registry,
        )
        self._server: tuple[WSGIServer, Thread] | None = None

    def open(self, source: str) -> None:
        """Serve the page from a thread of its own. ConfigError of ``source`` where the port cannot be had."""
        if self._config.port == 0:
            return
        try:
            self._server = start_http_server(self._config.port, self._config.host, self._registry)
        except OSError as error:
            raise ConfigError(
                source, [f"metrics.port: cannot serve on {self._config.host}:{self._config.port}: {error.strerror}"]
            ) from None

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None
