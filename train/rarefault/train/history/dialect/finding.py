"""What a file shows of how it is written."""

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Finding:
    """A key of a ``[data]`` section that a file speaks for.

    Attributes:
        key: of the section, such as ``"decimal"``.
        value: what the key should be.
        evidence: what the file shows, with an example.
        other: what it may as well be, as it would stand in the section; "" where the file leaves no other reading.
    """

    key: str
    value: object
    evidence: str
    other: str = ""

    def remedy(self, prefix: str = "data.") -> str:
        """What to set, with the alternative."""
        setting = f"{self.key} = {msgspec.json.encode(self.value).decode()}"
        both = [f"{prefix}{one}" for one in (setting, self.other) if one]
        if prefix == "--":  # of a command
            both = [f"{key.replace('_', '-')} {value}" for key, _, value in (one.partition(" = ") for one in both)]
        return f"set {', or '.join(both)}"

    def sentence(self, prefix: str = "data.") -> str:
        """Evidence and remedy."""
        return f"{self.evidence}; {self.remedy(prefix)}"
