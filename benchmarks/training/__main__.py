"""Processor time, memory and quality of a training with the default settings, beside LightGBM.

    python -m benchmarks.training                  a million samples, and a fold of plant 31
    python -m benchmarks.training --scale 0.05     some minutes

Writes ``benchmarks/results/training.json``. The history is simulated: 12 pumps, 60 days, six channels a minute, four
faults of 0.1 to 4 % of the time, the rarest a sensor that is frozen. A fold of plant 31 is measured where
``RAREFAULT_DATA`` is set.

Fields: ``million_cpu_s``, ``million_rss_mb``, ``million_macro_f1``, ``rarest_recall``,
``false_alarms_per_device_day`` and ``stages`` (seconds by the clock) of ``rarefault train`` on the history;
``lightgbm_macro_f1`` and ``lightgbm_cpu_s`` of LightGBM on the same windows and blocks; ``ratio_lightgbm`` of the
processor seconds of a training on plant 31 to those of LightGBM's two fits there.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import RESULTS, THREADS, data_folder, origin, write
from benchmarks.training.history import FROZEN, make
from benchmarks.training.measure import CONFIG, Training, lightgbm, train

#: The problem of ``benchmarks.quality`` whose fold 0 is measured.
REAL = "plant31-day"


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="part of the 60 days, for a quick run")
    parser.add_argument("--no-real", action="store_true", help="leave plant 31 out")
    parser.add_argument("--out", type=Path, default=None, help="default: benchmarks/results/training.json at scale 1")
    parser.add_argument("words", nargs="*", help="further words for 'rarefault train', after --, such as --fast")
    args = parser.parse_args()
    for name in THREADS:
        os.environ.setdefault(name, "1")
    out = args.out or (RESULTS / "training.json" if args.scale == 1 else None)
    with tempfile.TemporaryDirectory(prefix="rarefault-training-") as name:
        found = _simulated(Path(name), args.scale, args.words)
        if not args.no_real and os.environ.get("RAREFAULT_DATA"):
            found |= _real(Path(name), data_folder(), args.words)
    write(out, found | origin())
    return 0


def _simulated(folder: Path, scale: float, words: list[str]) -> dict[str, Any]:
    samples = make(folder, scale)
    config = folder / "pumps.toml"
    config.write_text(CONFIG, encoding="utf-8")
    run = train(config, folder / "run", *words)
    rival = lightgbm(str(config))
    test = run.metrics["test"]
    recall = {name: of["recall"] for name, of in test["classes"].items()}
    _say(f"{samples:,} samples", run, rival)
    print(f"  recall {', '.join(f'{name} {_share(of)}' for name, of in recall.items())}")
    print(f"  stages {', '.join(f'{name} {of:.0f} s' for name, of in run.metrics['seconds'].items())}", flush=True)
    return {
        "scale": scale,
        "words": words,
        "samples": samples,
        "million_cpu_s": run.cpu_s,
        "million_wall_s": run.wall_s,
        "million_rss_mb": run.peak_mb,
        "million_macro_f1": test["macro_f1"],
        "lightgbm_cpu_s": rival["cpu_s"],
        "lightgbm_macro_f1": rival["macro_f1"],
        "recall": recall,
        "rarest_recall": recall[FROZEN],
        "false_alarms_per_device_day": test["false_alarms_per_device_day"],
        "stages": run.metrics["seconds"],
    }


def _real(folder: Path, data: Path, words: list[str]) -> dict[str, Any]:
    from benchmarks.quality.protocol import PROBLEMS, config_of

    from rarefault.train.config import to_toml

    config = folder / "plant31.toml"
    config.write_text(to_toml(config_of(PROBLEMS[REAL], data, {})), encoding="utf-8")
    run = train(config, folder / "real", *words)
    rival = lightgbm(REAL, str(data))
    _say("plant 31, days, fold 0", run, rival)
    return {
        "ratio_lightgbm": round(run.cpu_s / rival["cpu_s"], 2),
        "real": {
            "cpu_s": run.cpu_s,
            "rss_mb": run.peak_mb,
            "macro_f1": run.metrics["test"]["macro_f1"],
            "stages": run.metrics["seconds"],
            "lightgbm_cpu_s": rival["cpu_s"],
            "lightgbm_macro_f1": rival["macro_f1"],
        },
    }


def _say(what: str, run: Training, rival: dict[str, float]) -> None:
    score = run.metrics["test"]["macro_f1"]
    print(
        f"{what}: {run.cpu_s:.0f} processor s, {run.wall_s:.0f} s by the clock, {run.peak_mb:,.0f} MB, macro-F1 "
        f"{score:.3f}; LightGBM {rival['cpu_s']:.0f} processor s, macro-F1 {rival['macro_f1']:.3f}",
        flush=True,
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
