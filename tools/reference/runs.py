"""The page of the run directory: what a training leaves behind, with ``metrics.json`` field by field."""

import msgspec

from tools.reference import sources
from tools.reference.docstrings import class_text
from tools.reference.structs import rows, table

#: The files of a run directory, from what they are for.
FILES = {
    "checkpoint.pt": "Sizes and weights of the model, read by `rarefault export` and `rarefault evaluate`.",
    "manifest.json": "The [manifest](manifest.md), as it will be exported.",
    "config.toml": "The configuration with all of its defaults and with absolute paths.",
    "data.json": (
        "What was read: `fingerprint`, `devices`, `channels`, `classes`, `counters`, number of `samples` and `events`, "
        "and `notes` about the files."
    ),
    "split.json": (
        "The `blocks` of each device with their part, the number of `samples`, and `notes`. After a training with "
        "`--from` also `earlier`: the data and blocks of the runs before."
    ),
    "metrics.json": "Scores, notes and times; see below.",
    "curves.json": "The training curves, one entry for each epoch of the network. Empty without a network.",
    "reference.npz": "Outputs of the model on real windows. The exporter checks the ONNX file against them.",
    "report.html": "All of this as a page for people. It needs no other file.",
    "resume.pt": "Only while training is unfinished: what `--resume` goes on from.",
}
#: The top level of ``metrics.json``.
METRICS = {
    "answer": "The [answer](#answer) of the test blocks: may the model be switched on, what it finds, what to try.",
    "test": "[Scores](#scores) of the test blocks, by the model that will be exported, on the served path.",
    "validation": "[Scores](#scores) of the validation blocks, by a model that was not trained on them.",
    "windows": "Number of labelled windows by part (`train`, `validation`, `test`) and class.",
    "unlabelled_windows": "Number of windows without a label, by part. They are neither trained on nor scored.",
    "epochs": "Epochs of all networks together; 0 without a network.",
    "weights": (
        "Weights in the loss, by network: of each class in that of the `device`, of each fault in that `at_units`."
    ),
    "notes": "Sentences about the data and the fit that a person should know; the report shows them, too.",
    "log_shift": (
        "Whether the log of faults fits the telemetry better when it is shifted. `kind`: `none`, `zone` (whole quarter "
        "hours, from one hour on) or `clock`; `text`: the finding with its mend, or why there is none; `offset_s`: to "
        "be added to the log; `low_s`, `high_s`: what fits nearly as well; `events`: that were looked at; `curve`: "
        "`fit` at each `shift_s`, as a share of the best, and the `noise`, null where nothing was searched."
    ),
    "seconds": "Time that each stage took, seconds.",
    "estimated_seconds": "Time that was announced for the long stages before they began, seconds.",
    "budget": (
        "What was left out to save time; null without a `training.budget`. `seconds`: the budget, null for `fast`; "
        "`expected_seconds`: what the training was expected to take; `left_out`: names, in the order in which they go: "
        "`windows`, `cross_fit`, `less_epochs`, `extra_trees`, `few_epochs`, `rounds`, `refit`, `network`."
    ),
    "cost_curve": "List of [points](#cost-curve): missed events and false alarms, for stricter and looser thresholds.",
    "parts": (
        "The [parts](#parts) of the model that are served, which were left out, and the log losses that decided it "
        "(`training.parts`)."
    ),
    "pooling": (
        "How the parts of the model were weighted. `experts`: the `weight` of each expert's evidence for the device's "
        "classes, and its `unit_weight` for faults that are looked for at units. `filter`: fitted parameters of the "
        "forward filter. `held_out_log_loss`: log loss on held-out windows `as_served`, and of the `trees_alone` (null "
        "without a network or without trees); where the latter is no larger, the network is not worth its cost."
    ),
    "retraining": (
        "Only after a training with `--from`. `accepted`, and if not, the `reasons`; `from`: the earlier run; "
        "`tolerance`, `false_alarms_tolerance`; `old_validation` and `new_test`: scores `before` and `after`."
    ),
}


def page() -> str:
    """``metrics-json.md``."""
    parts: dict[str, type[msgspec.Struct]] = {
        "Answer": sources.Answer,
        "Answer for a fault": sources.FaultAnswer,
        "Scores": sources.Scores,
        "Classes": sources.ClassScores,
        "Coverage": sources.Coverage,
        "Events": sources.EventScore,
        "Alarms": sources.AlarmTally,
        "Reliability": sources.ReliabilityBin,
        "Affiliation": sources.Affiliation,
        "PHM 2015": sources.Phm2015Score,
        "Cost curve": sources.CostPoint,
        "Parts": sources.Parts,
        "Part": sources.PartTrial,
    }
    shown = "\n\n".join(
        f"### {title}\n\n{class_text(struct)}\n\n"
        + table(("field", "type", "meaning"), [(f"`{row.name}`", row.type, row.meaning) for row in rows(struct)])
        for title, struct in parts.items()
    )
    return f"""# Run directory and metrics.json

`rarefault train` leaves one folder.

{table(("file", "holds"), [(f"`{name}`", text) for name, text in FILES.items()])}

`rarefault train --json FILE` writes the content of `metrics.json`, with the path of the run as `run`, to a file of your
choice.

## `metrics.json`

{table(("key", "holds"), [(f"`{name}`", text) for name, text in METRICS.items()])}

A number that cannot be computed, such as the recall of a class without windows, is `null`.

{shown}"""
