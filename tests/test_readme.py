"""The README is a contract: its examples load, and it names every key, topic field and command."""

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import msgspec
import pytest

from rarefault.runtime.daemon.config import DaemonConfig, FileSinkConfig
from rarefault.runtime.daemon.publishing.payloads import AlarmPayload, VerdictPayload
from rarefault.runtime.settings import from_mapping
from rarefault.train.config import TrainConfig
from rarefault.train.history import JournalConfig, Phm2015Config, TableConfig, TogetherConfig

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
#: Section headings and the configuration that stands below each.
REFERENCES: dict[str, type[msgspec.Struct]] = {
    "Configuration of the trainer": TrainConfig,
    "Configuration of the daemon": DaemonConfig,
}


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_examples_load() -> None:
    """Every TOML block is a configuration that is accepted as it stands."""
    blocks = [
        re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    ]
    assert len(blocks) == 2
    from_mapping(tomllib.loads(blocks[0]), TrainConfig, "README.md")
    from_mapping(tomllib.loads(blocks[1]), DaemonConfig, "README.md")


@pytest.mark.parametrize("title", REFERENCES)
def test_the_reference_names_every_key(title: str) -> None:
    """A key that is not in the reference does not exist for anybody who reads it."""
    text = section(title)
    named = set(re.findall(r"`(?:\w+\.)?(\w+)`", text))
    for field in msgspec.structs.fields(REFERENCES[title]):
        several = {"data": (Phm2015Config, TableConfig, JournalConfig, TogetherConfig), "sink": (FileSinkConfig,)}
        for type_ in several.get(field.name, (field.type,)):
            keys = {key.name for key in msgspec.structs.fields(type_)}
            assert keys <= named, f"[{field.name}]: {sorted(keys - named)}"


def test_the_payloads_are_shown_whole() -> None:
    """Both payloads are listed with all of their fields."""
    for type_ in (VerdictPayload, AlarmPayload):
        shown = ", ".join(f'"{name}"' for name in type_.__struct_fields__)
        for form, names in {"{...}": ("probabilities", "channels"), "[...]": ("prediction_set", "overridden")}.items():
            for name in names:
                shown = shown.replace(f'"{name}"', f'"{name}": {form}')
        assert shown in README


def test_every_page_and_topic_is_mentioned() -> None:
    """Topics and pages of the daemon, and what the status topic may say."""
    for text in (
        "/metrics",
        "/healthz",
        "/readyz",
        "{device}/feedback",
        "{runtime}/health",
        "`online`",
        "`offline`",
        "`impaired`",
        "SIGHUP",
    ):
        assert text in README


def test_every_command_is_mentioned() -> None:
    """Each command has its place in the story."""
    for entry in entry_points(group="rarefault.commands"):
        assert f"rarefault {entry.name}" in README
