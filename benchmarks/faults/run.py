"""One playing of the recording, with a broker and a daemon that are killed, frozen and starved meanwhile."""

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.faults.fake_clock import FakeClock
from benchmarks.faults.programs import Client, Process, small_disk
from benchmarks.faults.recording import MALFORMED, Recording, Verdicts, compare
from benchmarks.harness.broker import free_port, mosquitto
from benchmarks.harness.daemon import daemon_command
from benchmarks.harness.models import make_tiny_model

from rarefault.runtime.daemon.config import DaemonConfig, ModelConfig
from rarefault.runtime.errors import JournalError
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.journal.reader import JournalReader

#: Messages a second while faults are injected, and messages for each fault.
RATE, PER_FAULT = 400, 220
#: How long nothing may come that is still missing where the daemon owes nothing, and where it does.
QUIET_S, PATIENCE_S = 12.0, 60.0
#: How far the sender may be ahead of what the daemon has kept; no more than this is sent again after a broker's death.
LEAD = 1000
#: Messages before the last that is known to be kept; a sample that comes twice has one place only.
SPARE = 50
KINDS = (
    *("daemon_kills", "broker_kills", "daemon_freezes", "broker_freezes", "disk_fills", "kills_of_both"),
    *("clock_ahead", "clock_behind_at_boot", "renames"),
)


