"""The public API: what ``__all__`` names, and no more, is there, light to import, and documented."""

import importlib
import inspect
import subprocess
import sys
import types

import pytest

PORTIONS = ("rarefault.runtime", "rarefault.train", "rarefault.export")
NAMES = [(portion, name) for portion in PORTIONS for name in importlib.import_module(portion).__all__]


@pytest.mark.parametrize("portion", PORTIONS)
def test_dir_shows_what_is_public(portion: str) -> None:
    """``dir()`` and ``__all__`` agree, in order and without repeats; another name is an AttributeError."""
    package = importlib.import_module(portion)
    assert dir(package) == sorted(set(package.__all__)) == sorted(package.__all__)
    with pytest.raises(AttributeError, match=f"module '{portion}' has no attribute 'no_such_name'"):
        _ = package.no_such_name


@pytest.mark.parametrize(("portion", "name"), NAMES, ids=lambda value: value)
def test_each_name_resolves_and_is_documented(portion: str, name: str) -> None:
    """A docstring for all; a function's names its arguments, its result where it is not plain, and its errors."""
    value = getattr(importlib.import_module(portion), name)
    if name == "__version__":
        return
    doc = inspect.getdoc(value)
    assert doc
    if not isinstance(value, type):
        check_sections(value, doc)
        return
    fields = getattr(value, "__annotations__", {})  # they stand in the docstring of the class
    for method_name, method in vars(value).items():
        public = not method_name.startswith("_") and method_name not in fields
        if public and isinstance(method, (types.FunctionType, classmethod)):
            assert inspect.getdoc(getattr(value, method_name)), f"{name}.{method_name}"


def check_sections(function: object, doc: str) -> None:
    """``Args:`` names each argument where there is more than one, and ``Raises:`` the errors of what can fail."""
    assert isinstance(function, types.FunctionType)
    arguments = list(inspect.signature(function).parameters)
    if len(arguments) > 1:
        section = doc.split("Args:\n")[1].split("\n\n", maxsplit=1)[0]
        assert [name for name in arguments if name not in section] == []
    if function.__name__ != "format_ms":
        assert "Raises:\n" in doc


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import rarefault.runtime, rarefault.train, rarefault.export", ("numpy", "msgspec")),
        ("from rarefault.runtime.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass", ("numpy", "torch")),
        ("from rarefault.runtime import load_model", ("torch", "onnx", "paho", "prometheus_client")),
    ],
    ids=["import", "help", "load_model"],
)
def test_nothing_is_loaded_before_it_is_needed(code: str, heavy: tuple[str, ...]) -> None:
    """Importing the packages, and the list of commands, load no library; embedding a model no broker's client."""
    code = f"{code}\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
