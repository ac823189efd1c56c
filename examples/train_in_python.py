"""Simulate plants, train a small model and export it, all from Python: ``python train_in_python.py FOLDER``.

Needs the extra ``train``. The numbers are small so that it ends within a minute; a model for real use takes the
defaults of the configuration. Simulated plants are no evidence for accuracy.
"""

import sys
from pathlib import Path

from rarefault.export import export_run
from rarefault.train import load_train_config, train, write_report
from rarefault.train.simulate import SimulationConfig, simulate

CONFIG = """
[data]
format = "phm2015"
path = "plants"

[window]
length = 12
stride = 8

[model]
preset = "tiny"

[trees]
rounds = 10
extra_trees = 0

[training]
epochs = 2
sequence_length = 8
passes = 1
cross_fit = false
refit = false
"""


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    simulate(SimulationConfig(plants=2, days=30, seed=1), folder / "plants")
    (folder / "plant.toml").write_text(CONFIG)

    config = load_train_config(folder / "plant.toml")
    training = train(config, folder, folder / "run", name="plant")
    write_report(training)  # report.html
    print(f"macro-F1 on held-out blocks: {training.metrics['test']['macro_f1']:.3f}")

    export = export_run(training.run, folder / "plant.onnx")
    print(f"{export.model.path}: {export.model.size_bytes / 1e3:.0f} kB, {len(export.checks)} comparisons held")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
