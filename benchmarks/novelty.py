"""A fault that training has never seen: which score tells it from what is known, and what is predicted of it.

Needs ``RAREFAULT_DATA`` with ``phm2015/plant_31*.csv`` and ``tep/d*.dat``. Of each fault in turn, all windows are taken
out of the training and validation parts (as time that is unlabelled); a model is trained as shipped, but decided on the
validation blocks alone, and judges the test windows, where the fault is still.

Three scores are compared: ``posterior``, one minus the largest posterior; ``sets``, how far all posteriors are below
their conformal thresholds, which is what prediction sets go by; ``distance``, that of the network's layers beside from
all classes. ``auroc`` is the area under the ROC curve of windows of the new fault against those of all other classes,
each event counting as one. ``flagged`` is the share of an event's windows beyond the threshold that ``far_share`` of a
validation event's windows exceed, mean over the events; ``flagged_elsewhere`` is that of the events of other classes.
``events_met`` and ``false_per_day`` are of ``unknown`` alarms, with ``BUDGET`` of them allowed per device and day of
held-out time: by prediction sets alone, and by sets and distance together, as shipped.

Writes ``benchmarks/results/novelty.json``: ``commit``, ``machine``, ``far_share`` and rows of ``{data, fold, fault,
windows, events, normal, another_fault, events_alarmed, scores, alarms}``.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from benchmarks.harness.machine import RESULTS, data_folder, origin
from benchmarks.quality.methods import ONCE
from benchmarks.quality.protocol import PROBLEMS, Fold, make_fold
from sklearn.metrics import roc_auc_score

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec
from rarefault.train.calibration.conformal import fit_conformal_thresholds
from rarefault.train.calibration.cross_fit import HeldOut
from rarefault.train.calibration.decision_fit import fit_decision
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.dataset.unit_labels import units_spec
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.evaluation.coverage import mean_by_event
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.network import fit
from rarefault.train.fitting.new_model import new_network
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.model.experts import Experts

#: ``unknown`` alarms per device and day that the decision may raise in held-out time.
BUDGET = 0.05
#: Faults held out: of plant 31 all with 20 test windows, and the rarest; of Tennessee Eastman some of each kind (steps,
#: random variation, a slow drift, a sticking valve).
HELD_OUT = {
    "plant31-day": ("fault_1", "fault_2", "fault_3", "fault_4", "fault_6"),
    "tep-runs": ("fault_01", "fault_04", "fault_07", "fault_08", "fault_13", "fault_14"),
}
#: Scores that are compared.
SCORES = ("posterior", "sets", "distance")


def main() -> int:
    """Train without each fault, print and write what is predicted of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "novelty.json")
    parser.add_argument("--data", choices=HELD_OUT, nargs="+", default=list(HELD_OUT), help="problems (default: all)")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="folds of plant 31 (default: the first)")
    args = parser.parse_args()
    folder = data_folder()
    torch.set_num_threads(1)
    rows, about, share = [], origin(), 0.0  # of the code as it is loaded
    for problem in args.data:
        for number in args.folds[: PROBLEMS[problem].folds]:
            # Cross-fitting and learning again would cut windows from the history, which still names the fault.
            fold = make_fold(PROBLEMS[problem], number, folder, ONCE)
            share = fold.config.decision.far_share
            for name in HELD_OUT[problem]:
                row = {"data": problem, "fold": number, "fault": name}
                row |= judge_without(fold, fold.history.classes.index(name))
                rows.append(row)
                print(_line(row), flush=True)
    args.out.write_text(as_lines({"far_share": share, "rows": rows, **about}), encoding="utf-8")
    return 0


def as_lines(result: dict[str, Any]) -> str:
    """The result as JSON, one line for each row.

    >>> print(as_lines({"far_share": 0.05, "rows": [{"fault": "a"}, {"fault": "b"}]}), end="")
    {"rows": [
    {"fault": "a"},
    {"fault": "b"}
    ], "far_share": 0.05}
    """
    rows = ",\n".join(json.dumps(row) for row in result["rows"])
    rest = json.dumps({key: value for key, value in result.items() if key != "rows"})
    return f'{{"rows": [\n{rows}\n], {rest[1:]}\n'


def _line(row: dict[str, Any]) -> str:
    of = "  ".join(
        f"{name} {score['auroc']:.2f} ({score['flagged']:.2f}, elsewhere {score['flagged_elsewhere']:.2f})"
        for name, score in row["scores"].items()
    )
    met = ", ".join(f"{name} {alarms['events_met']}" for name, alarms in row["alarms"].items())
    return f"{row['data']:12} {row['fold']} {row['fault']:9} {row['events']:3} events  {of}; met: {met}"


def without_fault(fold: Fold, fault: int) -> Fold:
    """A fold whose training and validation windows of a fault are unlabelled."""
    parts = {part: windows if part == "test" else _hidden(windows, fault) for part, windows in fold.parts.items()}
    return replace(fold, parts=parts)


def _hidden(windows: LabelledWindows, fault: int) -> LabelledWindows:
    """Windows of which those of a fault have no label, neither at the device nor at units."""
    units = windows.at_units
    if units is not None:
        kept = [j for j, known in enumerate(units.faults) if known != fault]
        faults = tuple(units.faults[j] for j in kept)
        units = replace(units, faults=faults, active=units.active[:, :, kept], known=units.known[:, kept])
    return replace(windows, label=np.where(windows.label == fault, -1, windows.label), at_units=units)


