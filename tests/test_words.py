"""Names in the code are the field's terms: words that were used before have a replacement each."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What is checked; of tests, names of functions are sentences and are left to their writers.
PLACES = ("runtime", "train", "export", "page", "examples", "tools")
#: A part of a name, as it is written in snake_case, and what to write instead.
WORDS = {
    "material": "sources",
    "untrained": "new_model",
    "learnt": "learned, trained, known",
    "keeper": "turn_store",
    "codec": "decoder",
    "link": "session, connection",
    "streams": "window_buffer",
    "dealing": "fold_assignment",
    "plausible": "prediction_set",
    "mend": "remedy",
    "told": "given, logged, known",
    "asked": "requested, wanted, features",
    "said": "predicted, reported, published",
    "doubt": "smoothing, unknown",
    "again": "refit, repeated, second",
    "challenge": "phm2015_score",
}
#: Names as a whole that say too little of what they hold.
WHOLE = {
    "Validation": "HeldOutWindows",
    "NONE": "NO_UNITS, or what there is none of",
    "MOST": "the most of what: MOST_CHANNELS",
}
#: Names that others gave, or a field's own term, by their reason.
ALLOWED = {
    "link": "pathlib's and os' name for a hard link",
    "symlink_to": "pathlib",
    "is_symlink": "pathlib",
    "ValidationError": "msgspec",
}


def python_files(place: str) -> list[Path]:
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def names_of(node: ast.AST) -> Iterator[str]:
    """The names that a node gives: not those that it only uses, which may be another's."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.id if isinstance(node, ast.Name) else node.attr
    elif isinstance(node, ast.alias) and node.asname:
        yield node.asname
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.Global | ast.Nonlocal):
        yield from node.names


def parts(name: str) -> set[str]:
    """The words of a name in snake_case, CamelCase or CAPITALS, in small letters."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)}


def findings(tree: ast.AST, module: str) -> set[str]:
    """What is wrong with the names of a module, a sentence each."""
    named = {module} | {name for node in ast.walk(tree) for name in names_of(node)}
    found = {f"{name}: say {WHOLE[name.lstrip('_')]}" for name in named if name.lstrip("_") in WHOLE}
    for name in named - ALLOWED.keys():
        found |= {f"{name}: say {WORDS[word]} for {word!r}" for word in parts(name) & WORDS.keys()}
    return found


@pytest.mark.parametrize("place", PLACES)
def test_names_are_the_terms_of_the_field(place: str) -> None:
    """No function, class, argument, attribute, variable or module of these places has a replaced word in its name."""
    wrong = {
        f"{file.relative_to(ROOT)}: {finding}"
        for file in python_files(place)
        for finding in findings(ast.parse(file.read_text(encoding="utf-8")), file.stem)
    }
    assert sorted(wrong) == []


@pytest.mark.parametrize(
    "code",
    [
        "def hear_again(): ...",
        "class DurableKeeper: ...",
        "def f(*, said=0): ...",
        "self._told = 1",
        "for material, x in y: ...",
        "MEND = 'x'",
        "_MOST: int = 5",
        "class Validation: ...",
        "with f() as link_up: ...",
        "import json as codec",
        "if (asked := f()): ...",
        "HTTPLink = 1",
    ],
)
def test_a_replaced_word_is_found(code: str) -> None:
    """In whatever way a name is given."""
    assert len(findings(ast.parse(code), "module")) == 1


@pytest.mark.parametrize(
    "code",
    [
        "against = linked = relearnt = 1",
        "os.link(a, b)",
        "MOST_CHANNELS = 5",
        "class ValidationError: ...",
        "NONE_OF = 1",
    ],
)
def test_other_names_pass(code: str) -> None:
    """Only whole words count, and only names that are given."""
    assert findings(ast.parse(code), "module") == set()
