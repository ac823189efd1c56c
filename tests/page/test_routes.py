"""The routes over HTTP: what they answer, and what they refuse."""

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.harness.page import PageProcess, Plant
from tests.page.conftest import START_MS

from rarefault.page.web.assets import STATIC
from rarefault.page.web.security import is_local
from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.journal.records import Feedback, SetAside
from rarefault.runtime.settings import from_mapping

pytestmark = pytest.mark.slow


def test_alarms_are_those_that_were_published(plant: Plant, page: PageProcess) -> None:
    """State, probability, score, unit and channels; ends are the next state's beginning; the last answer stands."""
    published = [alarm for alarm in plant.alarms if alarm.state not in ("normal", "no data")]
    first, last = published[0], published[-1]
    now = START_MS + 700_000
    plant.answer(
        Feedback(now, first.device, first.id, "refuted", "", None, None, "valve"),
        Feedback(now + 1, last.device, last.id, "confirmed", "fault_2", None, None, ""),
        Feedback(now + 2, last.device, last.id, "retracted", "", None, None, ""),
    )
    found, before = [], None
    while True:
        answer = page.get("alarms", limit=7, **({} if before is None else {"before": before}))
        found += answer["alarms"]
        if (before := answer["next"]) is None:
            break
    assert [alarm["id"] for alarm in found] == [alarm.id for alarm in published[::-1]]
    for shown, alarm in zip(found[::-1], published, strict=True):
        assert (shown["device"], shown["state"]) == (alarm.device, alarm.state)
        assert dict(shown["channels"]) == alarm.channels
        assert (shown["probability"], shown["score"], shown["unit"]) == tuple(
            value if isinstance(value, (float, str)) else None for value in (alarm.probability, alarm.score, alarm.unit)
        )
    assert found[-1]["answer"]["answer"] == "refuted"
    assert found[-1]["answer"]["note"] == "valve"
    assert found[0]["answer"] is None
    standing = page.get("alarms", open=1)["alarms"]
    rows = page.get("fleet")["rows"]
    assert [a["device"] for a in standing] == [r["device"] for r in rows if r["kind"] in ("fault", "unknown")]
    assert all(alarm["until_ms"] is None for alarm in standing)
    device = page.get("device", device=first.device)
    own = [alarm for alarm in plant.alarms if alarm.device == first.device]
    assert (len(device["alarms"]), device["older"]) == (len(own), False)
    plant.run([first.device], START_MS + 600_000, 600)
    device = page.get("device", device=first.device)
    assert (len(device["alarms"]), device["older"]) == (100, True)
    assert [answer["note"] for answer in device["answers"] if answer["alarm"] == first.id] == ["valve"]


