"""The page in a real browser: what people see, hear and press, and what names from outside cannot do."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.harness.daemon import Daemon
from tests.harness.page import PageProcess, Plant
from tests.harness.waiting import wait_until
from tests.page.conftest import START_MS

from rarefault.runtime.journal.records import Feedback, SetAside

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

OpenPage = Callable[..., "Page"]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
EVIL = "<img src=x onerror=window.owned=1>"
#: Names from outside as a hostile sender would choose them.
DEVICE = f"pump {EVIL}\"'&#39;"
VIEWS = ("fleet", "alarms", "device/pump-1", "health", "model")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageProcess]:
    """A page of a plant in which there is some of everything."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    plant.run(["pump-1", "pump-2", "Fan-3"], START_MS, 90)
    plant.run([f"m-{i}" for i in range(70)], START_MS, 8)
    plant.silence("pump-2")
    alarm = next(alarm for alarm in plant.alarms if alarm.device == "pump-1" and alarm.state.startswith("fault"))
    plant.answer(Feedback(START_MS, "pump-1", alarm.id, "refuted", "", None, None, "valve"))
    plant.reject(SetAside(START_MS, "telemetry/x", "bad_time", "no time", b'{"values": {}}'))
    with PageProcess(plant.config, plant.port) as process:
        yield process


def test_an_alarm_appears_within_two_seconds(
    tmp_path: Path, mosquitto: "Mosquitto", peer: "Peer", open_page: OpenPage
) -> None:
    """From the daemon's message to the row in the browser, with the channels of the payload."""
    plant = Plant(tmp_path)  # for the model and the configuration; the daemon is a real one
    plant.store.close()
    with plant.config.open("a", encoding="utf-8") as file:
        file.write(f'[broker]\nurl = "{mosquitto.url}"\n[telemetry]\nmax_age_s = inf\n[publish]\nruntime = "edge"\n')
    peer.subscribe("rarefault/#")
    with Daemon(plant.config) as daemon, PageProcess(plant.config, plant.port) as page:
        wait_until(lambda: b"online" in peer.payloads("rarefault/edge/status"), f"the daemon: {daemon.text()}")
        window = open_page(f"{page.url}/#/alarms")
        window.get_by_text("No machine is in alarm.").wait_for()
        raised: dict[str, Any] = {}
        for minute in range(400):
            values = {"c1.S1": float(minute % 7), "c1.S2": 3.0, "z1.E1": float(minute)}
            peer.publish("telemetry/p", json.dumps({"time": START_MS + 60_000 * minute, "values": values}))
            if minute < 5:
                continue
            alarms = [json.loads(payload) for payload in peer.payloads("rarefault/p/alarm")]
            raised = next((a for a in alarms if a["state"].startswith("fault") and a["channels"]), {})
            if raised:
                break
            time.sleep(0.01)
        start = time.monotonic()
        key = next(a["key"] for a in page.get("alarms")["alarms"] if a["id"] == raised["id"])
        window.locator(f"tr[data-key='{key}']", has_text=raised["state"]).wait_for(timeout=2000)
        assert time.monotonic() - start < 2
        cells = window.locator(f"tr[data-key='{key}'] .moved li")
        cells.first.wait_for()
        shown = [text.split(" ")[0] for text in cells.all_inner_texts()]
        assert shown == sorted(raised["channels"], key=lambda name: -raised["channels"][name])[:3]
        window.locator("#notice a").wait_for()
        assert "New alarm: p: fault" in window.locator("#notice").inner_text()
        window.close()  # before its server


