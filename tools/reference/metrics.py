"""The page of the daemon's metrics, read from a running daemon."""

import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tools.reference import sources
from tools.reference.example import model_bytes
from tools.reference.structs import table

#: How long the daemon may take to serve its pages, seconds; it takes one, on a machine that is not busy.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Metric:
    """One metric as it is exposed.

    Attributes:
        name: with the ending ``_total`` for a counter; a histogram without ``_bucket``, ``_sum`` and ``_count``.
        kind: of Prometheus.
        labels: names.
        help: as exposed.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def page() -> str:
    """``metrics.md``."""
    texts = observe()
    lines = [
        (f"`{m.name}`", m.kind, ", ".join(f"`{label}`" for label in m.labels) or "-", m.help)
        for m in metrics(texts["/metrics"])
    ]
    return f"""# Metrics and health pages

With [`metrics.port`](configuration-daemon.md) set, the daemon serves three pages over HTTP.
[Monitoring](../operations/monitoring.md) says what to alert on.

## `/metrics`

For Prometheus. Counters start at 0 with each start of the daemon. A histogram `NAME` is exposed as `NAME_bucket`,
`NAME_sum`, `NAME_count` and `NAME_created`.

{table(("metric", "type", "labels", "meaning"), lines)}

The values of `reason` are listed under [rejected telemetry](errors.md#rejected-telemetry); `fault` is a class of the
model, `state` a class, `unknown` or `no data`, `outcome` is `done` or `refused`.

## `/healthz`

Says whether to restart the daemon: status 503 if its main loop has not run for 30 seconds, else 200. A broker that is
away is no reason to restart, so it does not count here.

```json
{texts["/healthz"].strip()}
```

## `/readyz`

Says whether the daemon serves: status 200 if it does, 503 if it does not. `problems` also lists what is over but should
be known, such as a journal that was repaired; that alone leaves the status at 200. Of a daemon whose broker cannot be
reached:

```json
{texts["/readyz"].strip()}
```
"""


def metrics(text: str) -> list[Metric]:
    """What a page of metrics exposes, in its order."""
    found = []
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("rarefault_") or family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
        if not labels and not family.samples:
            labels = dict.fromkeys(sources.METRIC_LABELS[name])  # nothing counted yet
        found.append(Metric(name, family.type, tuple(labels), family.documentation))
    return found


@cache
def observe() -> dict[str, str]:
    """What each page of a real daemon shows that has no broker, by path."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pumps.onnx").write_bytes(model_bytes())
        port, nobody = _free_ports(2)
        config = Path(folder, "edge.toml")
        config.write_text(
            f'[model]\npath = "pumps.onnx"\n[broker]\nurl = "mqtt://localhost:{nobody}"\n[metrics]\nport = {port}\n'
        )
        log = Path(folder, "log")
        with log.open("wb") as stderr:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "rarefault.runtime.cli", "run", str(config)], stderr=stderr
            )
            try:
                pages = {path: _read(port, path, daemon) for path in ("/metrics", "/healthz", "/readyz")}
            except TimeoutError as error:
                raise TimeoutError(f"{error}; its log: {log.read_text(encoding='utf-8')}") from None
            finally:
                daemon.terminate()
                daemon.wait()
    return {path: text.replace(str(nobody), "1883") for path, text in pages.items()}


def _read(port: int, path: str, daemon: "subprocess.Popen[bytes]") -> str:
    """A page, as soon as it is served."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and daemon.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"the daemon does not serve {path}")


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
