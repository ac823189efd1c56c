"""Marks: what a test needs. ``make unit`` runs the tests that need neither broker, nor data, nor a training.

Fixtures bring the marks of what they need, so that nobody has to think of them. A test that starts a broker or trains a
network in another way and lacks the mark fails, in every run.
"""

import sys
from typing import Any

import pytest
from tests.harness import broker, examples  # noqa: F401 - makes the profile of examples known

#: Fixtures, and the marks that they bring.
NEEDS = {
    "start_mosquitto": ("broker",),
    "start_amqtt": ("broker",),
    "data_dir": ("data",),
    "tiny_export": ("training",),
    "trained": ("training",),
    "browser": ("slow",),
    "demo": ("training", "broker"),
}


class Watch:
    """Holds the running test to its marks."""

    item: pytest.Item
    hooked = False

    def demand(self, mark: str, what: str) -> None:
        """Fail where the test lacks a mark."""
        if self.item.get_closest_marker(mark) is None:
            pytest.fail(f"{self.item.nodeid} {what}: mark it with pytest.mark.{mark}", pytrace=False)

    def before_step(self, *_: Any) -> None:
        """Called by torch before each step of an optimizer."""
        self.demand("training", "trains a network")


WATCH = Watch()


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures."""
    for item in items:
        for name in getattr(item, "fixturenames", ()):
            for mark in NEEDS.get(name, ()):
                item.add_marker(mark)


@pytest.hookimpl(tryfirst=True)  # before fixtures are made
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Watch what this test starts."""
    WATCH.item = item
    broker.before_start = lambda: WATCH.demand("broker", "starts a broker")
    if not WATCH.hooked and "torch" in sys.modules:
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        register_optimizer_step_pre_hook(WATCH.before_step)
        WATCH.hooked = True
