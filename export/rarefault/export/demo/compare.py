"""Live verdicts against offline ones, and how long they took."""

from dataclasses import dataclass, field

import numpy as np

from rarefault.export.demo.collector import Collector
from rarefault.runtime.daemon.publishing.payloads import VerdictPayload, verdict_payloads
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.train.evaluation.evaluate import Evaluation

#: Largest difference of a probability that still counts as the same.
TOLERANCE = 1e-5


@dataclass
class Comparison:
    """What differs between what came over MQTT and what offline evaluation says.

    Attributes:
        missing: verdicts that never came.
        extra: verdicts that offline evaluation does not have.
        different: same id, other class, window or probabilities.
        first: the first difference in words, empty where there is none.
    """

    missing: int = 0
    extra: int = 0
    different: int = 0
    largest_difference: float = 0.0
    first: str = ""

    @property
    def mismatches(self) -> int:
        """All of them."""
        return self.missing + self.extra + self.different


def expected_verdicts(offline: Evaluation, model: LoadedModel) -> dict[str, VerdictPayload]:
    """What the daemon has to publish, by id, in the order of the offline verdicts."""
    names = Pipeline(model.manifest, model.step, model.model_id)
    for device in offline.history.devices:
        names.slot(device)
    return {payload.id: payload for payload in verdict_payloads(offline.verdicts, names, 0)}


def compare(collector: Collector, expected: dict[str, VerdictPayload]) -> Comparison:
    """Compare verdict by verdict: same ids, same windows and classes, probabilities within 1e-5."""
    found = Comparison()
    for id_, want in expected.items():
        got = collector.verdicts.get(id_)
        if got is None:
            found.missing += 1
            found.first = found.first or f"no verdict for {want.device} at {want.end} (offline: {want.fault})"
            continue
        difference = max(abs(got.probabilities[c] - p) for c, p in want.probabilities.items())
        found.largest_difference = max(found.largest_difference, difference)
        if (got.device, got.start, got.end, got.fault) != (want.device, want.start, want.end, want.fault) or (
            difference > TOLERANCE
        ):
            found.different += 1
            found.first = found.first or (
                f"{want.device} at {want.end}: live {got.fault}, offline {want.fault}, "
                f"probabilities differ by {difference:.2g}"
            )
    for id_ in collector.verdicts.keys() - expected.keys():
        found.extra += 1
        extra = collector.verdicts[id_]
        found.first = found.first or f"a verdict for {extra.device} at {extra.end} that offline evaluation lacks"
    found.different += len(set(collector.contradicting))
    return found


@dataclass
class SentTimes:
    """When each message went out, by device slot; what the latency of a verdict is counted from."""

    manifest: Manifest
    time_ms: dict[int, list[int]] = field(default_factory=dict)
    sent: dict[int, list[float]] = field(default_factory=dict)

    def note(self, device: int, time_ms: int, now: float) -> None:
        """One message goes out."""
        self.time_ms.setdefault(device, []).append(time_ms)
        self.sent.setdefault(device, []).append(now)

    def latencies_ms(self, collector: Collector, offline: Evaluation, ids: list[str]) -> list[float]:
        """From the message that closes a window's last bin to the arrival of its verdict."""
        grid = self.manifest.grid
        found = []
        for i, id_ in enumerate(ids):
            slot = int(offline.verdicts.device[i])
            closes_ms = int(offline.verdicts.end_ms[i]) + grid.lateness_ms
            at = int(np.searchsorted(self.time_ms[slot], closes_ms))
            if id_ in collector.arrived and at < len(self.sent[slot]):
                found.append(1000 * (collector.arrived[id_] - self.sent[slot][at]))
        return found
