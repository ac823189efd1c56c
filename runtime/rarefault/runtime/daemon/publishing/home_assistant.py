"""Discovery by Home Assistant: each device, and the daemon, as a device with entities.

Messages have the form of device discovery (Home Assistant's documentation of MQTT, "Device discovery payload"), with
its short keys. They are retained and say nothing that is not published elsewhere: entities read the alarm topic and
the daemon's own topics. openHAB and Domoticz read them, too.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from rarefault.runtime import __version__
from rarefault.runtime.inference.manifest import NO_DATA, NORMAL, UNKNOWN

#: Home Assistant has a word of its own for "unknown", so a state of that name would be lost.
UNDETERMINED = "undetermined"
_STATE = "value_json.state if value_json is defined else 'no data'"
_ONLINE = "{{ 'offline' if value == 'offline' else 'online' }}"


class Topics(msgspec.Struct, frozen=True):
    """What discovery was published with; another one leaves ghosts that must be cleared.

    Attributes:
        discovery: prefix of Home Assistant's topics.
        prefix: of the daemon's topics.
        runtime: name of the daemon.
        feedback: whether the daemon listens to answers.
    """

    discovery: str
    prefix: str
    runtime: str
    feedback: bool = True

    @property
    def status(self) -> str:
        """The daemon's status topic."""
        return f"{self.prefix}/{self.runtime}/status"

    @property
    def birth(self) -> str:
        """Where Home Assistant says that it is online."""
        return f"{self.discovery}/status"

    def config(self, name: str, kind: str) -> str:
        """Where the discovery message of a device (``kind`` "device") or a daemon ("runtime") goes."""
        return f"{self.discovery}/device/{self.id(name, kind)}/config"

    def id(self, name: str, kind: str) -> str:
        """An id that Home Assistant takes: letters of the name, and a digest that keeps alike names apart."""
        slug = re.sub(r"[^a-zA-Z0-9_-]+", "_", name)[:40]
        digest = hashlib.sha256("\0".join((self.prefix, kind, name)).encode()).hexdigest()[:10]
        return f"rarefault_{slug}_{digest}"


def device_message(topics: Topics, device: str, classes: Iterable[str]) -> bytes:
    """The discovery message of a device.

    Args:
        topics: of the daemon.
        device: its name.
        classes: of the model; with what else a state can be, they are the values of the entity "fault".
    """
    own = topics.id(device, "device")
    alarm, feedback = f"{topics.prefix}/{device}/alarm", f"{topics.prefix}/{device}/feedback"
    known = [name for name in classes if name not in {UNKNOWN, NO_DATA}]
    entities: dict[str, Any] = {
        "problem": {
            "p": "binary_sensor",
            "name": "Problem",
            "dev_cla": "problem",
            "val_tpl": f"{{{{ 'OFF' if ({_STATE}) in ['{NORMAL}', '{NO_DATA}'] else 'ON' }}}}",
        },
        "fault": {
            "p": "sensor",
            "name": "Fault",
            "dev_cla": "enum",
            "ops": list(dict.fromkeys([*known, UNDETERMINED, NO_DATA])),
            "val_tpl": f"{{% set state = {_STATE} %}}{{{{ '{UNDETERMINED}' if state == '{UNKNOWN}' else state }}}}",
            "json_attr_t": alarm,
            "json_attr_tpl": "{{ (value_json if value_json is defined else {}) | tojson }}",
        },
        "probability": {
            "p": "sensor",
            "name": "Probability",
            "ent_cat": "diagnostic",
            "unit_of_meas": "%",
            "stat_cla": "measurement",
            "sug_dsp_prc": 0,
            "val_tpl": "{{ (100 * value_json.probability) | round(1)"
            " if value_json is defined and value_json.probability is defined else None }}",
        },
    }
    if topics.feedback:
        of_daemon = [{"t": topics.status, "val_tpl": _ONLINE}]
        for key, name, answer in (("refute", "False alarm", "refuted"), ("confirm", "Confirm alarm", "confirmed")):
            entities[key] = {
                "p": "button",
                "name": name,
                "cmd_t": feedback,
                "pl_prs": msgspec.json.encode({"answer": answer, "alarm": "current"}).decode(),
                "avty": of_daemon,
            }
    return _message(
        own,
        {"name": device, "via_device": topics.id(topics.runtime, "runtime")},
        entities,
        {
            "stat_t": alarm,
            "avty": [
                {"t": topics.status, "val_tpl": _ONLINE},
                {"t": alarm, "val_tpl": f"{{{{ 'offline' if ({_STATE}) == '{NO_DATA}' else 'online' }}}}"},
            ],
            "avty_mode": "all",
        },
    )


