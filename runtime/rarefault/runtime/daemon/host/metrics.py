"""Pages for machines: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz`` for whoever restarts and routes.

Metrics are read from the daemon's parts when the page is read, so that counting costs nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import CollectorRegistry, Histogram, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rarefault.runtime import __version__
from rarefault.runtime.daemon.config import MetricsConfig
from rarefault.runtime.daemon.host.problems import Problem
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.inference.model_file import LoadedModel

#: Seconds; from a single verdict to a large backlog.
SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
#: How long a request may take; the page is small.
REQUEST_S = 5.0

#: A number, or numbers by the value of one label, or of two.
Numbers = float | dict[str, int] | dict[tuple[str, str], int]

HELP = {
    "rarefault_connected": "Whether the broker has accepted the connection.",
    "rarefault_connections_total": "Connections that the broker accepted.",
    "rarefault_sessions_lost_total": "Times that the broker no longer had the daemon's session.",
    "rarefault_messages_total": "Telemetry messages received.",
    "rarefault_messages_dropped_total": "Telemetry of QoS 0 dropped because it could not be processed in time.",
    "rarefault_messages_waiting": "Telemetry messages received and not yet processed.",
    "rarefault_samples_total": "Samples read.",
    "rarefault_samples_late_total": "Samples dropped because their bin had closed.",
    "rarefault_samples_distrusted_total": "Samples dropped because their time was far ahead of the device's others.",
    "rarefault_values_missing_total": "Values taken as missing: the model lists their number as 'no value'.",
    "rarefault_values_dropped_total": "Values of samples taken as missing, by channel and reason.",
    "rarefault_ignored_total": "Messages that are no telemetry, by reason.",
    "rarefault_rejected_total": "Messages and samples rejected, by reason.",
    "rarefault_unknown_channels_total": "Values of channels that the model does not have, ignored.",
    "rarefault_edge_nodes": "Edge nodes of Sparkplug that are alive.",
    "rarefault_sparkplug_gaps_total": "Gaps in the numbers of messages of edge nodes.",
    "rarefault_sparkplug_rebirths_total": "Requests to edge nodes to be born again.",
    "rarefault_feedback_total": "Answers of people to alarms.",
    "rarefault_devices": "Devices seen and not forgotten.",
    "rarefault_devices_silent": "Devices without telemetry for telemetry.silent_after_s.",
    "rarefault_devices_muted": "Devices whose samples have all been late for a while.",
    "rarefault_device_restarts_total": "Devices that started again at their present time, as all samples were late.",
    "rarefault_clock_steps_total": "Times that this machine's clock was set by two seconds or more.",
    "rarefault_verdicts_total": "Verdicts, by fault.",
    "rarefault_alarm_changes_total": "Alarm state changes, by new state.",
    "rarefault_outbox_messages": "Verdicts and alarms that wait for the broker's confirmation.",
    "rarefault_outbox_dropped_total": "Verdicts dropped because the outbox was full.",
    "rarefault_refused_total": "Verdicts and alarms that the broker refused.",
    "rarefault_journal_bytes": "Size of the journal on disk.",
    "rarefault_journal_failures_total": "Turns that could not be written to the journal.",
    "rarefault_journal_damaged_total": "Damaged journals that were put aside.",
    "rarefault_reloads_total": "Reloads of model and configuration, by outcome.",
    "rarefault_sink_messages": "Verdicts and alarms that wait for a [[sink]], by its path.",
    "rarefault_sink_dropped_total": "Verdicts given up because the outbox of a [[sink]] was full.",
    "rarefault_sink_written_total": "Lines written by a [[sink]].",
    "rarefault_sink_failures_total": "How often a [[sink]] could not write.",
    "rarefault_sink_ready": "Whether a [[sink]] can write.",
}
LABELS: dict[str, tuple[str, ...]] = {
    "rarefault_values_dropped_total": ("channel", "reason"),
    "rarefault_rejected_total": ("reason",),
    "rarefault_ignored_total": ("reason",),
    "rarefault_verdicts_total": ("fault",),
    "rarefault_alarm_changes_total": ("state",),
    "rarefault_reloads_total": ("outcome",),
    "rarefault_sink_messages": ("sink",),
    "rarefault_sink_dropped_total": ("sink",),
    "rarefault_sink_written_total": ("sink",),
    "rarefault_sink_failures_total": ("sink",),
    "rarefault_sink_ready": ("sink",),
}


class Counts(Collector):
    """Turns plain numbers into metrics at every request.

    Args:
        read: gives the present numbers by name: counters end in ``_total``, the rest are gauges. Values are a
            number, or a dict from the value of the metric's label to a number.
        model: gives the present model.
    """

    def __init__(self, read: "Callable[[], dict[str, Numbers]]", model: Callable[[], LoadedModel]) -> None:
        self._read = read
        self._model = model

    def collect(self) -> Iterator[Metric]:
        """All metrics with their present values."""
        info = GaugeMetricFamily("rarefault_info", "Version and model.", labels=("version", "model", "precision"))
        model = self._model()
        info.add_metric((__version__, model.model_id, model.manifest.precision), 1)
        yield info
        for name, value in self._read().items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            text = HELP[name]
            if isinstance(value, dict):
                metric = family(name, text, labels=LABELS[name])
                for label, number in value.items():
                    metric.add_metric((label,) if isinstance(label, str) else label, number)
                yield metric
            else:
                yield family(name, text, value=value)


class _Server(ThreadingMixIn, WSGIServer):
    """One thread for each request, so that a slow reader holds up nobody."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is that of the base
        """Log nothing: a request every few seconds is no news."""