def test_names_from_outside_are_text(tmp_path: Path, open_page: OpenPage) -> None:
    """Of devices, channels, faults, notes and rejected messages: shown as they are, and nothing of them runs."""
    plant = Plant(tmp_path, (f"a{EVIL}", f"b{EVIL}", f"c{EVIL}"), ("normal", f"f{EVIL}", f"g{EVIL}"))
    plant.run([DEVICE], START_MS, 90)
    alarm = plant.alarms[-1]
    plant.answer(Feedback(START_MS, DEVICE, alarm.id, "confirmed", f"f{EVIL}", None, None, f"note {EVIL}"))
    plant.reject(SetAside(START_MS, f"t/{EVIL}", "bad_time", f"detail {EVIL}", EVIL.encode()))
    with PageProcess(plant.config, plant.port) as page:
        window = open_page(f"{page.url}/#/fleet")
        window.get_by_role("link", name=DEVICE).click()
        window.locator("h1", has_text=DEVICE).wait_for()
        window.locator("canvas").first.wait_for()
        assert f"note {EVIL}" in window.locator("main").inner_text()
        assert f"a{EVIL}" in window.locator("main").inner_text()
        for view, text in (("alarms", EVIL), ("health", f"t/{EVIL}"), ("model", f"a{EVIL}")):
            window.goto(f"{page.url}/#/{view}")
            if view == "health":
                window.locator("summary").first.click()
            window.get_by_text(text).first.wait_for()
        assert window.locator("img[src=x]").count() == 0
        assert window.evaluate("window.owned") is None
        window.close()  # before its server


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(fleet: PageProcess, open_page: OpenPage, scheme: str, width: int) -> None:
    """Names, roles, order, contrast: in each view, small and large, dark and light."""
    window = open_page(f"{fleet.url}/", color_scheme=scheme, viewport={"width": width, "height": 900})
    for view in VIEWS:
        settle(window, fleet, view)
        window.evaluate(AXE)
        found = window.evaluate("axe.run(document, {resultTypes: ['violations']})")
        problems = [(v["id"], v["help"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found["violations"]]
        assert problems == [], view
        width_of = "document.documentElement.scrollWidth"
        assert window.evaluate(width_of) <= width, view


def settle(window: "Page", fleet: PageProcess, view: str) -> None:
    """Go to a view and wait for its content."""
    window.goto(f"{fleet.url}/#/{view}")
    content = {"device": "canvas", "model": "dl dd", "health": "dl dd"}.get(view.split("/", maxsplit=1)[0], "tbody tr")
    window.locator(f"main {content}").first.wait_for()


def test_it_speaks_german(fleet: PageProcess, open_page: OpenPage) -> None:
    """By the browser's language, with its numbers; another language gets English."""
    window = open_page(f"{fleet.url}/", locale="de-CH")
    window.get_by_role("heading", name="Flotte").wait_for()
    assert window.locator("html").get_attribute("lang") == "de"
    assert "nur lesen" in window.locator("header").inner_text()
    other = open_page(f"{fleet.url}/", locale="fr-FR")
    other.get_by_role("heading", name="Fleet").wait_for()
    assert other.locator("html").get_attribute("lang") == "en"
    assert window.evaluate(BOTH) == []


#: Keys of texts that one language lacks.
BOTH = """async () => {
  const source = await (await fetch('/static/js/texts.js')).text();
  const keys = (part) => new Set([...part.matchAll(/\\b(\\w+): "/g)].map((found) => found[1]));
  const [en, de] = source.split(/^  de: \\{$/m).map(keys);
  return [...en].filter((key) => !de.has(key)).concat([...de].filter((key) => !en.has(key)));
}"""


def test_the_keyboard_is_enough(fleet: PageProcess, open_page: OpenPage) -> None:
    """Skip link, search, states, order, a device and back: each by Tab, Enter and Space, with a visible focus."""
    window = open_page(f"{fleet.url}/#/fleet")
    window.locator("tbody tr").first.wait_for()
    keys, focused = window.keyboard, "document.activeElement.textContent || document.activeElement.id"

    def tab_to(text: str) -> None:
        for _ in range(40):
            keys.press("Tab")
            if window.evaluate(focused).startswith(text):
                assert window.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
                return
        pytest.fail(f"Tab does not lead to {text}")

    keys.press("Tab")
    assert window.evaluate(focused) == "Skip to the content"
    keys.press("Enter")
    assert window.evaluate("document.activeElement.id") == "main"
    tab_to("○No data")
    keys.press("Space")
    window.locator("tbody tr").nth(1).wait_for(state="detached")
    assert window.locator("tbody th").all_inner_texts() == ["pump-2"]
    keys.press("Space")
    window.locator("tbody tr").nth(1).wait_for()
    tab_to("q")
    keys.type("FAN")
    window.locator("tbody tr").nth(1).wait_for(state="detached")
    tab_to("Fan-3")
    keys.press("Enter")
    window.get_by_role("heading", name="Fan-3").wait_for()
    assert window.evaluate("document.activeElement.id") == "main"
    window.go_back()
    window.locator("#q").wait_for()
    assert window.locator("#q").input_value() == "FAN"


def test_pages_and_orders(fleet: PageProcess, open_page: OpenPage) -> None:
    """73 devices are on two pages; a head turns the order round, and says so to a screen reader."""
    window = open_page(f"{fleet.url}/#/fleet")
    window.get_by_text("1–50 of 73").wait_for()
    window.get_by_role("button", name="Next page").click()
    window.get_by_text("51–73 of 73").wait_for()
    head = window.get_by_role("columnheader", name="Device")
    head.get_by_role("button").click()
    window.get_by_text("1–50 of 73").wait_for()
    assert head.get_attribute("aria-sort") == "ascending"
    assert window.locator("tbody th").first.inner_text() == "Fan-3"
    head.get_by_role("button").click()
    window.locator("tbody th", has_text="pump-2").wait_for()
    assert head.get_attribute("aria-sort") == "descending"


def test_a_device_shows_its_past(fleet: PageProcess, open_page: OpenPage) -> None:
    """Verdicts in words for those who see no picture, channels that can be chosen, the answer, another day."""
    window = open_page(f"{fleet.url}/#/device/pump-1")
    picture = window.get_by_role("img").filter(has=window.locator("canvas")).first
    picture.wait_for()
    assert "Class probabilities of pump-1 from" in (picture.get_attribute("aria-label") or "")
    assert "false alarm · valve" in window.locator("main").inner_text()
    window.locator(".channel").first.wait_for()
    window.get_by_text("Choose channels").click()
    for box in window.get_by_role("checkbox").all():
        box.set_checked(False)
    window.get_by_role("checkbox", name="z1.E1").check()
    window.locator(".channel h3", has_text="z1.E1").wait_for()
    window.locator("#day").fill("2020-01-01")
    window.get_by_text("No verdicts in this time.").wait_for()
    window.get_by_role("button", name="Newest").click()
    window.get_by_role("img").filter(has=window.locator("canvas")).first.wait_for()


def test_a_device_that_is_not_there_is_an_error_in_words(fleet: PageProcess, browser: Any) -> None:
    """An old bookmark, or a made-up one."""
    context = browser.new_context(locale="en-GB")
    window = context.new_page()
    window.goto(f"{fleet.url}/#/device/{EVIL}")
    assert "the journal has no such device" in window.get_by_role("alert").inner_text()
    assert window.evaluate("window.owned") is None
    context.close()


def test_the_page_says_when_it_is_alone(tmp_path: Path, browser: Any) -> None:
    """Without its server: a banner, and the fleet that was there stays."""
    plant = Plant(tmp_path)
    plant.run(["pump-1"], START_MS, 30)
    context = browser.new_context(locale="en-GB")
    with PageProcess(plant.config, plant.port) as page:
        window = context.new_page()
        window.goto(f"{page.url}/")
        window.locator("tbody tr").wait_for()
    window.get_by_text("No connection to the page's server.").wait_for()
    assert window.locator("tbody th").inner_text() == "pump-1"
    context.close()


def test_the_first_view_is_small_and_quick(tmp_path: Path, open_page: OpenPage) -> None:
    """At 5,000 devices: at most 300 kB over the wire, and rows within a second."""
    plant = Plant(tmp_path, limits={"max_devices": 10_000, "outbox_messages": 100_000})
    plant.run([f"device-{i:04d}" for i in range(5000)], START_MS, 12)
    with PageProcess(plant.config, plant.port) as page:
        open_page(f"{page.url}/").close()  # the browser itself is warm
        took = []
        for _ in range(3):
            window = open_page("about:blank")
            requests = requests_of(window)
            start = time.monotonic()
            window.goto(f"{page.url}/")
            window.locator("tbody tr").nth(49).wait_for()
            took.append(time.monotonic() - start)
            assert 20_000 < sum(map(transferred, requests)) <= 300_000
            window.close()
        assert min(took) <= 1


def requests_of(window: "Page") -> list[Any]:
    """The requests of a window that have ended, from now on."""
    requests: list[Any] = []

    def keep(request: "Request") -> None:
        requests.append(request)

    window.on("requestfinished", keep)
    return requests


def transferred(request: Any) -> int:
    """Bytes of an answer; the stream of events does not end, and is not among them."""
    found = request.sizes()
    return int(found["responseBodySize"] + found["responseHeadersSize"])
