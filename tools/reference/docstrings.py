"""What the code says about classes and their fields, as Markdown."""

import ast
import inspect
import re
import textwrap

#: ``name: text`` or ``one, other: text`` below ``Attributes:``.
_ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")


def class_text(cls: type) -> str:
    """The docstring of a class as Markdown, without its list of attributes; empty if it has none."""
    return markdown(_parts(cls)[0])


def field_texts(cls: type) -> dict[str, str]:
    """What the fields of a class mean, by name: the string below each field, or its entry under ``Attributes:``."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] == "rarefault":
            found |= _listed(_parts(base)[1]) | _below(base)
    return {name: markdown(text) for name, text in found.items()}


def markdown(text: str) -> str:
    """A docstring's reStructuredText as Markdown; paragraphs stay, lines are joined."""
    text = re.sub(r":mod:`~?([\w.]+)`", r"`\1`", text)
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()))


def _parts(cls: type) -> tuple[str, str]:
    """The docstring of a class before and after ``Attributes:``."""
    text, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n")
    return text, textwrap.dedent(attributes)


def _listed(attributes: str) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    for line in attributes.splitlines():
        if entry := _ENTRY.match(line):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif not line.startswith(" "):
            names = []
        for name in names if line.startswith(" ") else ():
            found[name] += f" {line.strip()}"
    return found


def _below(cls: type) -> dict[str, str]:
    """The strings below the fields of a class; the interpreter drops them, so they are read from the source."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        match field, after:
            case (
                ast.AnnAssign(target=ast.Name(name)) | ast.Assign(targets=[ast.Name(name)]),
                ast.Expr(ast.Constant(str(text))),
            ):
                found[name] = text
    return found
