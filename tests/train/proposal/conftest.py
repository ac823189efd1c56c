"""Files in the shape in which plants have them, and what ``rarefault init`` makes of them."""

import argparse
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rarefault.runtime.proposal.proposal import Proposal
from rarefault.train.config import TrainConfig, load_train_config
from rarefault.train.history import History, read_history
from rarefault.train.proposal import propose


@dataclass(frozen=True)
class Made:
    """A proposal, written to a file as ``--yes`` writes it."""

    proposal: Proposal
    path: Path

    @property
    def text(self) -> str:
        """The file."""
        return self.path.read_text("utf-8")

    @property
    def keys(self) -> dict[str, Any]:
        """What the file says."""
        return tomllib.loads(self.text)

    @property
    def data(self) -> Mapping[str, Any]:
        """Its section of the data."""
        section: Mapping[str, Any] = self.keys["data"]
        return section

    @property
    def config(self) -> TrainConfig:
        """The file as a training loads it."""
        return load_train_config(self.path)

    def read(self) -> History:
        """What a training reads with it."""
        config = self.config
        return read_history(config.data, self.path.parent, allow_incomplete=True, channels=config.channels)

    @property
    def questions(self) -> str:
        """The file in one line, as its comments are wrapped."""
        return " ".join(line.removeprefix("#").strip() for line in self.text.splitlines())


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    """Propose a configuration for files of ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def run(*sources: str, events: tuple[str, ...] = (), time_zone: str = "") -> Made:
        output = Path("plant.toml")
        args = argparse.Namespace(sources=list(sources), events=list(events), output=output, time_zone=time_zone)
        proposal = propose(args)
        output.write_text(proposal.as_toml(), "utf-8")
        return Made(proposal, tmp_path / output)

    return run


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., None]:
    """Write lines to a file of ``tmp_path``."""

    def write(name: str, *lines: str, encoding: str = "utf-8") -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(("\n".join(lines) + "\n").encode(encoding))

    return write
