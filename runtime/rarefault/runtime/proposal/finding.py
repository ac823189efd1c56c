"""A key of a configuration that data speak for."""

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Finding:
    """What a key should be, and why.

    Attributes:
        key: of a section, such as ``"decimal"``.
        value: what the key should be; None where nothing speaks for one value more than for another.
        evidence: what the data show, with an example.
        other: what it may as well be, as it would stand in the section; "" where the data leave no other reading.
    """

    key: str
    value: object
    evidence: str
    other: str = ""

    @property
    def setting(self) -> str:
        """The key and its value, as they stand in a section."""
        return f"{self.key} = {toml_value(self.value)}"

    def remedy(self, prefix: str = "data.") -> str:
        """What to set, with the alternative."""
        both = [f"{prefix}{one}" for one in (self.setting, self.other) if one]
        if prefix == "--":  # of a command
            both = [f"{key.replace('_', '-')} {value}" for key, _, value in (one.partition(" = ") for one in both)]
        return f"set {', or '.join(both)}"

    def sentence(self, prefix: str = "data.") -> str:
        """Evidence and remedy."""
        return f"{self.evidence}; {self.remedy(prefix)}"


def toml_value(value: Any) -> str:
    """A plain value as TOML has it: text, a number, a truth value, a list or a table of these, in one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml_key(key)} = {toml_value(item)}' for key, item in value.items())}}}"
    return msgspec.json.encode(value).decode()


def toml_key(key: str) -> str:
    """A key as TOML has it: in quotes where it is no bare one."""
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else msgspec.json.encode(key).decode()


def printable(text: str) -> str:
    """Text with its control characters made visible: it may come from outside."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