def daemon_message(topics: Topics) -> bytes:
    """The discovery message of the daemon."""
    health = f"{topics.prefix}/{topics.runtime}/health"
    # Of a daemon that has died, the health topic says what it said last, and its status alone is right.
    while_online = [{"t": topics.status, "val_tpl": _ONLINE}]

    def fact(name: str, key: str, **more: str) -> dict[str, Any]:
        about = {"p": "sensor", "name": name, "ent_cat": "diagnostic", "avty": while_online}
        return about | {"val_tpl": f"{{{{ value_json.{key} }}}}"} | more

    def status(name: str, kind: str, template: str) -> dict[str, Any]:
        about = {"p": "binary_sensor", "name": name, "dev_cla": kind, "ent_cat": "diagnostic"}
        return about | {"stat_t": topics.status, "val_tpl": template}

    return _message(
        topics.id(topics.runtime, "runtime"),
        {"name": f"rarefault {topics.runtime}"},
        {
            "connectivity": status("Connection", "connectivity", "{{ 'OFF' if value == 'offline' else 'ON' }}"),
            "impaired": status("Impaired", "problem", "{{ 'ON' if value == 'impaired' else 'OFF' }}")
            | {"json_attr_t": health},
            "devices": fact("Devices", "devices", stat_cla="measurement"),
            "silent": fact("Silent devices", "silent", stat_cla="measurement"),
            "muted": fact("Muted devices", "muted", stat_cla="measurement"),
            "model": fact("Model", "model"),
        },
        {"stat_t": health},
    )


def _message(own: str, device: dict[str, Any], entities: dict[str, Any], shared: dict[str, Any]) -> bytes:
    for key, entity in entities.items():
        entity["unique_id"] = f"{own}_{key}"
    about = {"ids": [own], "mf": "rarefault", "sw": __version__}
    origin = {"name": "rarefault", "sw": __version__}
    return msgspec.json.encode({"dev": about | device, "o": origin, "cmps": entities, "qos": 1} | shared)


class Discovery:
    """What Home Assistant must be told, and has been.

    Args:
        topics: None where discovery is off.
        before: what was published with at an earlier start.
        classes: of the model.
    """

    def __init__(self, topics: Topics | None, before: Topics | None, classes: tuple[str, ...]) -> None:
        self.topics = topics
        self._classes = classes
        self._ghosts_of = before if before not in {None, topics} else None
        self._announced: set[str] = set()
        self._daemon = self._cleared = False

    def begin(self) -> None:
        """Home Assistant, or the broker, may have forgotten all: tell everything again."""
        self._announced.clear()
        self._daemon = self._cleared = False

    def use(self, classes: tuple[str, ...]) -> None:
        """Go on with another model."""
        if classes != self._classes:
            self._classes = classes
            self.begin()

    def forget(self, devices: Iterable[str]) -> None:
        """Devices are gone, which may have been told at an earlier start."""
        self._announced.update(devices)

    def messages(self, devices: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Topics and payloads that are to be published, retained; what is taken counts as told.

        Args:
            devices: names of those that there are.
        """
        if self.topics is None and (self._ghosts_of is None or self._cleared):
            return
        there = set(devices)
        if self._ghosts_of is not None and not self._cleared:
            ghosts = self._ghosts_of
            yield from ((ghosts.config(name, "device"), b"") for name in sorted(there))
            yield ghosts.config(ghosts.runtime, "runtime"), b""
            self._cleared = True
        if self.topics is None:
            return
        if not self._daemon:
            yield self.topics.config(self.topics.runtime, "runtime"), daemon_message(self.topics)
            self._daemon = True
        for name in sorted(self._announced - there):
            yield self.topics.config(name, "device"), b""
            self._announced.discard(name)
        for name in sorted(there - self._announced):
            yield self.topics.config(name, "device"), device_message(self.topics, name, self._classes)
            self._announced.add(name)
