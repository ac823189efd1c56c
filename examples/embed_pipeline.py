"""Serve a model inside a program of your own, without MQTT: ``python embed_pipeline.py plant.onnx telemetry.csv``.

The file has the columns ``device`` and ``time`` and one for each channel of the model; an empty cell is no value.
"""

import csv
import sys
from pathlib import Path

from rarefault.runtime import load_model


def main(model: str, telemetry: str) -> None:
    pipeline = load_model(model).pipeline()
    with Path(telemetry).open(newline="") as file:
        for row in csv.DictReader(file):
            device, time = row.pop("device"), row.pop("time")
            values = {channel: float(cell) for channel, cell in row.items() if cell}
            verdicts, alarms = pipeline.push_sample(device, time, values)
            for verdict in verdicts:
                print(f"{verdict.end:%F %T} {verdict.device}: {verdict.fault} ({verdict.probability:.2f})")
            for alarm in alarms:
                print(f"{alarm.since:%F %T} {alarm.device}: ALARM {alarm.state} {alarm.channels}")


if __name__ == "__main__":
    main(*sys.argv[1:])
