"""Fault injection: whatever happens to the daemon and its broker, the verdicts are those of an undisturbed run.

A recording of telemetry is played through Mosquitto to the daemon while both are killed (SIGKILL) and frozen (SIGSTOP)
at random moments, the journal's disk fills up, and malformed messages are mixed in; in the recording the devices'
clocks step, samples come twice and out of order, and devices pause. Afterwards the verdicts that arrived are compared
with those of the same daemon over the same recording left in peace.

A killed broker loses what only its memory held, which no daemon can bring back. So the sender does what a device with a
store does: after a broker's death it sends again what the daemon has not kept. And the broker saves its sessions at
every change, as it should where nothing may be lost.

Exit code 0: nothing lost, nothing contradicting, nothing that should not be there.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from rarefault.runtime.daemon.journal_reader import JournalReader
from rarefault.runtime.daemon.payloads import verdict_payloads
from rarefault.runtime.errors import JournalError
from rarefault.runtime.model_file import LoadedModel, load_model
from rarefault.runtime.pipeline import Pipeline
from rarefault.runtime.times import format_ms

ROOT = Path(__file__).parents[1]
BEGIN_MS = 1_300_000_000_000
DEVICES = 12
#: Messages a second while faults are injected, and messages for each fault.
RATE, PER_FAULT = 400, 220
#: How long nothing may come that is still missing where the daemon owes nothing, and where it does.
QUIET_S, PATIENCE_S = 12.0, 60.0
#: How far the sender may be ahead of what the daemon has kept; no more than this is sent again after a broker's death.
LEAD = 1000
#: Messages before the last that is known to be kept; a sample that comes twice has one place only.
SPARE = 50
MALFORMED = (
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[]",
    b"null",
    b'{"time": "yesterday", "values": {"c1.S1": 1}}',
    b'{"values": {"c1.S1": NaN}, "time": 1300000000}',
    b'{"values": {"c1.S1": 1e999}, "time": 1300000000}',
    b'{"values": {"c1.S1": "700"}, "time": 1300000000}',
    b'{"values": {"nothing": 1}, "time": 1300000000}',
    b'{"values": 3, "time": 1300000000}',
    b'{"time": 9999999999999, "values": {"c1.S1": 1}}',
    b"[" * 5000,
    b'{"values": {"c1.S1": 1' + b"0" * 400 + b"}}",
)

Message = tuple[str, bytes]


def main() -> int:
    """Inject, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 kills of the daemon and 2 of the broker only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result here (default in full: results/faults.json)")
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rarefault-faults-") as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, ROOT / "tests" / "make_tiny_model.py", folder], check=True, stdout=subprocess.DEVNULL
        )
        model = load_model(folder / "tiny.onnx")
        rng = random.Random(args.seed)
        schedule = make_schedule(rng, quick=args.quick)
        recording = Recording(model, len(schedule) * PER_FAULT, args.seed)
        say(f"{len(recording.messages)} messages of {DEVICES} devices; first in peace")
        peaceful = run_in_peace(folder / "peace", model, recording)
        say(f"{len(peaceful.verdicts)} verdicts; now with {len(schedule)} faults")
        disturbed = Run(folder / "faults", model, recording, rng)
        disturbed.play(schedule)
    problems = compare(peaceful.verdicts, disturbed.verdicts)
    problems |= {"differing_in_peace": sum(compare(recording.expected, peaceful.verdicts).values())}
    problems |= {"ended_alone": peaceful.ended_alone + disturbed.ended_alone}
    problems |= {"alarms_differ": sum(peaceful.alarms.get(d) != disturbed.alarms.get(d) for d in recording.devices)}
    result = {
        **disturbed.done,
        "messages": len(recording.messages),
        "disk_fills_felt": disturbed.disk_fills_felt,
        "malformed": disturbed.malformed,
        "sent_again": disturbed.sent_again,
        "verdicts": len(peaceful.verdicts),
        "redelivered": sum(len(v) - 1 for v in disturbed.verdicts.values()),
        **problems,
        "owed_at_end": disturbed.owed_at_end,
        "seconds": round(time.monotonic() - began, 1),
        "mode": "quick" if args.quick else "full",
        "seed": args.seed,
        "commit": git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    width = max(map(len, result))
    print("\n".join(f"{key:<{width}}  {value}" for key, value in result.items()))
    path = args.json or (None if args.quick else ROOT / "benchmarks" / "results" / "faults.json")
    if path:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    reached = disturbed.done["daemon_kills"] >= (5 if args.quick else 100)
    reached &= disturbed.done["broker_kills"] >= (2 if args.quick else 20)
    return 0 if reached and not any(problems.values()) else 1


def make_schedule(rng: random.Random, *, quick: bool) -> list[str]:
    """Kinds of faults in random order."""
    counts = {"daemon_kills": 5, "broker_kills": 2, "daemon_freezes": 1, "broker_freezes": 1, "disk_fills": 1}
    if not quick:
        counts = {"daemon_kills": 110, "broker_kills": 22, "daemon_freezes": 8, "broker_freezes": 8, "disk_fills": 3}
    schedule = [kind for kind, count in counts.items() for _ in range(count)]
    rng.shuffle(schedule)
    return schedule


Verdicts = dict[str, list[dict[str, Any]]]


def compare(peaceful: Verdicts, disturbed: Verdicts) -> dict[str, int]:
    """Count what is wrong with the verdicts of a disturbed run; both map an id to all that was published with it."""

    def content(verdict: dict[str, Any]) -> str:
        return json.dumps({k: v for k, v in verdict.items() if k != "time"}, sort_keys=True)

    def differs(one: dict[str, Any], other: dict[str, Any]) -> bool:
        exact = ("id", "device", "start", "end", "fault", "model")
        if any(one[key] != other[key] for key in exact):
            return True
        p, q = (np.array(list(v["probabilities"].values())) for v in (one, other))
        return not np.allclose(p, q, rtol=1e-5, atol=1e-7)

    return {
        "lost": len(set(peaceful) - set(disturbed)),
        "extra": len(set(disturbed) - set(peaceful)),
        "contradicting": sum(len({content(v) for v in said}) > 1 for said in disturbed.values())
        + sum(differs(peaceful[i][0], disturbed[i][0]) for i in set(peaceful) & set(disturbed)),
    }


class Recording:
    """Telemetry of devices whose clocks step and that repeat themselves, and the verdicts of the offline pipeline."""

    def __init__(self, model: LoadedModel, n_messages: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        channels = model.manifest.channels
        self.devices = [f"plant_{i}" for i in range(DEVICES)]
        clock = np.full(DEVICES, BEGIN_MS) + rng.integers(0, 60_000, DEVICES)
        level = rng.normal(size=(DEVICES, len(channels)))
        meter = np.zeros(DEVICES)
        center = np.array([700, 650, 720, 0])
        rows: list[tuple[int, int, dict[str, float]]] = []
        while len(rows) < n_messages:
            i = int(rng.integers(DEVICES))
            kind = rng.random()
            # Mostly every 20 s; sometimes a pause within the grid's gap or beyond, or a step of the clock either way.
            step = 20_000
            if kind < 0.004:
                step = int(rng.integers(120_000, 900_000))
            elif kind < 0.008:
                step = -int(rng.integers(30_000, 200_000))
            clock[i] += step + int(rng.integers(-4000, 4000))
            level[i] += rng.normal(scale=0.4, size=len(channels))
            meter[i] += rng.random()
            values = dict(
                zip(channels, (center + level[i] * [20, 15, 10, 0] + [0, 0, 0, meter[i]]).tolist(), strict=True)
            )
            kept = {name: value for name, value in values.items() if rng.random() < 0.85} or {channels[0]: 700.0}
            late_by = int(rng.integers(0, 50_000)) if rng.random() < 0.05 else 0
            rows.append((i, int(clock[i]) - late_by, kept))
            if rng.random() < 0.03:
                rows.append(rows[-1])
        self.messages: list[Message] = [
            (f"telemetry/{self.devices[i]}", json.dumps({"time": format_ms(t), "values": v}).encode())
            for i, t, v in rows
        ]
        #: Place of a sample in the recording, by what the journal knows of it.
        self.place = {(self.devices[i], t): n for n, (i, t, _) in reversed(list(enumerate(rows)))}
        pipeline = Pipeline(model.manifest, model.step, model.model_id)
        slots = [pipeline.slot(device) for device in self.devices]
        verdicts = pipeline.push(
            [slots[i] for i, _, _ in rows],
            [t for _, t, _ in rows],
            [[v.get(name, np.nan) for name in channels] for _, _, v in rows],
        )
        self.expected: Verdicts = {v.id: [msgspec.to_builtins(v)] for v in verdict_payloads(verdicts, pipeline, 0)}


class Client:
    """An MQTT client that is always on its way back to the broker.

    Every connection begins anew: what the last one had not sent is not sent by itself, as it would overtake what a
    sender has to send again first.
    """

    def __init__(self, port: int, name: str, on_message: Callable[[str, bytes], None] | None = None) -> None:
        self.port, self.name = port, name
        self.connected = threading.Event()
        self.deaths = 0
        self._over = False
        self._on_message = on_message
        self._lock = threading.Lock()  # held where a connection begins, ends, or takes a message
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.name, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = self._on_connect
        on_message = self._on_message
        if on_message is not None:
            client.on_message = lambda _c, _d, m: on_message(m.topic, bytes(m.payload))
        return client

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        if self._on_message is not None:
            client.subscribe("rarefault/#", 1)
        self.connected.set()

    def _loop(self) -> None:
        keeps = self._on_message is not None
        while not self._over:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 3600 if keeps else 0
            try:
                self._client.connect("127.0.0.1", self.port, clean_start=not keeps, properties=properties)
            except OSError:
                time.sleep(0.02)
                continue
            sock = self._client.socket()
            if isinstance(sock, socket.socket):  # else the broker died just now
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS and not self._over:
                pass
            if not self._over:
                with self._lock:
                    self.connected.clear()
                    self.deaths += 1
                    self._client = self._new_client()

    def publish(self, message: Message) -> bool:
        """Send, and wait for the broker's confirmation; whether it came."""
        if not self.connected.wait(1):
            return False
        with self._lock:
            if not self.connected.is_set():
                return False
            deaths = self.deaths
            info = self._client.publish(*message, qos=1)
        while not info.is_published() and deaths == self.deaths:
            time.sleep(0.0005)
        return info.is_published() and deaths == self.deaths

    def close(self) -> None:
        """Leave."""
        self._over = True
        self._thread.join()
        self._client.disconnect()


@dataclass
class Process:
    """A program that is started, frozen, killed and started again."""

    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it, and return its exit code: not that of the signal where it had ended by itself."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def freeze(self, seconds: float) -> None:
        """Stop it for a while."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)


class Run:
    """One playing of the recording, with a broker and a daemon of its own.

    Attributes:
        verdicts: all that arrived, by id.
        alarms: the last of each device.
        done: number of faults of each kind.
        disk_fills_felt: number of full disks on which the daemon could not keep a turn.
        owed_at_end: verdicts and alarms that the daemon still had to bring to the broker when the run was over.
        ended_alone: how often daemon or broker had ended before they were killed.
    """

    def __init__(self, folder: Path, model: LoadedModel, recording: Recording, rng: random.Random) -> None:
        folder.mkdir()
        self.folder, self.recording, self.rng = folder, recording, rng
        self.verdicts: Verdicts = {}
        self.alarms: dict[str, dict[str, Any]] = {}
        self.done = dict.fromkeys(("daemon_kills", "broker_kills", "daemon_freezes", "broker_freezes", "disk_fills"), 0)
        self.malformed = self.sent_again = self.ended_alone = self.disk_fills_felt = self.owed_at_end = 0
        self.disk, self.store = folder / "disk", folder / "store"
        self.disk.mkdir()
        self.store.mkdir()
        self._next = self._until = 0  # message to send next, and first that may not be sent yet
        self._known_kept = 0
        self._arrived_at = time.monotonic()
        self._over = False
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        conf = folder / "mosquitto.conf"
        conf.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\nset_tcp_nodelay true\n"
            f"persistence true\npersistence_location {self.store}/\nautosave_interval 1\nautosave_on_changes true\n"
            "max_inflight_messages 0\nmax_queued_messages 0\n"
        )
        config = folder / "edge.toml"
        config.write_text(
            f'[model]\npath = "{model.path}"\n[broker]\nurl = "mqtt://127.0.0.1:{self.port}"\nclient_id = "edge"\n'
            'reconnect_min_s = 0.05\nreconnect_max_s = 0.2\n[telemetry]\nmax_age_s = inf\n[publish]\nruntime = "edge"\n'
            '[journal]\npath = "disk/edge.journal"\nsnapshot_s = 1.0\n'
        )
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            sys.exit("this needs the broker Mosquitto: apt-get install mosquitto")
        self.broker = Process([program, "-c", str(conf)], folder / "mosquitto.log")
        daemon = [sys.executable, "-m", "rarefault.runtime.cli", "run", str(config)]
        self.daemon = Process(daemon, folder / "edge.log")

    def play(self, schedule: list[str]) -> None:
        """Play the recording, a part of it for each fault, and wait for the last verdict."""
        # The broker saves at every change and waits for the disk, which is not what this is about: no power fails here.
        with small_disk(self.store, "256m"), small_disk(self.disk, "48m") as mounted, self._running() as clients:
            device, consumer = clients
            sender = threading.Thread(target=self._send, args=(device,), daemon=True)
            sender.start()
            for number, kind in enumerate(schedule, 1):
                self._keep_up(len(self.recording.messages) * (number - 3) // len(schedule))
                self._until = len(self.recording.messages) * number // len(schedule)
                if kind == "disk_fills" and not mounted:
                    say("a small disk can be mounted by root only: it is not filled")
                    continue
                getattr(self, f"_{kind}")(consumer)
                if number % 10 == 0:
                    say(f"{number} of {len(schedule)} faults, {self._next} messages, {len(self.verdicts)} verdicts")
            self._until, self._over = len(self.recording.messages), True
            self._finish(sender)
            self._wait(lambda: self.alarms["edge"] == {"status": "online"})
            self._wait(lambda: set(self.recording.expected) <= set(self.verdicts))
            self.owed_at_end = self._owed()
            if any(compare(self.recording.expected, self.verdicts).values()):
                kept = Path(tempfile.mkdtemp(prefix="rarefault-faults-kept-"))
                shutil.copytree(self.folder, kept, dirs_exist_ok=True)
                say(f"the verdicts are not as they should be; logs, journal and the broker's store are in {kept}")
            code = self.daemon.kill(signal.SIGTERM)
        if code != 0:
            sys.exit(f"the daemon ended with exit code {code}:\n{self._last_words()}")

    def _daemon_kills(self, _consumer: Client) -> None:
        time.sleep(self.rng.uniform(0.02, 1.6))  # since its start: at times before it is up
        self._note("daemon_kills", self.daemon.kill())
        self.daemon.start()

    def _broker_kills(self, consumer: Client) -> None:
        consumer.connected.wait(PATIENCE_S)
        time.sleep(self.rng.uniform(0.5, 1.5))  # what waited for the consumer has gone to it
        self._note("broker_kills", self.broker.kill())
        time.sleep(self.rng.uniform(0.0, 0.5))
        self.broker.start()
        consumer.connected.wait(PATIENCE_S)

    def _keep_up(self, place: int) -> None:
        """Let the daemon live until it has kept so many and owes few: on a slow machine, faults come less often."""
        deadline = time.monotonic() + 2 * PATIENCE_S
        while self._kept() < place or self._owed() > LEAD:
            if time.monotonic() > deadline:
                sys.exit(
                    f"the daemon does not keep up, at message {place}; the last lines of its log:\n{self._last_words()}"
                )
            time.sleep(0.05)

    def _last_words(self) -> str:
        return "\n".join(self.daemon.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])

    def _note(self, kind: str, code: int) -> None:
        """Count a kill; what had ended before it was not killed."""
        self.done[kind] += code == -signal.SIGKILL
        self.ended_alone += code != -signal.SIGKILL

    def _daemon_freezes(self, _consumer: Client) -> None:
        time.sleep(self.rng.uniform(0.2, 1.0))
        self.daemon.freeze(self.rng.uniform(0.2, 2.0))
        self.done["daemon_freezes"] += 1

    def _broker_freezes(self, _consumer: Client) -> None:
        time.sleep(self.rng.uniform(0.2, 1.0))
        self.broker.freeze(self.rng.uniform(0.2, 2.0))
        self.done["broker_freezes"] += 1

    def _disk_fills(self, _consumer: Client) -> None:
        filler, before = self.disk / "filler", self._failed_turns()
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], capture_output=True, check=False)
        time.sleep(self.rng.uniform(1.0, 2.0))
        # Where the journal's files had room to spare, the daemon has not noticed yet.
        deadline = time.monotonic() + QUIET_S
        while self._failed_turns() == before and time.monotonic() < deadline:
            time.sleep(0.05)
        filler.unlink()
        self.done["disk_fills"] += 1
        self.disk_fills_felt += self._failed_turns() > before

    def _failed_turns(self) -> int:
        """How often the daemon has said that it could not keep a turn."""
        return self.daemon.log.read_text(encoding="utf-8", errors="replace").count("a turn could not be kept")

    def _send(self, device: Client) -> None:
        """Send what may be sent; after a death of the broker, all again that the daemon may not have."""
        deaths = device.deaths
        while not self._over or self._next < len(self.recording.messages):
            if deaths != device.deaths:
                device.connected.wait(PATIENCE_S)
                deaths, kept = device.deaths, self._kept()
                self.sent_again += max(0, self._next - kept)
                self._next = min(self._next, kept)
            elif self._next >= self._until:
                time.sleep(0.002)
            elif self._next >= self._known_kept + LEAD:
                if self._next >= self._kept() + LEAD:
                    time.sleep(0.02)
            elif device.publish(self.recording.messages[self._next]):
                self._next += 1
                if self._next % 17 == 0:
                    topic = f"telemetry/{self.rng.choice(self.recording.devices)}"
                    self.malformed += device.publish((topic, MALFORMED[self._next // 17 % len(MALFORMED)]))
                time.sleep(0.5 / RATE)

    def _finish(self, sender: threading.Thread) -> None:
        """Wait until all is sent, as long as it goes on at all."""
        while sender.is_alive():
            before = self._next
            sender.join(PATIENCE_S)
            if sender.is_alive() and self._next == before:
                sys.exit(f"nothing could be sent for {PATIENCE_S:g} s after message {before}; see {self.broker.log}")

    def _kept(self) -> int:
        """Place before which all messages are in the journal, with some to spare; they are kept in order."""
        try:
            with JournalReader(self.disk / "edge.journal") as reader:
                names, place = reader.devices(), self.recording.place
                last = [0]
                for batch in reader.batches(max(0, reader.newest_seq() - 20)):
                    keys = zip(batch.device.tolist(), batch.time_ms.tolist(), strict=True)
                    last += [place.get((names[number], time_ms), 0) for number, time_ms in keys]
        except JournalError:
            return self._known_kept  # none is there yet, or the disk is full
        # What was kept once stays, even where the newest are old ones that the broker brought again.
        self._known_kept = max(self._known_kept, max(last) - SPARE)
        return self._known_kept

    def _all_kept(self) -> bool:
        """Whether the last messages of the recording are in the journal, as far as :meth:`_kept` can tell."""
        return self._known_kept >= len(self.recording.messages) - 2 * SPARE

    def _owed(self) -> int:
        """How many verdicts and alarms the daemon has still to bring to the broker."""
        uri = f"{(self.disk / 'edge.journal').as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True)) as db:
                return int(db.execute("SELECT count(*) FROM outbox").fetchone()[0])
        except sqlite3.Error:
            return 0  # none is there yet, or the disk is full

    @contextmanager
    def _running(self) -> Iterator[tuple[Client, Client]]:
        self.broker.start()
        consumer = Client(self.port, "consumer", self._on_message)
        device = Client(self.port, "device")
        try:
            self._wait(consumer.connected.is_set)
            self.daemon.start()
            self._wait(lambda: self.alarms.get("edge") == {"status": "online"})
            yield device, consumer
        finally:
            for client in (device, consumer):
                client.close()
            for program in (self.daemon, self.broker):
                if program.process is not None and program.process.poll() is None:
                    program.kill()

    def _on_message(self, topic: str, payload: bytes) -> None:
        _, device, leaf = topic.split("/")
        self._arrived_at = time.monotonic()
        if leaf == "verdict":
            verdict = json.loads(payload)
            self.verdicts.setdefault(verdict["id"], []).append(verdict)
        elif leaf == "alarm":
            alarm = json.loads(payload)
            self.alarms[device] = {key: alarm[key] for key in ("id", "state", "since", "model")}
        else:
            self.alarms[device] = {"status": payload.decode()}

    def _wait(self, condition: Callable[[], object]) -> None:
        """Wait for what must happen, as long as something happens at all."""
        moved_at, before = time.monotonic(), (self._known_kept, -1)
        while not condition():
            now = (self._kept(), self._owed())
            moved_at = max(moved_at, self._arrived_at) if now == before else time.monotonic()
            before = now
            if time.monotonic() - moved_at > (PATIENCE_S if now[1] or not self._all_kept() else QUIET_S):
                break
            time.sleep(0.05)
        time.sleep(0.3)  # for what should not come


def run_in_peace(folder: Path, model: LoadedModel, recording: Recording) -> Run:
    """The same with no faults."""
    run = Run(folder, model, recording, random.Random(0))
    run.play([])
    return run


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A disk that can be filled, where this process may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def git(*words: str) -> str:
    """What git says, in one line."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip().replace("\n", " ")


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
