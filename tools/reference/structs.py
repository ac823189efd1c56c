"""Structs as tables: name, type, default and meaning of each field."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import inspect as types

from tools.reference.docstrings import field_texts


@dataclass(frozen=True)
class Row:
    """One field.

    Attributes:
        name: as it is written in files and messages.
        type: what may stand there, in words.
        default: as TOML, or ``required``.
        meaning: the docstring.
        may_be_absent: whether a message can be without it.
    """

    name: str
    type: str
    default: str
    meaning: str
    may_be_absent: bool


class UndocumentedError(Exception):
    """A field without a docstring."""


def rows(struct: type[msgspec.Struct], unset: str = "not set") -> list[Row]:
    """The fields of a struct.

    Args:
        struct: any struct; a nested one is a row.
        unset: what stands for the default None.

    Raises:
        UndocumentedError: a field has no docstring.
    """
    texts = field_texts(struct)
    found = []
    for field in msgspec.structs.fields(struct):
        if not texts.get(field.name):
            raise UndocumentedError(f"{struct.__module__}.{struct.__qualname__}.{field.name} has no docstring")
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        required = default is msgspec.NODEFAULT
        found.append(
            Row(
                field.encode_name,
                type_words(types.type_info(field.type), dict(_literals(field.type))),
                "required" if required else default_words(field.name, default, unset),
                capital(texts[field.name]),
                default is msgspec.UNSET or msgspec.UnsetType in get_args(field.type),
            )
        )
    return found


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    shown = [[cell.replace("|", "\\|").replace("\n\n", "<br>") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(head), ["---"] * len(head), *shown]) + "\n"


def default_words(name: str, value: Any, unset: str) -> str:
    """A default as it would be written in TOML, with the size in larger units where that helps to read it."""
    if value is None:
        return unset
    if value is msgspec.UNSET:
        return "absent"
    return f"`{toml(value)}`{_in_larger_units(name, value)}"


def toml(value: Any) -> str:
    """A plain value as TOML; whole floats without their fraction."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(k)} = {toml(v)}' for k, v in value.items())}}}"
    return msgspec.json.encode(value).decode()


#: Words of a type, in the order in which the code has them, by the same without an order.
Order = dict[frozenset[Any], tuple[Any, ...]]


def type_words(kind: types.Type, order: Order) -> str:
    """What may stand in a field, in words."""
    words = _choices(kind, order)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _choices(kind: types.Type, order: Order) -> list[str]:
    """The values or types that a type allows."""
    match kind:
        case types.Metadata(type=inner):
            return _choices(inner, order)
        case types.UnionType(types=members):
            several = [member for member in members if not isinstance(member, types.NoneType)]
            words = [word for member in several for word in _choices(member, order)]
            return [words[0], *(word.removeprefix("section with ") for word in words[1:])]
        case types.LiteralType(values=values):
            return [f"`{toml(value)}`" for value in order[frozenset(values)]]
        case types.BoolType():
            return ["`true`", "`false`"]
    return [_one(kind, order)]


def _one(kind: types.Type, order: Order) -> str:
    """A type that is no choice."""
    match kind:
        case types.IntType() | types.FloatType():
            words = f"{'whole ' if isinstance(kind, types.IntType) else ''}number{_range(kind)}"
        case types.StrType(pattern=pattern):
            words = f"text that matches `{pattern}`" if pattern else "text (not empty)" if kind.min_length else "text"
        case types.DateTimeType():
            words = "date and time with an offset"
        case types.TupleType(item_types=items):
            words = f"{len(items)} {_plural(type_words(items[0], order))}"
        case types.VarTupleType(item_type=item, min_length=int(least), max_length=most) if least == most:
            words = f"list of {least} {_plural(type_words(item, order))}"
        case types.VarTupleType(item_type=item) | types.ListType(item_type=item):
            words = f"list of {_plural(type_words(item, order))}" + (", at least one" if kind.min_length else "")
        case types.DictType(value_type=value):
            words = f"names, each with: {type_words(value, order)}"
        case types.StructType(tag=tag, tag_field=key):
            words = "section" if tag is None else f"section with `{key} = {toml(tag)}`"
        case types.AnyType():
            words = "any value"
        case _:
            raise NotImplementedError(f"no words for {kind}")
    return words


def _literals(hint: Any) -> Iterator[tuple[frozenset[Any], tuple[Any, ...]]]:
    """The words of each Literal in a type; msgspec does not keep their order."""
    if get_origin(hint) is Literal:
        yield frozenset(get_args(hint)), get_args(hint)
    elif get_origin(hint) is not None:
        for part in get_args(hint):
            yield from _literals(part)


def _plural(words: str) -> str:
    return re.sub(r"\b(number|section)\b", r"\1s", words)


def capital(text: str) -> str:
    """A text that begins with a capital letter."""
    return f"{text[:1].upper()}{text[1:]}"


def _range(kind: types.IntType | types.FloatType) -> str:
    """The limits of a number, such as " from 1 to 256"."""
    if isinstance(kind, types.FloatType) and max(abs(kind.ge or 0), abs(kind.le or 0)) > 1e300:
        return ", finite"
    low = f"from {_n(kind.ge)}" if kind.ge is not None else f"above {_n(kind.gt)}" if kind.gt is not None else ""
    high = f"to {_n(kind.le)}" if kind.le is not None else f"below {_n(kind.lt)}" if kind.lt is not None else ""
    if low and high:
        return f" {low}{',' if high.startswith('below') or low.startswith('above') else ''} {high}"
    return f" {low or high}".rstrip()


def _n(value: float | None) -> str:
    return f"{value:.15g}"


def _in_larger_units(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    units = []
    if re.search(r"_s$", name):
        units = [(86400, "days"), (3600, "hours"), (60, "minutes")]
    elif name.endswith("bytes"):
        units = [(1 << 30, "GiB"), (1 << 20, "MiB")]
    for size, unit in units:
        if value >= size and value % size == 0:
            n = value // size
            return f" ({n:g} {unit.removesuffix('s') if n == 1 and unit[0].islower() else unit})"
    return ""