class MetricsPage:
    """The pages of ``http://host:port``; nothing is opened where the port is 0.

    Args:
        config: where.
        counts: what ``/metrics`` shows.
        health: gives what keeps the daemon from serving; a problem of its own makes ``/healthz`` fail.

    Attributes:
        turn_seconds: how long turns with telemetry take, from taking it to its acknowledgement.
        latency_seconds: time from the arrival of the turn's oldest message to its acknowledgement.
        turn_messages: messages in a turn; with a journal also in a transaction.
        turn_verdicts: verdicts of a turn that has some.
    """

    def __init__(self, config: MetricsConfig, counts: Counts, health: Callable[[], list[Problem]]) -> None:
        self._config = config
        self._health = health
        # A registry of its own: the global one would outlive the daemon, and show other things of the process.
        self._registry = CollectorRegistry()
        self._registry.register(counts)
        self.turn_seconds = self._histogram(
            "rarefault_turn_seconds",
            "Time of one turn: decoding, grid, model, decision, journal, publishing, acknowledging.",
            SECONDS_BUCKETS,
        )
        self.latency_seconds = self._histogram(
            "rarefault_latency_seconds",
            "Time from the arrival of telemetry until its verdicts are on their way and it is acknowledged.",
            SECONDS_BUCKETS,
        )
        self.turn_messages = self._histogram("rarefault_turn_messages", "Messages in one turn.", BATCH_BUCKETS)
        self.turn_verdicts = self._histogram(
            "rarefault_turn_verdicts", "Verdicts in one turn that has any: the model's batch.", BATCH_BUCKETS
        )
        self._metrics = make_wsgi_app(self._registry)
        self._running: tuple[WSGIServer, Thread] | None = None

    def observe_turn(self, messages: int, took_s: float, latency_s: float) -> None:
        """A turn with telemetry is over, whose oldest message came ``latency_s`` ago."""
        self.turn_messages.observe(messages)
        self.turn_seconds.observe(took_s)
        self.latency_seconds.observe(latency_s)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self._registry)

    def open(self, source: str) -> None:
        """Serve the pages from a thread of their own. ConfigError of ``source`` where the port cannot be had."""
        if self._config.port == 0:
            return
        host, port = self._config.host, self._config.port
        try:
            server = make_server(host, port, self._serve, server_class=_Server, handler_class=_Handler)
        except OSError as error:
            raise ConfigError(source, [f"metrics.port: cannot serve on {host}:{port}: {error.strerror}"]) from None
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        self._running = server, thread

    def close(self) -> None:
        """Stop serving."""
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()
            self._running = None

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path in ("/metrics", "/"):
            page: Iterable[bytes] = self._metrics(environ, start_response)
            return page
        if path not in ("/healthz", "/readyz"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there is /metrics, /healthz and /readyz\n"]
        found = [problem for problem in self._health() if problem.sick or path == "/readyz"]
        well = all(problem.past for problem in found)
        start_response("200 OK" if well else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [msgspec.json.encode({"ok": well, "problems": [problem.text for problem in found]}) + b"\n"]
