"""Nothing phones home: no file under an empty home, and no connection but to the broker."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: Local sockets that the C library or systemd may be asked through: names of users and hosts, and readiness.
LOCAL_SOCKETS = {"/var/run/nscd/socket", "/run/systemd/notify"}
#: ONNX Runtime first posts some five seconds after it was imported; so long the daemon is watched.
WATCHED_S = 10
#: Runs in a network namespace: brings loopback up, starts a broker, and the daemon under strace.
INSIDE = """
import fcntl, json, socket, struct, subprocess, sys, time
from pathlib import Path
from tests.harness.broker import Mosquitto
from tests.harness.client import Peer
from tests.harness.waiting import wait_until

folder, model = Path(sys.argv[1]), sys.argv[2]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS: up and running
broker = Mosquitto(folder, "allow_anonymous true")
broker.start()
config = folder / "edge.toml"
config.write_text(f'[model]\\npath = "{model}"\\n[broker]\\nurl = "{broker.url}"\\n[publish]\\nruntime = "edge"\\n')
peer = Peer(broker.port)
peer.subscribe("rarefault/#")
trace = folder / "trace"
# -D: strace is a grandchild, so that signals reach the daemon.
command = ["strace", "-D", "-f", "-o", str(trace), "-e", "trace=connect,sendto,sendmsg,sendmmsg"]
daemon = subprocess.Popen([*command, sys.executable, "-m", "rarefault.runtime.cli", "run", str(config)])
try:
    peer.wait_for("rarefault/edge/status")
    begun = time.monotonic()
    begin = time.time() // 60 * 60 - 600
    for turn in range(30):
        sample = {"time": begin + 10 * turn, "values": {"c1.S1": turn, "c1.S2": 1.0, "z1.E1": turn}}
        peer.publish("telemetry/pump", json.dumps(sample))
    peer.wait_for("rarefault/pump/verdict")
    time.sleep(max(0.0, WATCHED_S - (time.monotonic() - begun)))
finally:
    daemon.terminate()
    daemon.wait()
wait_until(lambda: f"{daemon.pid} " in trace.read_text().rpartition("+++ exited with 0")[0], "the end of the trace")
peer.close()
broker.stop()
print(broker.port)
"""


def environment(home: Path) -> dict[str, str]:
    """This one with an empty home, and without what the tests themselves have switched off."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_", "RAY_"))}
    return kept | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


def files(home: Path) -> list[str]:
    return [str(file.relative_to(home)) for file in home.rglob("*")]


def test_the_daemon_leaves_nothing_under_an_empty_home(tiny_model: Path, tmp_path: Path) -> None:
    """Configuration and model are read, and the model runs, as at every start; home stays empty."""
    home = tmp_path / "home"
    home.mkdir()
    config = tmp_path / "edge.toml"
    config.write_text(f'[model]\npath = "{tiny_model}"\n', encoding="utf-8")
    command = [sys.executable, "-m", "rarefault.runtime.cli", "run", str(config), "--check"]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not files(home)


def importers() -> list[Path]:
    """Files that import ONNX Runtime, anywhere in them."""
    folders = ("runtime", "train", "export", "tests", "benchmarks")
    found = (file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")))
    return [file for file in found if re.search(r"(import|from) onnxruntime", file.read_text(encoding="utf-8"))]


def test_everybody_who_imports_onnx_runtime_switches_it_off_before(tmp_path: Path) -> None:
    """Modules of the portions leave nothing when they alone are imported; other programs name the variable."""
    found = {file.relative_to(ROOT).parts: file for file in importers()}
    modules = [".".join(parts[1:]).removesuffix(".py") for parts in found if parts[0] in {"runtime", "train", "export"}]
    assert {"rarefault.runtime.inference.model_file", "rarefault.export.quantize"} <= set(modules)
    for module in modules:
        home = tmp_path / module
        home.mkdir()
        code = f"import {module}, sys; sys.exit('onnxruntime' not in sys.modules)"
        subprocess.run([sys.executable, "-c", code], env=environment(home), check=True)
        assert not files(home), module
    for parts, file in found.items():
        if parts[0] in {"tests", "benchmarks"}:
            assert 'os.environ["ORT_DISABLE_TELEMETRY"] = "1"' in file.read_text(encoding="utf-8"), file


@pytest.mark.broker
def test_the_daemon_connects_to_its_broker_alone(tiny_model: Path, tmp_path: Path) -> None:
    """Where no interface but loopback is, the kernel sees the daemon ask for the broker's address and no other."""
    if os.geteuid() != 0 or shutil.which("strace") is None or shutil.which("unshare") is None:
        pytest.skip("to watch the daemon's connections, these tests want root, strace and unshare")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be made here")
    if subprocess.run(["strace", "-f", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process can be traced here")
    home, folder = tmp_path / "home", tmp_path / "edge"
    home.mkdir()
    folder.mkdir()
    script = INSIDE.replace("WATCHED_S", str(WATCHED_S))
    command = ["unshare", "--net", sys.executable, "-c", script, str(folder), str(tiny_model)]
    variables = environment(home) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    port = done.stdout.split()[-1]
    trace = (folder / "trace").read_text(encoding="utf-8")
    internet = set(re.findall(r"sa_family=(AF_INET6?), \w+_port=htons\((\d+)\), .*?\"([^\"]+)\"", trace))
    assert internet == {("AF_INET", port, "127.0.0.1")}
    assert set(re.findall(r"sa_family=AF_UNIX, sun_path=@?\"([^\"]+)\"", trace)) <= LOCAL_SOCKETS
    assert set(re.findall(r"sa_family=(\w+)", trace)) <= {"AF_INET", "AF_UNIX", "AF_NETLINK"}
    assert not files(home)
