"""Bad TOML: every problem at once, each with its key's full path and what is allowed."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from rarefault.runtime.errors import ConfigError
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.runtime.settings import load_toml, read_toml


class Cat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="cat"):
    lives: Annotated[int, msgspec.Meta(ge=1, le=9)] = 9


class Dog(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="dog"):
    trick: str


class Whole(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pet: Cat | Dog
    grid: GridSpec = GridSpec()
    names: list[str] = []


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "some.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_toml(file, Whole)
    assert caught.value.exit_code == 2
    assert str(file) in str(caught.value)
    return caught.value.problems


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    """Unknown key, wrong type and impossible value are reported together, by their full paths."""
    found = problems(
        tmp_path,
        'names = [1]\n[pet]\nkind = "cat"\nlives = 12\nlive = 1\n[grid]\nperiod_s = -1\nmax_hold = 3\n',
    )
    assert found == [
        "names[0]: expected `str`, got `int`",
        "pet.lives: expected `int` <= 9, got 12",
        "pet.live: unknown key; did you mean 'lives'?",
        "grid.period_s: expected `float` >= 0.001, got -1",
        "grid.max_hold: unknown key; did you mean 'max_hold_s'?",
    ]


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    """What is required and absent is named with its section."""
    assert problems(tmp_path, '[pet]\nkind = "dog"\n') == ["pet.trick: required, but missing"]
    assert problems(tmp_path, "") == ["pet: required, but missing"]


def test_an_unknown_choice_is_named(tmp_path: Path) -> None:
    """A tag that names no member of the union is named with its key."""
    assert problems(tmp_path, '[pet]\nkind = "cow"\n') == ["pet.kind: must be one of 'cat', 'dog', got 'cow'"]


def test_checks_across_keys_name_their_section(tmp_path: Path) -> None:
    """What only two keys together make impossible is reported for their section."""
    found = problems(tmp_path, '[pet]\nkind = "cat"\n[grid]\nperiod_s = 900\nmax_gap_s = 60\n')
    assert found == ["grid: max_gap_s (60) must be at least period_s (900)"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a = ", "not valid TOML"), (b"\xff\xfe", "not UTF-8"), (None, "does not exist")],
)
def test_files_that_are_no_toml(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A file that cannot be read at all is one clear problem."""
    file = tmp_path / "some.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_toml(file, Whole)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    """Sound values come through with their types."""
    file = tmp_path / "some.toml"
    file.write_text('[pet]\nkind = "dog"\ntrick = "roll"\n[grid]\nperiod_s = 60\n', encoding="utf-8")
    assert load_toml(file, Whole) == Whole(pet=Dog(trick="roll"), grid=GridSpec(period_s=60))


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    path = tmp_path / "edge.toml"
    path.write_text("\ufeffa = 1\n", encoding="utf-8")
    assert read_toml(path) == {"a": 1}