def test_health_and_model(plant: Plant, page: PageProcess) -> None:
    """Rejections by reason with the newest of each, payloads cut; the model is what inspect prints."""
    payload = b"\xff" + b"A" * 2000
    many = [SetAside(START_MS + i, "telemetry/x", "bad_time", f"sample {i}", payload) for i in range(5)]
    plant.reject(*many, SetAside(START_MS, "telemetry/y", "not_json", "no JSON", b"{"))
    health = page.get("health")
    assert [(reason["reason"], reason["count"]) for reason in health["reasons"]] == [("bad_time", 5), ("not_json", 1)]
    assert [example["detail"] for example in health["reasons"][0]["examples"]] == ["sample 4", "sample 3", "sample 2"]
    assert len(health["reasons"][0]["examples"][0]["payload"]) == 600
    rows = dict(page.get("model")["rows"])
    done = subprocess.run(
        [sys.executable, "-m", "rarefault.runtime.cli", "inspect", str(plant.folder / "tiny.onnx")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for title in ("model", "grid", "channels"):
        assert rows[title] in done.stdout or title == "grid"
    (plant.folder / "tiny.onnx").unlink()
    status, _, content = page.request("/api/v1/model")
    assert status == 503
    assert "model.path" in json.loads(content)["error"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/v1/fleet?limit=201", 400),
        ("/api/v1/fleet?limit=-1", 400),
        ("/api/v1/fleet?limit=1e3", 400),
        ("/api/v1/fleet?limit=%D9%A3", 400),
        ("/api/v1/fleet?sort=probability;drop", 400),
        ("/api/v1/fleet?kinds=fault,x", 400),
        ("/api/v1/fleet?q=a&q=b", 400),
        ("/api/v1/fleet?unknown=1", 400),
        ("/api/v1/fleet?q=" + "a" * 1001, 400),
        ("/api/v1/fleet?q=" + "a" * 5000, 414),
        ("/api/v1/device?device=nobody", 404),
        ("/api/v1/device", 400),
        ("/api/v1/verdicts?device=pump-1&from=2&to=1", 400),
        ("/api/v1/verdicts?device=pump-1&from=0&to=99999999999999999", 400),
        ("/api/v1/samples?device=pump-1&from=0&to=1&channels=x", 400),
        ("/api/v1/samples?device=pump-1&from=0&to=1&channels=" + "%5B" * 300, 400),
        ("/api/v1/nothing", 404),
        ("/api/v1/../../edge.toml", 404),
        ("/static/../web/app.py", 404),
        ("/static/%2e%2e/web/app.py", 404),
        ("/static/..%2fweb%2fapp.py", 404),
        ("/static//etc/passwd", 404),
        ("/static/js/app.js%00", 404),
        ("/edge.journal", 404),
    ],
)
def test_what_is_refused(shared: PageProcess, target: str, status: int) -> None:
    """With a sentence, and without anything of the machine's."""
    got, headers, content = shared.request(target)
    assert got == status, content
    assert len(content) < 400
    assert "Traceback" not in content.decode()
    assert headers["x-content-type-options"] == "nosniff"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A page that tests only ask."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    plant.run(["pump-1", "pump-2"], START_MS, 30)
    with PageProcess(plant.config, plant.port) as process:
        yield process


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", '"; DROP TABLE alarm; --', "%", "_", "pump-1' UNION SELECT 1 --", "\x00"]
)
def test_sql_in_a_filter_is_text(shared: PageProcess, text: str) -> None:
    """Nothing of it is found, and nothing is gone."""
    assert shared.get("fleet", q=text)["found"] == 0
    for route in ("device", "verdicts", "samples"):
        more = {} if route == "device" else {"from_": 0, "to": 1}
        with pytest.raises(AssertionError, match="no such device"):
            shared.get(route, device=text, **more)
    assert shared.get("fleet")["found"] == 2


def test_each_answer_has_its_headers(shared: PageProcess) -> None:
    """Nothing inline, nothing from elsewhere, no frame, no other site; also where a request is refused."""
    for target in ("/", "/static/js/app.js", "/api/v1/fleet", "/nothing", "/api/v1/fleet?limit=x"):
        _, headers, _ = shared.request(target)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers
    index = (STATIC / "index.html").read_text(encoding="utf-8")
    assert "style=" not in index
    assert "<script>" not in index


