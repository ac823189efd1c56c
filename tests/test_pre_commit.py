"""The hooks of ``.pre-commit-config.yaml``: they exist, fetch nothing, and do what they say."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def hooks() -> list[dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    found: list[dict[str, Any]] = config["repos"][0]["hooks"]
    return found


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_the_command_of_each_hook_exists(hook: dict[str, Any]) -> None:
    """A tool of the environment that ``make setup`` makes, or a script of the repository."""
    assert hook["language"] == "system"
    program, *words = hook["entry"].split()
    assert program.startswith(".venv/bin/")
    name = Path(program).name
    assert (Path(sys.executable).parent / name).exists()
    if name == "python" and words[0] == "-m":
        subprocess.run([sys.executable, "-m", words[1], "--version"], check=True, capture_output=True)
    elif name == "python":
        assert (ROOT / words[0]).is_file()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("x" * 72 + "\n\nA body may have longer lines: " + "y" * 100 + "\n", 0),
        ("x" * 73 + "\n", 1),
        ("# a comment of git, which is no part of the message, however long it may be, is no subject\nshort\n", 0),
    ],
    ids=["72", "73", "comment"],
)
def test_the_subject_is_measured(message: str, code: int, tmp_path: Path) -> None:
    """72 characters pass, 73 do not, and the message says so."""
    file = tmp_path / "COMMIT_EDITMSG"
    file.write_text(message)
    command = [sys.executable, str(ROOT / ".ci" / "subject_length.py"), str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert ("73 characters" in result.stderr) == bool(code)
