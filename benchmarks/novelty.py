"""A fault that training has never seen: what is predicted of it, and how well a score tells it from what is known.

Needs ``RAREFAULT_DATA`` with ``phm2015/plant_31*.csv`` and ``tep/d*.dat``. Of each fault in turn, all windows are taken
out of the training and validation parts (as time that is unlabelled); a model is trained as shipped, but decided on the
validation blocks alone, and judges the test windows, where the fault is still. The decision
allows ``BUDGET`` ``unknown`` alarms per device and day of held-out time. Writes ``benchmarks/results/novelty.json``:
``commit``, ``machine`` and rows of ``{data, fault, windows, auroc, normal, another_fault, strange, strange_elsewhere,
unknown_windows, events, events_alarmed, events_unknown, unknown_elsewhere}``: the area under the ROC curve of one minus
the largest posterior, for windows of the new fault against all others; the shares of its windows whose verdict is
normal or another fault, and of which no class is plausible, beside that of all others; how many of those in a row
raise ``unknown``; the new fault's events, those that any alarm meets, those that ``unknown`` meets; and ``unknown``
alarms per device and day beside them.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from benchmarks.harness.machine import RESULTS, data_folder, origin, write
from benchmarks.quality.methods import ONCE
from benchmarks.quality.methods.nets import train_net
from benchmarks.quality.prediction import evidence, fitted
from benchmarks.quality.protocol import PROBLEMS, Fold, make_fold
from sklearn.metrics import roc_auc_score

from rarefault.runtime.arrays import Float64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.dataset.windows import LabelledWindows

#: ``unknown`` alarms per device and day that the decision may raise in held-out time.
BUDGET = 0.05
#: Faults held out: of plant 31 (first fold of days) all with 20 test windows, of Tennessee Eastman some of each kind
#: (steps, random variation, a slow drift, a sticking valve).
HELD_OUT = {
    "plant31-day": ("fault_1", "fault_2", "fault_3", "fault_4", "fault_6"),
    "tep-runs": ("fault_01", "fault_04", "fault_07", "fault_08", "fault_13", "fault_14"),
}


def main() -> int:
    """Train without each fault, print and write what is predicted of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "novelty.json")
    args = parser.parse_args()
    folder = data_folder()
    torch.set_num_threads(1)
    rows, about = [], origin()  # of the code as it is loaded
    for problem, faults in HELD_OUT.items():
        # Cross-fitting and learning again would cut windows from the history, which still names the fault.
        fold = make_fold(PROBLEMS[problem], 0, folder, ONCE)
        for name in faults:
            row = {"data": problem, "fault": name} | judge_without(fold, fold.history.classes.index(name))
            rows.append(row)
            print(
                f"{problem:12} {name:9} {row['windows']:4} windows  AUROC {row['auroc']:.2f}  said normal "
                f"{row['normal']:.2f}, another fault {row['another_fault']:.2f}, nothing plausible "
                f"{row['strange']:.2f} (of the others {row['strange_elsewhere']:.3f}); {row['events_unknown']} of "
                f"{row['events']} events met by unknown, {row['events_alarmed']} by any "
                f"alarm, {row['unknown_elsewhere']:.2f} a day beside them",
                flush=True,
            )
    write(args.out, {"rows": rows, **about})
    return 0


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
    without = without_fault(fold, fault)
    prediction = train_net(without, 0)
    allowed = msgspec.structs.replace(without.config.decision, unknown_per_device_day=BUDGET)
    config = msgspec.structs.replace(without.config, decision=allowed)
    spec = fitted(replace(without, config=config), prediction, "macro_f1")
    decision = Decision(spec)
    posterior = decision.posterior(evidence(without, prediction, prediction.test))
    verdict = decision.verdict(decision.score(posterior))
    strange = decision.strange(posterior, verdict)
    new, known = label == fault, (label >= 0) & (label != fault)
    return {
        "windows": int(new.sum()),
        "auroc": float(roc_auc_score(new[new | known], 1 - posterior[new | known].max(axis=1))),
        "normal": float((verdict[new] == 0).mean()),
        "another_fault": float((verdict[new] > 0).mean()),
        "strange": float(strange[new].mean()),
        "strange_elsewhere": float(strange[known].mean()),
        "unknown_windows": spec.unknown_windows,
        **_alarms(fold.validation("test"), spec, posterior, fault),
    }


def _alarms(test: HeldOutWindows, spec: DecisionSpec, posterior: Float64, fault: int) -> dict[str, Any]:
    """Of the new fault's events those that alarms meet, and ``unknown`` where there is no event."""
    trial = test.trial(spec, posterior)
    (said,) = trial.states(np.asarray([spec.thresholds]))
    (counts,) = trial.count(np.asarray([spec.thresholds]))
    standing = np.zeros(len(test.device), np.int64)
    place = dict(zip(zip(test.device.tolist(), test.end_ms.tolist(), strict=True), range(len(standing)), strict=True))
    at = np.asarray([place[key] for key in zip(said.device.tolist(), said.end_ms.tolist(), strict=True)])
    standing[at] = said.state - np.r_[0, said.state[:-1]]
    state = np.cumsum(standing)
    event = event_of(test.device, test.fresh, test.label)
    mine = [state[event == number] for number in np.unique(event[test.label == fault]).tolist()]
    met = sum(bool((states == len(spec.thresholds)).any()) for states in mine)
    return {
        "events": len(mine),
        "events_alarmed": sum(bool((states > 0).any()) for states in mine),
        "events_unknown": met,
        "unknown_elsewhere": max(counts.unknown - met, 0) / test.device_days,
    }


if __name__ == "__main__":
    sys.exit(main())