def test_only_questions_of_this_machine_are_answered(shared: PageProcess) -> None:
    """Not what changes something, not with a body, not by another name, not for another site."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        status, headers, _ = shared.request("/api/v1/fleet", method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert shared.request("/api/v1/fleet", body=b"x" * 100_000)[0] == 413
    for host in ("evil.example", "127.0.0.1.evil.example:8650", "10.0.0.1", "", "[::2]", "localhost@evil.example"):
        assert shared.request("/api/v1/fleet", headers={"Host": host})[0] in (400, 421), host
    for host in ("localhost:1234", "127.0.0.1", "[::1]:8650"):
        assert shared.request("/api/v1/fleet", headers={"Host": host})[0] == 200, host
    assert shared.request("/api/v1/fleet", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert shared.request("/", headers={"Sec-Fetch-Site": "cross-site"})[0] == 200  # somebody follows a link
    assert not is_local("localhost@evil.example")


def test_a_slow_client_holds_up_nobody(shared: PageProcess) -> None:
    """Requests that never end and events that are never read leave others their answers."""
    slow = []
    for i in range(60):
        sock = socket.create_connection(("127.0.0.1", shared.port))
        target = "/api/v1/events" if i % 2 else "/"
        rest = "\r\n" if i % 2 else "X: "
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{rest}".encode())
        slow.append(sock)
    start = time.monotonic()
    assert shared.get("fleet")["found"] == 2
    assert time.monotonic() - start < 5
    for sock in slow:
        sock.close()


def test_many_questions_at_once_are_all_answered(shared: PageProcess) -> None:
    """Searches of the past wait for each other, and nothing else waits for them."""
    asks: list[tuple[str, dict[str, object]]] = [
        ("verdicts", {"device": "pump-1", "from_": START_MS, "to": START_MS + 900_000}),
        ("samples", {"device": "pump-2", "from_": START_MS, "to": START_MS + 900_000, "channels": '["c1.S1"]'}),
        ("fleet", {}),
    ] * 20
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda ask: shared.get(ask[0], **ask[1]), asks))
    assert {answer["verdicts"] for answer in answers[0::3]} == {answers[0]["verdicts"]}
    assert {answer["samples"] for answer in answers[1::3]} == {30}
    assert {answer["found"] for answer in answers[2::3]} == {2}


def test_the_journal_may_come_later(tmp_path: Path) -> None:
    """The page starts without one, says so, and shows the fleet once there is one."""
    plant = Plant(tmp_path)
    plant.store.close()
    for file in tmp_path.glob("edge.journal*"):
        file.unlink()
    with PageProcess(plant.config, plant.port) as page:
        assert page.get("status")["journal"]["state"] == "missing"
        assert page.request("/api/v1/alarms")[0] == 503
        plant.store = plant.open()
        plant.run(["pump-1"], START_MS, 30)
        deadline = time.monotonic() + 30
        while page.get("status")["journal"]["state"] != "ok":
            assert time.monotonic() < deadline
        assert page.get("fleet")["found"] == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.local", ""])
def test_other_addresses_are_refused(host: str) -> None:
    """With the reason and the way round."""
    with pytest.raises(ConfigError, match=r"page.*no users.*SSH tunnel"):
        from_mapping({"model": {"path": "x"}, "page": {"host": host}}, DaemonConfig, "edge.toml")


def test_it_needs_a_journal_and_a_free_port(plant: Plant, page: PageProcess, tmp_path: Path) -> None:
    """Both are named, with exit code 2."""
    config = tmp_path / "none.toml"
    config.write_text('[model]\npath = "tiny.onnx"\n', encoding="utf-8")
    for file, said in ((config, "journal.path: not set"), (plant.config, f"port {plant.port} cannot be listened on")):
        command = [sys.executable, "-m", "rarefault.runtime.cli", "page", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert said in done.stderr


def test_a_large_fleet_is_small(tmp_path: Path) -> None:
    """5,000 devices: the process takes at most 120 MB, also after questions; open streams end with it."""
    plant = Plant(tmp_path, limits={"max_devices": 10_000, "outbox_messages": 100_000})
    names = [f"device-{i:04d}" for i in range(5000)]
    plant.run(names, START_MS, 12)
    stream = socket.socket()
    with PageProcess(plant.config, plant.port) as page, stream:
        stream.connect(("127.0.0.1", plant.port))
        stream.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in stream.recv(100)
        for sort in ("worst", "device", "since", "sample"):
            assert page.get("fleet", sort=sort, limit=200)["found"] == 5000
        plant.run(names, START_MS + 120_000, 2)
        page.get("alarms", open=1)
        page.get("alarms", limit=200)
        page.get("health")
        page.get("verdicts", device=names[7], from_=START_MS, to=START_MS + 1_000_000)
        peak = Path(f"/proc/{page.pid}/status").read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]
        assert int(peak) * 1024 <= 120e6
