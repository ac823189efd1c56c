"""The command line itself: help, exit codes, errors in one sentence."""

import subprocess
import sys

import pytest

from rarefault.runtime import cli
from rarefault.runtime.errors import ConfigError, MissingExtraError, RarefaultError


def rarefault(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rarefault.runtime.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_help_lists_every_command() -> None:
    """``rarefault --help`` names each command with its line of help."""
    result = rarefault("--help")
    assert result.returncode == 0
    for name in cli.ORDER:
        assert f"\n    {name} " in result.stdout


def test_version() -> None:
    """``--version`` prints it."""
    assert rarefault("--version").stdout.startswith("rarefault 0.")


@pytest.mark.parametrize("arguments", [(), ("fly",), ("run",), ("run", "a.toml", "--fly")])
def test_bad_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    """A missing or unknown command or argument is bad usage, said on stderr with the usage line."""
    result = rarefault(*arguments)
    assert result.returncode == 2
    assert "usage: rarefault" in result.stderr


def test_errors_are_one_sentence_and_no_traceback() -> None:
    """A configuration that does not exist is named; the traceback shows only with --debug."""
    result = rarefault("run", "nowhere.toml")
    assert result.returncode == 2
    assert "nowhere.toml" in result.stderr
    assert "does not exist" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in rarefault("run", "nowhere.toml", "--debug").stderr


def test_exit_codes_follow_the_kind_of_error() -> None:
    """1 for what failed, 2 for usage and configuration."""
    assert RarefaultError("x").exit_code == 1
    assert ConfigError("f.toml", ["a: b"]).exit_code == 2
    error = MissingExtraError("train", "train", "torch")
    assert error.exit_code == 2
    assert "pip install 'rarefault[train]'" in str(error)
