"""Public names of a package that are loaded when they are first used."""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (PEP 562), so that importing it stays quick.

    A type checker sees the names through imports under ``TYPE_CHECKING`` in the package itself.

    Args:
        package: its full name; it has an ``__all__``.
        modules: public names by the full name of the module that they come from.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module_of[name]), name)
        setattr(sys.modules[package], name, value)  # from now on found without this function
        return value

    def public() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return get, public
