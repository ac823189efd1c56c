"""A proposal as a commented file and as questions."""

import tomllib
from collections.abc import Callable

import pytest

from rarefault.runtime.proposal.dialogue import PlainScreen, ask, show
from rarefault.runtime.proposal.finding import Finding
from rarefault.runtime.proposal.proposal import Proposal, Section, Table

ZONE = Finding("time_zone", "UTC", "'2024-03-01 10:00' has no zone", 'time_zone = "Europe/Zurich" or another one')
DEVICE = Finding("device", None, "nothing names the machine", 'device = "pump 1" or another name')
DATA = Section("data", (Finding("samples", ["a;b.csv", "c.csv"], ""), ZONE, DEVICE), about="The telemetry.")
STATES = Section('channels."line 1/valve"', (Finding("states", {"OFF": 0, "not ON": 1}, "words of\x1b[2J 8 samples"),))
PROPOSAL = Proposal(
    "From two files.", (DATA, STATES), ("How long does a fault last?",), (Table("First rows", ("a",), (("1\x07",),)),)
)


def answers(*texts: str) -> Callable[[str], str]:
    """Answer questions in turn."""
    left = list(texts)
    return lambda _: left.pop(0)


def test_the_file_can_be_read_and_has_the_evidence() -> None:
    """Values come back as they were, doubts and questions stand in comments, a key without a value does not count."""
    text = PROPOSAL.as_toml()
    assert tomllib.loads(text) == {
        "data": {"samples": ["a;b.csv", "c.csv"], "time_zone": "UTC"},
        "channels": {"line 1/valve": {"states": {"OFF": 0, "not ON": 1}}},
    }
    assert text.count("# QUESTION: ") == 3
    assert "# device = ..." in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 112


def test_answers_take_the_place_of_doubts() -> None:
    """Enter keeps what is proposed; plain text, TOML and a whole setting are all taken."""
    answered = ask(PROPOSAL, PlainScreen(), answers('time_zone = "Europe/Berlin"', "pump 1"))
    data = tomllib.loads(answered.as_toml())["data"]
    assert data == {"samples": ["a;b.csv", "c.csv"], "time_zone": "Europe/Berlin", "device": "pump 1"}
    assert not answered.doubts
    kept = ask(PROPOSAL, PlainScreen(), answers("", ""))
    assert tomllib.loads(kept.as_toml())["data"]["time_zone"] == "UTC"
    assert [finding.key for _, finding in kept.doubts] == ["device"]


def test_what_is_shown_obeys_no_orders_from_outside(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are made visible."""
    show(PROPOSAL, PlainScreen())
    shown = capsys.readouterr().out
    assert "\\x07" in shown
    assert "\x1b" not in shown
    assert "? How long" in shown
