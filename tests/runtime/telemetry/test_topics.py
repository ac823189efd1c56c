"""Topic templates and names that may stand in a topic."""

import pytest

from rarefault.runtime.telemetry.topics import Template, topic_level_problem


@pytest.mark.parametrize(
    ("text", "subscription", "topic", "device"),
    [
        ("telemetry/{device}", "telemetry/+", "telemetry/plant_31", "plant_31"),
        ("site/+/{device}/data", "site/+/+/data", "site/north/p 1/data", "p 1"),
        ("plants/plant_{device}/t", "plants/+/t", "plants/plant_7/t", "7"),
        ("{device}", "+", "x", "x"),
        ("all/telemetry", "all/telemetry", "all/telemetry", ""),
        ("a.b/{device}", "a.b/+", "a.b/ü", "ü"),
        ("telemetry/{device}", "telemetry/+", "telemetry/a\nb", "a\nb"),
        ("{site}/+/{device}/{channel}/#", "+/+/+/+/#", "s/t/p1/temp/raw/x", "p1"),
        ("{site}/+/{device}/{channel}/#", "+/+/+/+/#", "s/t/p1/temp", "p1"),
        ("zigbee2mqtt/{device...}", "zigbee2mqtt/#", "zigbee2mqtt/hall/pump 1", "hall.pump 1"),
    ],
)
def test_template_finds_the_device(text: str, subscription: str, topic: str, device: str) -> None:
    """The template subscribes to its topics and reads the device's name out of them."""
    template = Template(text)
    assert template.subscription == subscription
    assert template.device(topic) == device
    assert template.matches(topic)


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("telemetry/{device}", "telemetry/a/b"),
        ("telemetry/{device}", "telemetryXa"),
        ("telemetry/{device}", "x/telemetry/a"),
        ("a.b/{device}", "aXb/c"),
        ("plants/plant_{device}", "plants/pump_7"),
    ],
)
def test_template_does_not_fit_other_topics(text: str, topic: str) -> None:
    """Fixed parts are taken literally and a device is within one level."""
    assert Template(text).device(topic) is None
    assert not Template(text).matches(topic)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tele/#/x", "'#' must stand alone, as the last level"),
        ("tele/x#", "'#' must stand alone, as the last level"),
        ("{a}{b}/{device}", "more than one name"),
        ("{device...}/x", "must be the last level"),
        ("x{device...}", "must be the last level"),
        ("tele+/{device}", "'\\+' must stand for a whole level"),
        ("{device}+", "'\\+' must stand for a whole level"),
        ("{device}/{device}", "more than once"),
        ("{the plant}/{device}", "letters, digits and '_' only"),
        ("$share/g/{device}", "shared subscription"),
        ("a\tb/{device}", "control characters"),
        ("", "1 to 65535 bytes"),
    ],
)
def test_unusable_templates_are_refused(text: str, message: str) -> None:
    """Each wrong template is refused with what is wrong about it."""
    with pytest.raises(ValueError, match=message):
        Template(text)


@pytest.mark.parametrize("name", ["", "a/b", "a+", "#", "a\0", "a\x7f", "\u202eb", "\ud800", "x" * 129])
def test_names_that_cannot_be_published_to(name: str) -> None:
    """Names with separators, wildcards or control characters cannot be a level of a topic."""
    assert topic_level_problem(name)


@pytest.mark.parametrize("name", ["plant_31", "Pumpe 7 (Süd)", "x" * 128, "$a", "設備"])
def test_names_that_can(name: str) -> None:
    """Printable names can."""
    assert topic_level_problem(name) is None
