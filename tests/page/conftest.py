"""Fixtures of the page: a plant with a real journal, the page's process, a real browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.harness.page import PageProcess, Plant

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Of the samples of a test, milliseconds since the epoch.
START_MS = 1_795_000_000_000


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A plant with three devices and some alarms; its journal is open, as a daemon has it."""
    plant = Plant(tmp_path)
    plant.run(["pump-1", "pump-2", "Fan-3"], START_MS, 60)
    return plant


@pytest.fixture
def page(plant: Plant) -> Iterator[PageProcess]:
    """The page of ``plant``."""
    with PageProcess(plant.config, plant.port) as process:
        yield process


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.fail("the page is tested with Chromium, which is not there: make system, or apt-get install chromium")
    with sync_playwright() as playwright:
        # The sandbox needs rights that a container rarely gives; all that is loaded is ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Callable[..., "Page"]]:
    """Opens a view in a new window: ``open_page(url, **options)``; the test fails where the page has an error."""
    contexts, wrong = [], list[str]()

    def open_(url: str, **options: Any) -> "Page":
        context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        window = context.new_page()
        window.set_default_timeout(15_000)
        window.on("pageerror", lambda error: wrong.append(str(error)))
        window.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        window.goto(url)
        return window

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []
