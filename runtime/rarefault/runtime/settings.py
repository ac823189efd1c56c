"""TOML files to frozen, typed settings; every problem of a file is reported at once."""

import difflib
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from rarefault.runtime.errors import ConfigError

T = TypeVar("T")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the sections of a configuration file; a key that is not known is refused."""


def load_toml(path: Path, type_: type[T]) -> T:
    """Read a TOML file into a ``msgspec.Struct`` type.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has unknown keys, wrong types or impossible values.
    """
    return from_mapping(read_toml(path), type_, str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into plain values; ConfigError where that fails."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(str(path), ["the file does not exist"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"the file is not UTF-8 text: {error.reason} at byte {error.start}"]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"the file cannot be read: {error.strerror}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"not valid TOML: {error}"]) from None


def from_mapping(data: Mapping[str, Any], type_: type[T], source: str) -> T:
    """Convert plain values into ``type_``, collecting all problems before refusing.

    Raises:
        ConfigError: with every problem, each named by the full path of its key.
    """
    data = _lists_of_one(data, type_)
    problems = _problems(data, type_, "")
    if not problems:
        try:
            return msgspec.convert(data, type_)
        except msgspec.ValidationError as error:
            problems = [_sentence(error, "")]
    raise ConfigError(source, problems)


def _lists_of_one(value: Any, type_: Any) -> Any:
    """The value with a single item made a list of one wherever nothing but a list is wanted."""
    struct = _struct_of(value, type_)
    if struct is not None:
        hints = get_type_hints(struct, include_extras=True)
        hints = {field.encode_name: hints[field.name] for field in msgspec.structs.fields(struct)}
        return {key: _lists_of_one(item, hints[key]) if key in hints else item for key, item in value.items()}
    item_type = _item_type(type_)
    if item_type is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_lists_of_one(item, item_type) for item in value]
    return [_lists_of_one(value, item_type)] if isinstance(value, (str, bool, int, float, Mapping)) else value


def _item_type(type_: Any) -> Any | None:
    """Of what a list is, where ``type_`` is a list of any length, or such a list or None; else None."""
    if hasattr(type_, "__metadata__"):
        return _item_type(get_args(type_)[0])
    members = [member for member in get_args(type_) if member is not type(None)]
    if get_origin(type_) in (Union, UnionType):
        return _item_type(members[0]) if len(members) == 1 else None
    if get_origin(type_) is list or (get_origin(type_) is tuple and members[-1] is ...):
        return members[0]
    return None


def _list_beside(type_: Any) -> Any | None:
    """The only type of a list among several types; else None."""
    if get_origin(type_) not in (Union, UnionType) or _item_type(type_) is not None:
        return None
    lists = [member for member in get_args(type_) if _item_type(member) is not None]
    return lists[0] if len(lists) == 1 else None


def _problems(value: Any, type_: Any, path: str) -> list[str]:
    """All problems of ``value`` as a ``type_``, looking into nested structs key by key."""
    if isinstance(value, list) and (of_list := _list_beside(type_)) is not None:
        return _problems(value, of_list, path)
    struct, item_type = _struct_of(value, type_), _item_type(type_)
    if isinstance(value, list) and value and item_type is not None:
        found = [text for i, item in enumerate(value) for text in _problems(item, item_type, f"{path}[{i}]")]
        return found or _leaf_problem(value, type_, path)
    if struct is None and isinstance(value, Mapping) and (tags := _tags(type_)):
        key, known = tags
        return [f"{path}.{key}: must be one of {', '.join(map(repr, known))}, got {value.get(key)!r}"]
    if struct is None or not isinstance(value, Mapping):
        return _leaf_problem(value, type_, path)
    hints = get_type_hints(struct, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    tag_field = struct.__struct_config__.tag_field
    found = []
    for key, item in value.items():
        at = f"{path}.{key}" if path else str(key)
        if key in fields:
            found += _problems(item, hints[fields[key].name], at)
        elif key != tag_field:
            near = difflib.get_close_matches(str(key), list(fields), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(sorted(fields))}"
            found.append(f"{at}: unknown key{hint}")
    for key, field in fields.items():
        if field.required and key not in value:
            found.append(f"{f'{path}.{key}' if path else key}: required, but missing")
    # Only a struct whose parts are all sound is built, so that checks across keys (__post_init__) run last.
    return found or _leaf_problem(value, struct, path)


def _leaf_problem(value: Any, type_: Any, path: str) -> list[str]:
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        text = _sentence(error, path, value)
        return [text.removesuffix(f", got {value!r}") + hint if (hint := _wanted(type_, text)) else text]
    return []


def _wanted(type_: Any, text: str) -> str:
    """What is allowed, where msgspec's message leaves that out: one of a few words, or an instant."""
    if "invalid enum value" in text:
        words = [repr(word) for word in _words(type_)]
        others = ["a number"] if {int, float} & set(_plain_types(type_)) else []
        others += ["a list"] if _list_beside(type_) is not None else []
        return f"; must be {' or '.join([', '.join(words), *others])}" if words else ""
    if "datetime" in text and datetime in _plain_types(type_):
        return "; must be a day, a time and an offset, such as 2024-03-01T00:00:00Z"
    return ""


def _plain_types(type_: Any) -> list[Any]:
    """The members of a type, without what limits them."""
    if hasattr(type_, "__metadata__"):
        return _plain_types(get_args(type_)[0])
    if get_origin(type_) in (Union, UnionType):
        return [member for part in get_args(type_) for member in _plain_types(part)]
    return [type_]


def _words(type_: Any) -> list[Any]:
    """The words that a type allows."""
    return [word for member in _plain_types(type_) if get_origin(member) is Literal for word in get_args(member)]


def _struct_of(value: Any, type_: Any) -> type[msgspec.Struct] | None:
    """The struct that ``value`` is meant to be: ``type_``, or the member of a tagged union that its tag names."""
    origin = get_origin(type_)
    if origin is not None and hasattr(type_, "__metadata__"):
        type_ = get_args(type_)[0]
        origin = get_origin(type_)
    members = get_args(type_) if origin is not None else (type_,)
    structs = [m for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct)]
    if not structs or not isinstance(value, Mapping):
        return None
    if len(structs) == 1:
        return structs[0]
    for struct in structs:
        config = struct.__struct_config__
        if config.tag_field is not None and value.get(config.tag_field) == config.tag:
            return struct
    return None


def _tags(type_: Any) -> tuple[str, list[Any]] | None:
    """The key that distinguishes the structs of a union, and its values; None where ``type_`` is no such union."""
    configs = [m.__struct_config__ for m in get_args(type_) if isinstance(m, type) and issubclass(m, msgspec.Struct)]
    tagged = [config for config in configs if config.tag_field is not None]
    return (str(tagged[0].tag_field), [config.tag for config in tagged]) if len(tagged) > 1 else None


def _sentence(error: msgspec.ValidationError, path: str, value: Any = ...) -> str:
    """Msgspec's message, with the key's full path in front and the value that was found behind."""
    text, _, where = str(error).partition(" - at `$")
    inner = where.rstrip("`").lstrip(".")
    at = ".".join(part for part in (path, inner) if part).replace(".[", "[")
    text = text[:1].lower() + text[1:]
    got = f", got {value!r}" if isinstance(value, (bool, int, float, str)) and "got" not in text else ""
    return f"{at}: {text}{got}" if at else f"{text}{got}"
