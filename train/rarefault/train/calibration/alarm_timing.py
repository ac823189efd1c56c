"""When an alarm is raised and cleared: the score, the delays, and when doubts are an alarm.

The history's shortest events set the bounds: no delay may be longer than half of them, and no pause that
is longer than they are is bridged. Within those, score and delays are taken that come nearest to one alarm for each
event::

    2 * events seen / (events + alarms raised)

so that an alarm that comes and goes during one event costs as much as one that is false.

Why: decision 0030.
"""

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.config import DecisionConfig
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.evaluation.alarms import AlarmCounts

#: Scores that are tried, and the part of them below which an alarm is cleared.
RAISE, HYSTERESIS = (0.5, 0.6, 0.7, 0.8), 0.6
#: The shortest events of a fault: this share of them is shorter.
SHORTEST = 0.1
#: A higher score, or a longer delay, must gain so much, or it only keeps people waiting.
MIN_GAIN = 0.002


def fit_timing(
    spec: DecisionSpec,
    posterior: Float64,
    config: DecisionConfig,
    windows: HeldOutWindows,
    far: Bool | None = None,
) -> DecisionSpec:
    """The decision with delays, and with the number of windows that make an alarm of doubts.

    Args:
        spec: its thresholds are fitted.
        posterior: of the held-out windows, [W, K].
        config: which delays are to be found.
        windows: the held-out windows.
        far: which of them are far from all classes; None: where no distance was measured, [W].
    """
    span_s, shortest = windows.span_ms / 1000, shortest_event(windows)

    def nearest(settings: list[dict[str, float]]) -> DecisionSpec:
        specs = [msgspec.structs.replace(spec, **changes) for changes in settings]
        return _best(specs, [_one_alarm_each(changed, posterior, windows) for changed in specs])

    spec = nearest(_thresholds(config))
    off, on = config.off_delay_s, config.on_delay_s
    spec = nearest([{"off_delay_s": value} for value in (_delays(shortest, span_s) if off == "auto" else [off])])
    spec = nearest([{"on_delay_s": value} for value in (_delays(shortest // 2, span_s) if on == "auto" else [on])])
    if config.unknown_per_device_day:
        row = _windows_to_unknown(spec, posterior, config, windows, far)
        spec = msgspec.structs.replace(spec, unknown_windows=row)
    return spec


def _thresholds(config: DecisionConfig) -> list[dict[str, float]]:
    """Scores to raise and to clear at."""
    cleared, raised = config.clear_threshold, config.raise_threshold
    pairs = [
        (score, HYSTERESIS * score if cleared == "auto" else cleared)
        for score in (RAISE if raised == "auto" else [raised])
    ]
    # A given score to clear at may lie above some that are tried.
    pairs = [(max(score, clear), clear) for score, clear in pairs]
    return [{"raise_threshold": score, "clear_threshold": clear} for score, clear in dict.fromkeys(pairs)]


def _delays(longest: int, span_s: float) -> list[float]:
    """None, and doubling numbers of windows, in seconds."""
    return [0.0] + [2**power * span_s for power in range(longest.bit_length())]


def shortest_event(windows: HeldOutWindows) -> int:
    """Number of windows in the shortest events of the fault that has the shortest ones; 0 where there are no events."""
    event = event_of(windows.device, windows.fresh, windows.label)
    _, first, size = np.unique(event, return_index=True, return_counts=True)
    fault = windows.label[first]
    lengths = [np.quantile(size[fault == c], SHORTEST, method="lower") for c in np.unique(fault[fault > 0]).tolist()]
    return int(min(lengths, default=0))


def _one_alarm_each(spec: DecisionSpec, posterior: Float64, windows: HeldOutWindows) -> float:
    (counts,) = windows.trial(spec, posterior).count(np.asarray([spec.thresholds]))
    return one_alarm_each(counts)


def one_alarm_each(counts: AlarmCounts) -> float:
    """How near the alarms are to one for each event; 0 where there is neither."""
    return 2 * counts.seen / max(counts.events + counts.true + counts.false, 1)


def _best(settings: list[DecisionSpec], scores: list[float]) -> DecisionSpec:
    """The first setting that is within ``MIN_GAIN`` of the best."""
    return settings[next(i for i, score in enumerate(scores) if score >= max(scores) - MIN_GAIN)]


def _windows_to_unknown(
    spec: DecisionSpec, posterior: Float64, config: DecisionConfig, windows: HeldOutWindows, far: Bool | None
) -> int:
    """Windows in a row that fit no class and so raise ``unknown``, for no more alarms than are allowed."""
    decision = Decision(spec)
    strange = decision.strange(posterior, decision.verdict(decision.score(posterior)), far) & (windows.label >= 0)
    runs = run_lengths(strange, windows)
    allowed = int(config.unknown_per_device_day * windows.device_days)
    longest = np.sort(runs)[::-1]
    return int(longest[allowed]) + 1 if allowed < len(longest) else 1


def run_lengths(strange: Bool, windows: HeldOutWindows) -> Int64:
    """Lengths of the runs of such windows, each of one device without a gap."""
    run = event_of(windows.device, windows.fresh, strange.astype(np.int64))
    return np.bincount(run[strange])[np.unique(run[strange])] if strange.any() else np.empty(0, np.int64)
