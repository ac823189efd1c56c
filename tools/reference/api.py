"""The page of the Python API: what ``rarefault.runtime`` names in ``__all__``, for mkdocstrings to fill in."""

from tools.reference import sources

#: Of each entry: its own heading, by the name alone.
OPTIONS = """\
    options:
      heading_level: 2
      show_root_heading: true
      show_root_full_path: false
"""


def page() -> str:
    """``api.md``."""
    head = f"""# Python API

`from {sources.public.__name__} import ...` gives what is listed here. These names are a contract: a change is announced
in the changelog. Everything else may change with any release.
"""
    found = [f"::: {_place(name)}\n{OPTIONS}" for name in names()]
    return "\n".join([head, *(found or ["This release names no public Python API yet; use the [commands](cli.md).\n"])])


def names() -> list[str]:
    """The public names, in their order."""
    return list(getattr(sources.public, "__all__", ()))


def _place(name: str) -> str:
    """Where a name is defined: found without running code, as mkdocstrings reads it, even if it is imported lazily."""
    found = getattr(sources.public, name)
    module, defined = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    if isinstance(module, str) and defined and module.split(".")[0] == "rarefault":
        return f"{module}.{defined}"
    return f"{sources.public.__name__}.{name}"
