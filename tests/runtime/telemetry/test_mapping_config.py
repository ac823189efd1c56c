"""The keys of ``[telemetry]``: presets, several mappings, and contradictions, which are all said at once."""

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.config import DaemonConfig, load_config
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.presets import PRESETS, as_toml
from rarefault.runtime.telemetry.topics import only_needed, topic_filter


def config(telemetry: Any, **more: Any) -> DaemonConfig:
    return from_mapping({"model": {"path": "m"}, "telemetry": telemetry} | more, DaemonConfig, "edge.toml")


def problems(telemetry: Any, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(telemetry, **more)
    return caught.value.problems


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_keys_that_are_printed(name: str) -> None:
    """Printed as TOML and read again, it is the same mapping; keys that are given count, and fields are joined."""
    printed = tomllib.loads(as_toml(name))["telemetry"]
    assert MappingConfig.checked(printed) == msgspec.structs.replace(MappingConfig.checked({"preset": name}), preset="")
    changed = MappingConfig.checked({"preset": name, "time": "arrival", "fields": {"a": "b"}, "time_unit": None})
    assert changed.time == "arrival"
    assert changed.fields["a"] == "b"
    assert config({"preset": name}).telemetry.topic == printed["topic"]
    (both,) = {source.topic for source in config([{"preset": name}]).sources}
    assert both == printed["topic"]


def test_presets_are_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """All of them, or those that are named; as JSON, too."""
    assert main(["presets"]) == 0
    text = capsys.readouterr().out
    assert all(f"# {name}: " in text for name in PRESETS)
    assert main(["presets", "shelly", "--json", str(tmp_path / "out.json")]) == 0
    assert tomllib.loads(capsys.readouterr().out)["telemetry"]["ignore"] == {"method": ["NotifyEvent"]}
    assert json.loads((tmp_path / "out.json").read_text())["shelly"]["keys"]["values"] == "params"
    assert main(["presets", "nonsense"]) == 2
    assert "there is no preset 'nonsense'; there are zigbee2mqtt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"topic": "a", "name_pattern": "{channel}"}, "has no {device}"),
        ({"topic": "a", "name_pattern": "{device}"}, "name_pattern '{device}' has no {channel}"),
        ({"topic": "a", "name_pattern": "{device}{channel}"}, "two parts stand beside each other"),
        ({"name_pattern": "{device}.{channel}"}, "topic and name_pattern both have {device}"),
        ({"topic": "a", "name_pattern": "{line}/{device}/{channel}"}, "has {line}, which device does not use"),
        ({"topic": "a", "name_pattern": ["{device}.{channel}", "{channel}"]}, "does not have the same parts as"),
        (
            {"topic": "a/{channel}", "name_pattern": "{device}.{channel}"},
            "name_pattern says where the channel's name is",
        ),
        (
            {"format": "senml", "topic": "a", "name_pattern": "{device}.{channel}"},
            "name_pattern can be given with format",
        ),
        ({"preset": "zigbee"}, "preset: there is no 'zigbee'; there are zigbee2mqtt"),
        ({"topic": "a/+"}, "has no {device}"),
        ({"format": "scalar", "time": "arrival"}, "has no {channel} that names it"),
        ({"topic": "a/{device}/{channel}", "format": "senml"}, "the message names the channels"),
        ({"format": "influx", "records": "a"}, "records can be given with format 'json' only, but format is 'influx'"),
        ({"name": "n"}, "name is given without value"),
        ({"name": "n", "value": "v", "values": "fields"}, "name and values are both given"),
        ({"quality": "q", "good": []}, "good is empty"),
        ({"time": ["arrival", "ts"]}, "'arrival' must be the last"),
        ({"time_zone": "Mars/North"}, "no time zone 'Mars/North' is known"),
        ({"time": "arrival", "time_zone": "UTC"}, "time_zone can be given for times of the message only"),
        ({"time_format": "DD.MM.YYYY"}, "has no directive such as %Y"),
        ({"time_format": "%Y %z", "time_zone": "UTC"}, "time_format has the offset (%z)"),
        ({"device": "{site"}, "braces must hold a name of the topic or a path of the message"),
        ({"ignore_topics": ["a/#/b"]}, "'+' must stand for a whole level"),
        ({"compression": "lz4"}, "must be 'auto', 'gzip', 'zlib', 'none'"),
    ],
)
def test_what_contradicts_itself_is_refused(keys: dict[str, Any], said: str) -> None:
    """With the keys that do."""
    (problem,) = problems(keys)
    assert problem.startswith("telemetry")
    assert said in problem
    assert said in problems([{}, {"topic": "x/{device}"} | keys])[-1]


def test_all_problems_are_said_at_once() -> None:
    """Of one mapping, and of several, each with its place."""
    found = problems(
        [
            {"topic": "a/{device}", "time_zone": "Mars/North", "name": "n", "share": "a/b"},
            {"topic": "b/+", "quality": "q", "good": []},
            {"topic": "c/{device}", "tpic": 1},
        ]
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "telemetry[0]",
        "telemetry[0]",
        "telemetry[0]",
        "telemetry[1]",
        "telemetry[1]",
        "telemetry[2].tpic",
    ]


def test_several_mappings(tmp_path: Path) -> None:
    """Each has its topics; the keys of subscription and clock stand in the first, and filters that others cover go."""
    (tmp_path / "edge.toml").write_text(
        '[model]\npath = "m"\n[[telemetry]]\ntopic = "a/{device}"\nqos = 0\nshare = "s"\nmax_batch = 5\n'
        '[[telemetry]]\ntopic = "a/{device...}"\ntime = "ts"\nmax_payload_bytes = 7\n'
    )
    found = load_config(tmp_path / "edge.toml")
    assert (found.telemetry.qos, found.telemetry.share) == (0, "s")
    assert found.subscriptions == ("$share/s/a/#",)
    assert (found.max_batch, found.max_payload_bytes) == (10_000, 1 << 20)
    (problem,) = problems([{"topic": "a/{device}", "qos": 1}, {"topic": "b/{device}", "qos": 0}])
    assert "telemetry[1].qos is 0, but that of the first is 1" in problem
    (problem,) = problems([{"topic": "a/{device}"}, {"topic": "a/{device}", "time": "ts"}])
    assert "telemetry[1].topic 'a/{device}' is that of an earlier one" in problem
    (problem,) = problems([{}, {"topic": "rarefault/{device}/#"}])
    assert "telemetry[1].topic 'rarefault/{device}/#' also matches what the daemon uses itself" in problem
    assert config({"topic": "{device}/#", "ignore_topics": ["rarefault/#"]}).topics == "{device}/#"


def test_filters_that_others_cover_are_left_out() -> None:
    """A broker would deliver their messages twice."""
    assert only_needed(["a/b", "a/+", "a/#", "c"]) == ["a/#", "c"]
    assert only_needed(["+/x", "a/+", "+/+"]) == ["+/+"]
    assert only_needed(["a/b/c", "a/+"]) == ["a/b/c", "a/+"]
    assert only_needed(["#", "a"]) == ["#"]


@pytest.mark.parametrize(
    ("text", "fits", "not_fits"),
    [
        ("a/#", ["a", "a/b", "a/b/c"], ["ab", "b/a"]),
        ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/c/d"]),
        ("#", ["a", "a/b"], []),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_topic_filters(text: str, fits: list[str], not_fits: list[str]) -> None:
    """As a broker understands them."""
    pattern = topic_filter(text)
    assert all(pattern.fullmatch(topic) for topic in fits)
    assert not any(pattern.fullmatch(topic) for topic in not_fits)