class Run:
    """One playing of the recording, with a broker and a daemon of its own.

    Attributes:
        verdicts: all that arrived, by id.
        alarms: the last of each device.
        done: number of faults of each kind.
        disk_fills_felt: number of full disks on which the daemon could not keep a turn.
        owed_at_end: verdicts and alarms that the daemon still had to bring to the broker when the run was over.
        clock_steps: how often the daemon's clock was set while it ran.
        muted: devices that were left with all of their samples late.
        ended_alone: how often daemon or broker had ended before they were killed.
    """

    def __init__(self, folder: Path, model: LoadedModel, recording: Recording, rng: random.Random) -> None:
        folder.mkdir()
        self.folder, self.recording, self.rng = folder, recording, rng
        self.verdicts: Verdicts = {}
        self.alarms: dict[str, dict[str, Any]] = {}
        self.done = dict.fromkeys(KINDS, 0)
        self.malformed = self.sent_again = self.ended_alone = self.disk_fills_felt = self.owed_at_end = 0
        self.clock_steps = 0
        self.muted: set[str] = set()
        self.disk, self.store = folder / "disk", folder / "store"
        self.disk.mkdir()
        self.store.mkdir()
        self._next = self._until = 0  # message to send next, and first that may not be sent yet
        self._known_kept = 0
        self._arrived_at = time.monotonic()
        self._over = False
        self.port = free_port()
        conf = folder / "mosquitto.conf"
        conf.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\nset_tcp_nodelay true\n"
            f"persistence true\npersistence_location {self.store}/\nautosave_interval 1\nautosave_on_changes true\n"
            "max_inflight_messages 0\nmax_queued_messages 0\n"
        )
        config = folder / "edge.toml"
        config.write_text(
            f'[model]\npath = "{model.path}"\n[broker]\nurl = "mqtt://127.0.0.1:{self.port}"\n'
            "reconnect_min_s = 0.05\nreconnect_max_s = 0.2\n[telemetry]\nmax_age_s = inf\n"
            '[journal]\npath = "disk/edge.journal"\nsnapshot_s = 1.0\n'
        )
        self.broker = Process([mosquitto(), "-c", str(conf)], folder / "mosquitto.log")
        self._command = daemon_command(config)
        self.clock = FakeClock(folder / "faketime")
        # Its names are those of the host at the first start, and stay.
        self.name = "edge" if can_rename() else host_name()
        self.daemon = Process(self._on_host("edge"), folder / "edge.log", self.clock.environment)

    def play(self, schedule: list[str]) -> None:
        """Play the recording, a part of it for each fault, and wait for the last verdict."""
        # The broker saves at every change and waits for the disk, which is not what this is about: no power fails here.
        with small_disk(self.store, "256m"), small_disk(self.disk, "48m") as mounted, self._running() as clients:
            sender = threading.Thread(target=self._send, args=(clients[0],), daemon=True)
            sender.start()
            for number, kind in enumerate(schedule, 1):
                self._keep_up(len(self.recording.messages) * (number - 3) // len(schedule))
                self._until = len(self.recording.messages) * number // len(schedule)
                if kind == "renames" and not can_rename():
                    say("a host can be given another name by root only: it is not renamed")
                    continue
                if kind == "disk_fills" and not mounted:
                    say("a small disk can be mounted by root only: it is not filled")
                    continue
                getattr(self, f"_{kind}")(*clients)
                if number % 10 == 0:
                    say(f"{number} of {len(schedule)} faults, {self._next} messages, {len(self.verdicts)} verdicts")
            self._until, self._over = len(self.recording.messages), True
            self._finish(sender)
            self._wait(lambda: self.alarms[self.name] == {"status": "online"})
            self._wait(lambda: set(self.recording.expected) <= set(self.verdicts) and not self._owed())
            self.owed_at_end = self._owed()
            if any(compare(self.recording.expected, self.verdicts).values()):
                kept = Path(tempfile.mkdtemp(prefix="rarefault-faults-kept-"))
                shutil.copytree(self.folder, kept, dirs_exist_ok=True)
                say(f"the verdicts are not as they should be; logs, journal and the broker's store are in {kept}")
            code = self.daemon.kill(signal.SIGTERM)
            with JournalReader(self.disk / "edge.journal") as reader:
                self.muted = {name for name, clock in reader.clocks().items() if clock.muted}
        if code != 0:
            sys.exit(f"the daemon ended with exit code {code}:\n{self._last_words()}")

    def _daemon_kills(self, *_clients: Client) -> None:
        time.sleep(self.rng.uniform(0.02, 1.6))  # since its start: at times before it is up
        self._note("daemon_kills", self.daemon.kill())
        self.daemon.start()

    def _broker_kills(self, device: Client, consumer: Client) -> None:
        consumer.connected.wait(PATIENCE_S)
        time.sleep(self.rng.uniform(0.5, 1.5))
        self._kill_broker(device, consumer)
        time.sleep(self.rng.uniform(0.0, 0.5))
        self.broker.start()
        consumer.connected.wait(PATIENCE_S)

    def _kills_of_both(self, device: Client, consumer: Client) -> None:
        """Kill both while new verdicts are in the journal and nowhere else, as the broker has not read them."""
        consumer.connected.wait(PATIENCE_S)
        self._keep_up(self._until - 2 * SPARE)  # it is up
        time.sleep(self.rng.uniform(0.5, 1.5))
        assert self.daemon.process is not None
        self.daemon.stop()
        self._until = min(self._until + PER_FAULT, len(self.recording.messages))
        time.sleep(self.rng.uniform(0.3, 0.6))  # telemetry piles up before the daemon
        self.broker.stop()
        before, deadline = self._owed(), time.monotonic() + QUIET_S
        self.daemon.process.send_signal(signal.SIGCONT)
        while self._owed() <= before and time.monotonic() < deadline:
            time.sleep(0.005)
        self.done["kills_of_both"] += self._owed() > before
        self._note("daemon_kills", self.daemon.kill())
        self._kill_broker(device, consumer)
        self.broker.start()
        self.daemon.start()
        consumer.connected.wait(PATIENCE_S)

    def _kill_broker(self, device: Client, consumer: Client) -> None:
        """Kill the broker, which has not saved what the consumer has not read, and return when both know of it."""
        self.broker.stop()
        consumer.wait_until_all_is_read(PATIENCE_S)
        self._note("broker_kills", self.broker.kill())
        for client in (device, consumer):
            client.wait_for_the_end(PATIENCE_S)

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

    def _daemon_freezes(self, *_clients: Client) -> None:
        time.sleep(self.rng.uniform(0.2, 1.0))
        self.daemon.freeze(self.rng.uniform(0.2, 2.0))
        self.done["daemon_freezes"] += 1

    def _broker_freezes(self, *_clients: Client) -> None:
        time.sleep(self.rng.uniform(0.2, 1.0))
        self.broker.freeze(self.rng.uniform(0.2, 2.0))
        self.done["broker_freezes"] += 1

    def _disk_fills(self, *_clients: Client) -> None:
        filler, before = self.disk / "filler", self._failed_turns()
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], capture_output=True, check=False)
        time.sleep(self.rng.uniform(1.0, 2.0))
        # The journal's files have room to spare, so the daemon notices after some thousand messages only.
        deadline = time.monotonic() + PATIENCE_S
        while self._failed_turns() == before and time.monotonic() < deadline:
            self._until = max(self._until, min(self._next + PER_FAULT, len(self.recording.messages)))
            time.sleep(0.05)
        filler.unlink()
        self.done["disk_fills"] += 1
        self.disk_fills_felt += self._failed_turns() > before

    def _failed_turns(self) -> int:
        """How often the daemon has logged that it could not keep a turn."""
        return self._logged("a turn could not be kept")

    def _clock_ahead(self, *_clients: Client) -> None:
        """The gateway is a day ahead for a moment, and the daemon notices both ways."""
        self._wait(lambda: self.daemon.has_logged("connected to broker"))  # it is up, and has seen the clock as it was
        self._step(86_400)
        time.sleep(self.rng.uniform(0.3, 1.5))
        self._step(0)
        self.done["clock_ahead"] += 1

    def _clock_behind_at_boot(self, *_clients: Client) -> None:
        """The daemon starts two hours behind, takes nothing, and goes on once the clock is set."""
        self._note("daemon_kills", self.daemon.kill())
        before = self._logged("this machine's clock cannot be right")
        self.clock.set(-7200)
        self.daemon.start()
        self._until_logged("this machine's clock cannot be right", before)
        time.sleep(self.rng.uniform(0.3, 1.5))
        self._step(0)
        self.done["clock_behind_at_boot"] += 1

    def _renames(self, *_clients: Client) -> None:
        """The daemon is made again under another host's name, while telemetry waits for it at the broker."""
        self._note("daemon_kills", self.daemon.kill())
        time.sleep(self.rng.uniform(0.3, 0.8))  # telemetry piles up
        self.done["renames"] += 1
        self.daemon.command = self._on_host(f"edge-{self.done['renames']}")
        self.daemon.start()

    def _on_host(self, name: str) -> list[str]:
        """The daemon's command, on a host of that name where this process may name one."""
        own = ["unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', name]
        return [*own, *self._command] if can_rename() else self._command

    def _step(self, seconds: int) -> None:
        """Set the clock of the daemon that runs, so far ahead of the right time."""
        before = self._logged("this machine's clock was set")
        self.clock.set(seconds)
        self.clock_steps += self._until_logged("this machine's clock was set", before)

    def _logged(self, words: str) -> int:
        """How often the daemon has logged these words."""
        return self.daemon.log.read_text(encoding="utf-8", errors="replace").count(words)

    def _until_logged(self, words: str, before: int) -> bool:
        """Wait until the daemon logs these words once more; whether it did."""
        deadline = time.monotonic() + PATIENCE_S
        while self._logged(words) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        return self._logged(words) > before

    def _send(self, device: Client) -> None:
        """Send what may be sent; after a death of the broker, all again that the daemon may not have."""
        deaths = device.deaths
        while not self._over or self._next < len(self.recording.messages) or deaths != device.deaths:
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
        if self._next < len(self.recording.messages):
            sys.exit(f"the sender has ended at message {self._next}")

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
            self._wait(lambda: self.alarms.get(self.name) == {"status": "online"})
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
        elif leaf == "status":
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


@cache
def can_rename() -> bool:
    """Whether this process may give hosts other names, each to itself."""
    words = ["unshare", "--uts", "hostname", "edge"]
    return bool(shutil.which("unshare")) and subprocess.run(words, capture_output=True, check=False).returncode == 0


def host_name() -> str:
    """What the daemon is called where nobody says it."""
    return DaemonConfig(model=ModelConfig(path="tiny.onnx")).publish.runtime_name


def make_model(folder: Path) -> LoadedModel:
    """The model that the daemon serves."""
    return load_model(make_tiny_model(folder))


def run_in_peace(folder: Path, model: LoadedModel, recording: Recording) -> Run:
    """The same with no faults."""
    run = Run(folder, model, recording, random.Random(0))
    run.play([])
    return run


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
