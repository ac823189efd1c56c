"""Does a change of the code leave what it computes as it is? Run before and after a change that only moves or renames.

    python -m benchmarks.identity --json before.json
    python -m benchmarks.identity --against before.json

It trains small models with a fixed seed on simulated plants, exports and evaluates them, all through the command line,
and takes digests of ``metrics.json``, of the exported files and of the evaluation. What holds a time, a path or a
version is left out: when a run was made, how long it took, and the digest of its configuration. Digests of two machines
or of two releases of the libraries differ.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIG = """
[data]
format = "phm2015"
path = "{data}"

[window]
length = 12
stride = 4

[model]
preset = "tiny"

[trees]
rounds = 12
extra_trees = 8

[training]
name = "identity"
epochs = 3
sequence_length = 8
threads = 1
jobs = 1
"""
#: Trainings, each with what it changes; a retraining goes on from an earlier one.
CASES: dict[str, tuple[str, ...]] = {
    "plain": ("training.cross_fit=true",),
    "retrained": (),
    "smote": ('recipe.sampler="smote"', "training.cross_fit=false", "trees.rounds=0"),
    "budget": ('decision.objective="false_alarm_budget"', "training.cross_fit=false", "model.network=false"),
    "events": ('decision.objective="event_f1"', "training.cross_fit=false", "model.network=false"),
}
#: Of metrics.json and of an evaluation: what differs from run to run.
PASSING = {"seconds", "estimated_seconds", "model", "model_id", "digest", "file", "source", "history", "data"}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the digests here")
    parser.add_argument("--against", type=Path, help="digests of before; the exit code is 1 where one differs")
    parser.add_argument("--keep", type=Path, help="folder for all that is made (default: one that is removed)")
    args = parser.parse_args()
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        found = digests(args.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = digests(Path(folder))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    before = json.loads(args.against.read_text(encoding="utf-8")) if args.against else {}
    for name, digest in found.items():
        same = {None: "", digest: "as before"}.get(before.get(name), "DIFFERS")
        print(f"{name:24} {digest[:16]} {same}")
    return int(bool(before) and before != found)


def digests(folder: Path) -> dict[str, str]:
    """Digests by the name of what was made in an empty folder."""
    rarefault("simulate", folder / "plants", "--plants", 2, "--days", 30, "--seed", 3)
    rarefault("simulate", folder / "later", "--plants", 2, "--days", 20, "--seed", 4, "--start", "2024-03-01")
    found = {}
    for name, changes in CASES.items():
        config, run, model = folder / f"{name}.toml", folder / name, folder / f"{name}.onnx"
        again = name == "retrained"
        config.write_text(CONFIG.format(data="later" if again else "plants"), encoding="utf-8")
        start = ["--from", folder / "plain"] if again else []
        sets = [word for change in changes for word in ("--set", change)]
        # A retraining that is not accepted ends with 1 and leaves a run all the same.
        rarefault("train", config, "--out", run, *start, *sets, allowed=(0, 1) if again else (0,))
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        found[f"{name} metrics"] = digest_of(metrics, folder)
        if again:
            continue
        rarefault("export", run, "-o", model)
        found[f"{name} export"] = digest_of_file(model)
        result = folder / f"{name}.json"
        rarefault("evaluate", model, "--data", config, "--part", "all", "--json", result)
        found[f"{name} evaluation"] = digest_of(json.loads(result.read_text(encoding="utf-8")), folder)
    small = folder / "int8.onnx"
    limits = ("--max-changed", 1, "--max-f1-loss", 1, "--max-alarms-changed", 1)
    rarefault("export", folder / "plain", "-o", small, "--int8", *limits)
    found["plain int8"] = digest_of_file(small)
    return found


def rarefault(*words: object, allowed: tuple[int, ...] = (0,)) -> None:
    """Run a command of the environment that this script runs in."""
    command = [str(Path(sys.executable).parent / "rarefault"), *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode not in allowed:
        raise SystemExit(f"{' '.join(command)} failed ({result.returncode}):\n{result.stdout}\n{result.stderr}")


def digest_of(value: Any, folder: Path) -> str:
    """Digest of a JSON value without what differs from run to run, the folder's own name among it."""
    text = json.dumps(lasting(value), sort_keys=True).replace(str(folder.resolve()), "")
    return hashlib.sha256(text.replace(str(folder), "").encode()).hexdigest()


def lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: lasting(item) for key, item in value.items() if key not in PASSING}
    return [lasting(item) for item in value] if isinstance(value, list) else value


def digest_of_file(file: Path) -> str:
    """Digest of a model file without the circumstances of its training."""
    import onnx

    model = onnx.load(file)
    for entry in model.metadata_props:
        if entry.value.startswith("{"):
            manifest = json.loads(entry.value)
            manifest["training"] = {"test": manifest.get("training", {}).get("test")}
            manifest.pop("export", None)
            entry.value = json.dumps(lasting(manifest), sort_keys=True)
    model.producer_version = ""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
