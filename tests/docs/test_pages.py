"""What README and documentation show can be used: commands, configurations, messages, links."""

import argparse
import importlib
import json
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import pytest

import rarefault.runtime.daemon
from rarefault.runtime.cli import GROUP
from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.settings import from_mapping
from rarefault.train.config import TrainConfig
from rarefault.train.simulate import SimulationConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
COMMANDS = {entry.name: entry for entry in entry_points(group=GROUP)}
#: What a partial example lacks, by the configuration that it is of.
REST: dict[type[Any], dict[str, Any]] = {
    TrainConfig: {"data": {"format": "table", "samples": "telemetry.csv"}},
    DaemonConfig: {"model": {"path": "plant.onnx"}},
    SimulationConfig: {},
}
#: Topic of a message, and the daemon's struct of it.
PAYLOADS = {
    r".*/verdict": "VerdictPayload",
    r".*/alarm": "AlarmPayload",
    r".*/health": "HealthPayload",
    r".*/feedback": "FeedbackPayload",
    r".*/feedback/result": "ResultPayload",
}

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(path: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """Title and text of the fenced blocks of some languages."""
    for found in FENCE.finditer(path.read_text(encoding="utf-8")):
        if found["language"] in languages:
            yield found["title"] or "", re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)


def command_lines(path: Path) -> Iterator[list[str]]:
    """The commands of a page, each as its words."""
    for _, text in blocks(path, "sh", "console", "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line.removeprefix("$ "), comments=True)
            except ValueError:  # a quote that goes on in the next line, which is no command of ours
                continue
            if words[:1] == ["sudo"]:
                words = words[3:] if words[1] == "-u" else words[1:]
            end = next(
                (i for i, word in enumerate(words) if word in {"|", "&", "&&"} or word.startswith((">", "2>"))), None
            )
            if words[:end]:
                yield words[:end]


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of one command, as the command line has it."""
    parser = argparse.ArgumentParser(prog=f"rarefault {name}", exit_on_error=False)
    COMMANDS[name].load().configure(parser)
    parser.add_argument("--debug", action="store_true")
    return parser


@page
def test_commands_exist(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has such a name, such arguments and such values."""
    for words in command_lines(path):
        if Path(words[0]).name != "rarefault" or words[1:2] in (["--help"], ["--version"]):
            continue
        assert words[1] in COMMANDS, words
        try:
            parser_of(words[1]).parse_args([word for word in words[2:] if word != "--help"])
        except (SystemExit, argparse.ArgumentError) as error:
            pytest.fail(f"{shlex.join(words)}: {error} {capsys.readouterr().err}")


@page
def test_targets_exist(path: Path) -> None:
    """Each target of make exists, and each variable is used."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in command_lines(path):
        if words[0] == "make":
            for word in words[1:]:
                name, is_variable, _ = word.partition("=")
                assert (f"$({name})" if is_variable else f"\n{name}:") in makefile, words


@page
def test_configurations_load(path: Path) -> None:
    """Each TOML block is accepted by the configuration that it is of; what it leaves out is filled in."""
    for title, text in blocks(path, "toml"):
        problems = []
        given = tomllib.loads(text)
        kinds = [DaemonConfig] if title.startswith("edge") else [TrainConfig] if title else list(REST)
        for kind in kinds:
            try:
                from_mapping({**REST[kind], **given}, kind, f"{path.name}: {title}")
            except ConfigError as error:
                problems.append(str(error))
        assert len(problems) < len(kinds), problems


def payload(name: str) -> type[msgspec.Struct]:
    """A struct of the daemon's, by its name."""
    for module in pkgutil.walk_packages(rarefault.runtime.daemon.__path__, "rarefault.runtime.daemon."):
        found: type[msgspec.Struct] | None = getattr(importlib.import_module(module.name), name, None)
        if found is not None:
            return found
    pytest.fail(f"the daemon has no {name}")


@page
def test_messages_decode(path: Path) -> None:
    """Each JSON block is JSON; one that is titled with a topic of the daemon is its message, without unknown fields."""
    for title, text in blocks(path, "json"):
        if not title:
            continue
        given = json.loads(text)
        struct = next((name for topic, name in PAYLOADS.items() if re.fullmatch(topic, title)), None)
        if struct is None:
            assert given, title
            continue
        type_ = payload(struct)
        msgspec.json.decode(text, type=type_)
        assert set(given) <= {field.encode_name for field in msgspec.structs.fields(type_)}, title


def test_the_readme_is_short() -> None:
    """It is for reading, not for looking up."""
    assert len(README.encode()) <= 8192


def test_links_of_the_readme_lead_somewhere() -> None:
    """Files exist, and so do the headings in them; the site's own links are checked when it is built."""
    links = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", README)
    assert len(links) > 10
    for link in (markdown or image for markdown, image in links):
        name, _, anchor = link.partition("#")
        target = ROOT / name
        assert target.is_file(), link
        if anchor:
            text = target.read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_pictures_say_what_they_show() -> None:
    """Each picture has a title and a description, and takes nothing from other hosts."""
    pictures = list((ROOT / "docs" / "pictures").glob("*.svg"))
    assert pictures
    for picture in pictures:
        text = picture.read_text(encoding="utf-8")
        assert re.search(r"<title id=\"title\">.+</title>\s*<desc id=\"desc\">.+</desc>", text), picture
        outside = set(re.findall(r"https?://[^\"' )<]+", text)) - {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
        assert not outside, picture


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    """Every page is found, every link and anchor leads somewhere, and nothing comes from other hosts."""
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for html in (tmp_path / "site").rglob("*.html"):
        loads = re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\" >]+)", html.read_text(encoding="utf-8")
        )
        assert not [at for at in loads if "canonical" not in at], html
