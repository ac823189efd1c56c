"""Evaluation on the served path: the history goes through the same pipeline as live telemetry."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.engine import Step
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.inference.pipeline import Pipeline, Verdicts, joined
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.evaluation.coverage import coverages, mean_by_event
from rarefault.train.evaluation.event_scores import JudgedEvents, score_events
from rarefault.train.evaluation.metrics import JudgedWindows, Scores, score_windows
from rarefault.train.history import History, label_bins
from rarefault.train.history.channel_specs import with_specs
from rarefault.train.parallel.cluster import run_all


@dataclass(frozen=True)
class Evaluation:
    """Verdicts on a history and what they are worth.

    Attributes:
        history: what was evaluated; device slots of the verdicts are indices into its devices.
        label: class of each verdict's window in the MODEL's classes, -1 where nobody knows it, [W].
        verdicts: of the pipeline.
        scores: of the verdicts whose windows have a label.
    """

    history: History
    label: Int64
    verdicts: Verdicts
    scores: Scores

    @property
    def labelled(self) -> Bool:
        """Which verdicts are scored, [W]."""
        return self.label >= 0


#: Samples that are pushed at once where alarms are explained: the carried states of their windows are kept meanwhile.
EXPLAINED_AT_ONCE = 50_000


#: Samples that are judged together; a group of devices has no more, or is one device.
GROUP_SAMPLES = 500_000


@dataclass(frozen=True)
class Cluster:
    """Where groups of devices are judged side by side.

    Attributes:
        address, cpus: see :func:`rarefault.train.parallel.cluster.run_all`.
        load_step: gives a worker the model's step; a function of a module, or a partial of one.
    """

    address: str
    load_step: Callable[[], Step]
    cpus: int | None = None


@dataclass(frozen=True)
class _Group:
    """What a worker needs to judge some devices."""

    history: History
    manifest: Manifest
    load_step: Callable[[], Step]
    model_id: str
    explained: bool


def device_groups(history: History, most: int) -> list[Int64]:
    """Slots of devices that are judged together, in order; they do not depend on who judges them."""
    counts = np.bincount(history.device, minlength=len(history.devices))
    groups: list[list[int]] = [[]]
    samples = 0
    for slot, n in enumerate(counts.tolist()):
        if groups[-1] and samples + n > most:
            groups.append([])
            samples = 0
        groups[-1].append(slot)
        samples += n
    return [np.array(group, np.int64) for group in groups]


def run_groups(
    history: History,
    manifest: Manifest,
    step: Step,
    model_id: str,
    *,
    explained: bool = False,
    cluster: Cluster | None = None,
) -> Verdicts:
    """As :func:`run_pipeline`, one group of devices after the other or on a cluster: memory is that of a group."""
    parts = [history.select(np.isin(history.device, group)) for group in device_groups(history, GROUP_SAMPLES)]
    if len(parts) == 1 and cluster is None:
        return run_pipeline(history, manifest, step, model_id, explained=explained)
    if cluster is None:
        found = [run_pipeline(part, manifest, step, model_id, explained=explained) for part in parts]
    else:
        tasks = [_Group(part, manifest, cluster.load_step, model_id, explained) for part in parts]
        done = dict(run_all(_run_group, tasks, cluster.address, cluster.cpus))
        found = [done[number] for number in range(len(tasks))]
    return joined(found)


def _run_group(group: _Group) -> Verdicts:
    return run_pipeline(group.history, group.manifest, group.load_step(), group.model_id, explained=group.explained)


def run_pipeline(
    history: History, manifest: Manifest, step: Step, model_id: str, *, explained: bool = False
) -> Verdicts:
    """Push a whole history through the served path; ``explained``: alarms name the channels that moved them.

    Raises:
        HistoryError: the history lacks channels of the model.
    """
    # The history is in the units of its channels already, and lacks what stands for no value.
    history = with_specs(history, manifest.channel_specs, manifest.missing)
    manifest = msgspec.structs.replace(manifest, channel_specs={}, missing=())
    extra = sorted(set(history.channels) - set(manifest.channels))
    missing = [name for name in manifest.channels if name not in history.channels]
    if missing:
        beside = f"; it has others that the model does not know: {', '.join(extra[:5])}" if extra else ""
        raise HistoryError(
            f"the history lacks {len(missing)} channel(s) of model {manifest.name!r}: {', '.join(missing[:10])}{beside}"
        )
    place = {name: i for i, name in enumerate(history.channels)}
    columns = np.asarray([place[name] for name in manifest.channels])
    pipeline = Pipeline(manifest, step, model_id)
    slots = np.asarray([pipeline.slot(name) for name in history.devices])
    values = history.values if list(columns) == list(range(len(place))) else history.values[:, columns]
    if not explained:
        return pipeline.push(slots[history.device], history.time_ms, values)
    parts = [
        pipeline.push(slots[history.device[part]], history.time_ms[part], values[part], explained=True)
        for part in (slice(at, at + EXPLAINED_AT_ONCE) for at in range(0, max(len(history), 1), EXPLAINED_AT_ONCE))
    ]
    return parts[0] if len(parts) == 1 else joined(parts)


def evaluate(
    history: History,
    manifest: Manifest,
    step: Step,
    model_id: str,
    *,
    explained: bool = False,
    cluster: Cluster | None = None,
) -> Evaluation:
    """Verdicts and scores of a history.

    Args:
        history: a part of a split, or any other.
        manifest, step, model_id: of the model; see :class:`rarefault.runtime.inference.pipeline.Pipeline`.
        explained: whether alarms of faults are to name the channels that moved them, as the report shows.
        cluster: where to judge; in this process by default.

    Raises:
        HistoryError: it lacks channels, holds faults that the model does not know, or gives no window.
    """
    if unknown := [name for name in history.classes if name not in manifest.classes]:
        raise HistoryError(
            f"the history has faults that model {manifest.name!r} does not know: {', '.join(unknown)}; "
            f"it knows {', '.join(manifest.classes[1:])}"
        )
    verdicts = run_groups(history, manifest, step, model_id, explained=explained, cluster=cluster)
    if not len(verdicts):
        raise HistoryError(
            f"the history gives no window: model {manifest.name!r} needs {manifest.window.length} bins of "
            f"{manifest.grid.period_s:g} s without a gap over {manifest.grid.max_gap_s:g} s"
        )
    own = label_bins(history, verdicts.device, manifest.grid.bin_of(verdicts.end_ms) - 1, manifest.grid)
    to_model = np.asarray([manifest.classes.index(name) for name in history.classes])
    label = np.where(own >= 0, to_model[own], own)
    if not (label >= 0).any():
        raise HistoryError("no window of the history has a label: all of its time is 'unlabelled' in the events")
    in_model_classes = _with_classes(history, to_model, manifest.classes)
    return Evaluation(in_model_classes, label, verdicts, _scores(in_model_classes, label, verdicts, manifest))


def _scores(history: History, label: Int64, verdicts: Verdicts, manifest: Manifest) -> Scores:
    """Scores of the verdicts whose windows have a label."""
    known, classes = label >= 0, manifest.classes
    fault, end_ms = verdicts.fault[known], verdicts.end_ms[known]
    scores = score_windows(JudgedWindows(label[known], fault, verdicts.posterior[known], classes))
    events = JudgedEvents(
        history,
        verdicts.device[known],
        end_ms,
        label[known],
        fault,
        verdicts.alarms,
        manifest.grid,
        manifest.window.stride,
    )
    scores = score_events(scores, events)
    event = event_of(verdicts.device.astype(np.int64), verdicts.fresh, label)
    if manifest.decision.has_far:
        far = Decision(manifest.decision).far(verdicts.opinions)
        scores = msgspec.structs.replace(scores, far_share=mean_by_event(far[known], event[known]))
    if not manifest.decision.coverage:
        return scores
    thresholds = np.asarray(manifest.decision.conformal_thresholds)
    found = coverages(verdicts.posterior, label, event, thresholds, classes)
    return msgspec.structs.replace(scores, coverage=found)


def _with_classes(history: History, to_model: Int64, classes: tuple[str, ...]) -> History:
    """The history with its events in the model's classes."""
    events = replace(history.events, fault=to_model[history.events.fault].astype(np.int32))
    return replace(history, classes=classes, events=events)
