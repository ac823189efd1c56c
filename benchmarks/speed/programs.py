"""The programs that are compared, each a process of its own that reads telemetry and publishes verdicts."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import process as kernel
from benchmarks.harness.broker import free_port
from benchmarks.harness.daemon import daemon_command
from benchmarks.harness.machine import ROOT
from benchmarks.speed.model import LENGTH, SEQUENCE, ModelFiles

HERE = Path(__file__).parent
#: Where npm puts Node-RED; git does not see it.
NODE = ROOT / "benchmarks" / ".cache" / "node_red"
NODE_PACKAGES = ("node-red@4.1", "onnxruntime-node@1")
#: Libraries of which each would take all cores.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Program:
    """One way of doing it.

    Attributes:
        name: as in the table.
        start: the command line, from a folder for its files, the broker's port, the models and the stride.
        carried: whether it carries the outer state, so that one window is enough for the first verdict.
        judges: whether it gives verdicts at all.
    """

    name: str
    start: Callable[[Path, int, ModelFiles, int], list[str]]
    carried: bool = False
    judges: bool = True

    def warm_up(self, stride: int) -> int:
        """Rounds after which every device has had its first verdict."""
        return -(-(LENGTH if self.carried else LENGTH + (SEQUENCE - 1) * stride) // 24) * 24 + 24


class Process:
    """A program that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.started = time.perf_counter()

    def cpu_s(self) -> float:
        """Processor time that it has used, all threads."""
        self.check()
        return kernel.cpu_s(self._process.pid)

    def memory_mb(self) -> float:
        """Peak resident memory."""
        return kernel.memory_mb(self._process.pid)

    def check(self) -> None:
        """Raise where it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the program ended:\n{self._log.read_text(encoding='utf-8', errors='replace')}")


def wait_until_idle(*processes: Process) -> float:
    """Wait until none of them has anything to do; when that became so."""
    last, since = sum(process.cpu_s() for process in processes), time.perf_counter()
    while time.perf_counter() - since < 1.0:
        time.sleep(0.01)
        now = sum(process.cpu_s() for process in processes)
        if now - last > 0.011 * len(processes):  # one tick of the clock may be housekeeping
            last, since = now, time.perf_counter()
    return since


@contextmanager
def running(command: list[str], folder: Path, **environment: str) -> Iterator[Process]:
    """Start a program, and end it."""
    log = folder / "program.log"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=out,
            stderr=out,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": path} | environment,
        )
    try:
        yield Process(process, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def daemon_config(port: int, model: Path, *, topic: str = "telemetry/{device}") -> str:
    """The daemon as it is measured: its defaults, with room for all devices."""
    return (
        f'[model]\npath = "{model}"\n[broker]\nurl = "mqtt://127.0.0.1:{port}"\nclient_id = "measured"\n'
        f'[publish]\nruntime = "edge"\n[telemetry]\ntopic = "{topic}"\nmax_age_s = inf\n'
        '[limits]\nmax_devices = 100000\n[journal]\npath = "edge.journal"\n'
    )


def _ours(*, int8: bool) -> Callable[[Path, int, ModelFiles, int], list[str]]:
    def start(folder: Path, port: int, models: ModelFiles, _stride: int) -> list[str]:
        config = folder / "edge.toml"
        config.write_text(daemon_config(port, models.step_int8 if int8 else models.step))
        return daemon_command(config)

    return start


def _by_hand(engine: str) -> Callable[[Path, int, ModelFiles, int], list[str]]:
    def start(_folder: Path, port: int, models: ModelFiles, stride: int) -> list[str]:
        model = models.sequence if engine == "onnx" else models.checkpoint
        return [sys.executable, str(HERE / "handwritten.py"), str(port), str(model), str(stride), "--engine", engine]

    return start


def _node_red(folder: Path, port: int, models: ModelFiles, stride: int) -> list[str]:
    import json

    function = (HERE / "node_red" / "function.js").read_text(encoding="utf-8")
    flow = json.loads((HERE / "node_red" / "flow.json").read_text(encoding="utf-8"))
    for node in flow:
        if node["type"] == "function":
            node["func"] = function
        if node["type"] == "mqtt-broker":
            node["port"] = str(port)
        if node["type"] == "tab":
            node["env"] = [
                {"name": "MODEL", "value": str(models.sequence), "type": "str"},
                {"name": "STRIDE", "value": str(stride), "type": "num"},
            ]
    (folder / "flow.json").write_text(json.dumps(flow))
    shutil.copy(HERE / "node_red" / "settings.js", folder)
    # The port of the user interface, which is off, and where its packages are.
    shim = f"process.env.UI_PORT={free_port()};"
    settings = folder / "settings.js"
    settings.write_text(
        shim + settings.read_text().replace("onnxruntime-node", f"{NODE}/node_modules/onnxruntime-node")
    )
    red = NODE / "node_modules" / "node-red" / "red.js"
    return ["node", str(red), "--userDir", str(folder), "--settings", str(settings), str(folder / "flow.json")]


def install_node_red() -> bool:
    """Have Node-RED; False where there is no npm."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return False
    if not (NODE / "node_modules" / "onnxruntime-node").exists():
        NODE.mkdir(parents=True, exist_ok=True)
        # Its install script downloads what is only needed for GPUs.
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(NODE)]
        subprocess.run([*command, *NODE_PACKAGES], cwd=NODE, check=True, stdout=sys.stderr)
    return True


OURS = Program("rarefault", _ours(int8=True), carried=True)
OURS_FLOAT = Program("rarefault, float32", _ours(int8=False), carried=True)
BY_HAND = Program("by hand, ONNX Runtime", _by_hand("onnx"))
EAGER = Program("by hand, torch eager", _by_hand("torch"))
NODE_RED = Program("Node-RED, onnxruntime-node", _node_red)
EMPTY = Program(
    "paho, empty callback",
    lambda _folder, port, _models, _stride: [sys.executable, str(HERE / "empty.py"), str(port)],
    judges=False,
)
