"""The quick tests stay quick: what needs a broker, data or a training is marked, or fails."""

import re
import tomllib
from pathlib import Path

import pytest
import torch
from tests.harness.broker import Mosquitto, free_port, running_amqtt

ROOT = Path(__file__).parents[1]


def test_a_broker_asks_for_its_mark(tmp_path: Path) -> None:
    """This test lacks the mark, so that no broker starts."""
    said = "test_a_broker_asks_for_its_mark starts a broker: mark it with pytest.mark.broker"
    with pytest.raises(pytest.fail.Exception, match=said):
        Mosquitto(tmp_path, "allow_anonymous true").start()
    with pytest.raises(pytest.fail.Exception, match=said), running_amqtt(free_port(), {}):
        pass


def test_a_training_asks_for_its_mark() -> None:
    """No step of an optimizer is made without it."""
    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    with pytest.raises(pytest.fail.Exception, match=r"trains a network: mark it with pytest\.mark\.training"):
        torch.optim.SGD([weight], 0.1).step()
    assert weight.item() == 0


def test_make_unit_leaves_out_every_mark() -> None:
    """A mark that is added here is left out there."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    marks = {line.split(":")[0] for line in settings["tool"]["pytest"]["ini_options"]["markers"]}
    (chosen,) = re.findall(r"^UNIT := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert chosen == " and ".join(f"not {mark}" for mark in chosen.replace("not ", "").split(" and "))
    assert set(chosen.replace("not ", "").split(" and ")) == marks
