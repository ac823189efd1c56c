"""The pace: turns are as long as their verdicts may wait."""

import pytest

from rarefault.runtime.daemon.turns.pace import TURN_MESSAGES, TURN_S, Pace


def test_a_burst_makes_turns_short_at_once_and_long_again_slowly() -> None:
    """Cheap messages fill a turn; dear ones shorten the next, and cheap ones lengthen it over some turns."""
    pace = Pace(1000)
    assert pace.messages == 1000
    pace.observe(0.01, 1000)
    assert pace.messages == 1000
    pace.observe(0.15, 1000)
    assert pace.messages == pytest.approx(TURN_S / 150e-6, abs=1)
    before = pace.messages
    pace.observe(0.002, 200)
    assert before < pace.messages < 1000
    for _ in range(50):
        pace.observe(0.01, 1000)
    assert pace.messages == 1000


def test_bounds() -> None:
    """A turn has room for the work that it shares, and never more than may be pending."""
    pace = Pace(1000)
    pace.observe(10.0, 1)
    assert pace.messages == TURN_MESSAGES
    small = Pace(5)
    assert small.messages == 5
    small.observe(10.0, 1)
    assert small.messages == 5