def judge_without(fold: Fold, fault: int) -> dict[str, Any]:
    """Train without a fault and judge the test windows."""
    label = fold.parts["test"].label
    held, test, spec = _trained(without_fault(fold, fault))
    allowed = msgspec.structs.replace(fold.config.decision, unknown_per_device_day=BUDGET)
    shipped = fit_decision(held.opinions, held.windows, spec, allowed).spec
    no_distance = msgspec.structs.replace(allowed, far_share=0.0)
    sets_alone = fit_decision(held.opinions, held.windows, spec, no_distance).spec
    windows = test.windows
    event = event_of(windows.device, windows.fresh, label)
    posterior, new = _posterior(shipped, test), label == fault
    verdict = Decision(shipped).verdict(Decision(shipped).score(posterior))
    return {
        "windows": int(new.sum()),
        "events": len(np.unique(event[new])),
        "normal": float((verdict[new] == 0).mean()),
        "another_fault": float((verdict[new] > 0).mean()),
        "scores": {name: _told_apart(name, shipped, held, test, fault, allowed.far_share) for name in SCORES},
        **_alarms({"sets": sets_alone, "distance": shipped}, test, fault),
    }


def _trained(fold: Fold) -> tuple[HeldOut, HeldOut, DecisionSpec]:
    """Validation and test windows with the opinions of a model, and how they are pooled."""
    config, train, history = fold.config, fold.parts["train"], fold.history
    units = channels_of_units(config.trees.units, config.data, history.channels)
    at_units = units_spec(train.at_units, train.labelled, units, history.channels)
    prior = class_frequencies(train.label, fold.n_classes)
    torch.manual_seed(0)
    network = new_network(config, history, train, at_units)
    assert network is not None
    fit(network, train, config, prior)
    trees = grow_trees(train, prior, config.trees, config.training.seed, 1, units, at_units)
    model = Experts(network, trees).eval()
    held, test = (HeldOut.of(model, fold.parts[part], history, config) for part in ("validation", "test"))
    return held, test, held.weighed(prior, at_units, filtered=config.decision.filter)


def _posterior(spec: DecisionSpec, of: HeldOut) -> Float64:
    decision = Decision(spec)
    return decision.posterior(decision.evidence(of.windows.device, of.windows.fresh, of.opinions))


def _most_within(decision: Decision, posterior: Float64) -> Float64:
    """The largest posterior in terms of its conformal threshold, [W]; below 1 where the prediction set is empty."""
    thresholds = np.asarray(decision.spec.conformal_thresholds)
    has = thresholds > 0
    return np.asarray((posterior[:, has] / thresholds[has]).max(axis=1)) if has.any() else np.ones(len(posterior))


def _score(name: str, spec: DecisionSpec, of: HeldOut) -> Float64:
    """A score of windows, the larger the less they look like what is known, [W]."""
    if name == "posterior":
        return np.asarray(1 - _posterior(spec, of).max(axis=1))
    if name == "sets":
        return -_most_within(Decision(spec), _posterior(spec, of))
    distance = Decision(spec).distance(of.opinions)
    assert distance is not None
    return distance


def _told_apart(
    name: str, spec: DecisionSpec, held: HeldOut, test: HeldOut, fault: int, share: float
) -> dict[str, float]:
    """How well a score tells a new fault from what is known, at any threshold and at that of the held-out windows."""
    before, found = _score(name, spec, held), _score(name, spec, test)
    known, event = held.windows.label >= 0, _events(held.windows)
    zeros = np.zeros(int(known.sum()), np.int64)
    lowest, _ = fit_conformal_thresholds(-before[known][:, None], zeros, event[known], 1 - share)
    label, event = test.windows.label, _events(test.windows)
    new, others = label == fault, (label >= 0) & (label != fault)
    either = new | others
    _, number, size = np.unique(event[either], return_inverse=True, return_counts=True)
    flagged: Bool = found > -lowest[0]
    return {
        "auroc": float(roc_auc_score(new[either], found[either], sample_weight=1 / size[number])),
        "flagged": mean_by_event(flagged[new], event[new]),
        "flagged_elsewhere": mean_by_event(flagged[others], event[others]),
    }


def _events(windows: HeldOutWindows) -> Int64:
    return event_of(windows.device, windows.fresh, windows.label)


def _alarms(specs: dict[str, DecisionSpec], test: HeldOut, fault: int) -> dict[str, Any]:
    """Of the new fault's events those that any alarm meets, and those that ``unknown`` meets by each decision."""
    windows = test.windows
    event, label = _events(windows), windows.label
    found: dict[str, Any] = {"events_alarmed": 0, "alarms": {}}
    for name, spec in specs.items():
        posterior, thresholds = _posterior(spec, test), np.asarray([spec.thresholds])
        trial = windows.trial(spec, posterior, Decision(spec).far(test.opinions))
        (states,), (counts,) = trial.states(thresholds), trial.count(thresholds)
        standing = np.zeros(len(label), np.int64)
        keys = zip(windows.device.tolist(), windows.end_ms.tolist(), strict=True)
        place = dict(zip(keys, range(len(label)), strict=True))
        at = [place[key] for key in zip(states.device.tolist(), states.end_ms.tolist(), strict=True)]
        standing[at] = states.state - np.r_[0, states.state[:-1]]
        state = np.cumsum(standing)
        mine = [state[event == number] for number in np.unique(event[label == fault]).tolist()]
        met = sum(bool((of == len(spec.thresholds)).any()) for of in mine)
        found["events_alarmed"] = sum(bool((of > 0).any()) for of in mine)
        found["alarms"][name] = {
            "unknown_windows": spec.unknown_windows,
            "events_met": met,
            "false_per_day": max(counts.unknown - met, 0) / windows.device_days,
        }
    return found


if __name__ == "__main__":
    sys.exit(main())
