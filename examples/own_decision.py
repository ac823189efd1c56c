"""Other alarm thresholds on the same model: ``python own_decision.py plant.onnx telemetry.csv``.

How many alarms of each state would the recording have raised at other values of ``raise_threshold``? The model's
probabilities stay as they are; only the decision changes. The file is that of ``embed_pipeline.py``.
"""

import csv
import sys
from collections import Counter
from pathlib import Path

import msgspec

from rarefault.runtime import load_model


def main(model_file: str, telemetry: str) -> None:
    with Path(telemetry).open(newline="") as file:
        rows = list(csv.DictReader(file))
    channels = [name for name in rows[0] if name not in ("device", "time")]
    samples = [(row["device"], row["time"], {name: float(row[name]) for name in channels if row[name]}) for row in rows]
    model = load_model(model_file)
    own = model.manifest.decision
    for threshold in (own.raise_threshold, 0.7, 0.9, 0.99):
        lower = min(own.clear_threshold, threshold)
        decision = msgspec.structs.replace(own, raise_threshold=threshold, clear_threshold=lower)
        alarms = model.pipeline(decision).push_samples(samples).alarms
        counts = Counter(alarm.state for alarm in alarms)
        print(f"raise_threshold {threshold:<5g}", dict(sorted(counts.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])
