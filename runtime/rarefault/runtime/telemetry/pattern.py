"""Names with parts in braces, such as ``PLANT.{device}.{channel}`` or ``{device}/*.csv``, and what the parts are."""

import glob
import re

#: A part; a brace in brackets, as in ``[{]``, is one of a name.
PART = re.compile(r"(?<!\[)\{([^{}]*)\}")
_NAME = re.compile(r"[^\W\d]\w*\+?")


class Pattern:
    """A text with named parts.

    A part holds none of the marks (no letter, digit or blank) that stand beside it, so that a text can be read in one
    way only; one that may hold them is written ``{name+}``. ``*`` is any text, in a path within a folder.

    >>> Pattern("PLANT.{device}.{channel}").match("PLANT.P1.TEMP")
    {'device': 'P1', 'channel': 'TEMP'}
    >>> Pattern("PLANT.{device}.{channel}").match("PLANT.P1.TEMP.PV") is None
    True
    >>> Pattern("PLANT.{device}.{channel+}").match("PLANT.P1.TEMP.PV")
    {'device': 'P1', 'channel': 'TEMP.PV'}

    Args:
        text: the pattern.
        path: whether it is one of files, in which a part is within a folder and ``**``, ``?`` and ``[...]`` are known.

    Attributes:
        names: of the parts.

    Raises:
        ValueError: a part has no name, one twice, two stand beside each other, or several may hold marks.
    """

    def __init__(self, text: str, *, path: bool = False) -> None:
        self.text, self._path = text, path
        found = PART.findall(text)
        if wrong := [name for name in found if not _NAME.fullmatch(name)]:
            raise ValueError(f"{text!r}: {{{wrong[0]}}} is no name of letters, digits and _")
        self.names = tuple(name.removesuffix("+") for name in found)
        if twice := [name for name in self.names if self.names.count(name) > 1]:
            raise ValueError(f"{text!r} names {{{twice[0]}}} more than once")
        if "}{" in text:
            raise ValueError(f"{text!r}: two parts stand beside each other, so nobody knows where one ends")
        if sum(name.endswith("+") for name in found) > 1:
            raise ValueError(f"{text!r}: only one part may hold the marks beside it")
        self._regex = re.compile(self._pattern(), re.DOTALL)

    def match(self, text: str) -> dict[str, str] | None:
        """The parts of a text, by name; None where it does not fit."""
        found = self._regex.fullmatch(text)
        return found.groupdict() if found else None

    @property
    def glob(self) -> str:
        """The pattern for files, with ``*`` for each part."""
        return PART.sub("*", self.text)

    def _pattern(self) -> str:
        pieces = PART.split(self.text)
        out = []
        for i, piece in enumerate(pieces):
            if i % 2 == 0:
                out.append(_literal(piece, path=self._path))
                continue
            beside = {*pieces[i - 1][-1:], *pieces[i + 1][:1]}
            marks = (
                "" if piece.endswith("+") else "".join(m for m in sorted(beside) if not m.isalnum() and m not in "*?")
            )
            if self._path:
                marks += "/"
            some = f"[^{re.escape(marks)}]" if marks else "."
            out.append(f"(?P<{piece.removesuffix('+')}>{some}+)")
        return "".join(out)


def _literal(text: str, *, path: bool) -> str:
    """The regular expression of a text between parts."""
    out, at = [], 0
    while at < len(text):
        rest = text[at:]
        if path and rest.startswith("**/"):
            out.append("(?:.*/)?")
            at += 3
        elif rest[0] == "*":
            out.append("[^/]*" if path else ".*")
            at += 1
        elif path and rest[0] == "?":
            out.append("[^/]")
            at += 1
        elif path and (group := re.match(r"\[(!?)(\]?[^\]]*)\]", rest)):
            letters = "".join(letter if letter == "-" else re.escape(letter) for letter in group[2])
            out.append(f"[{'^' if group[1] else ''}{letters}]")
            at += group.end()
        else:
            out.append(re.escape(rest[0]))
            at += 1
    return "".join(out)


def escaped(path: str) -> str:
    """The pattern that fits one path alone."""
    return re.sub(r"[{}]", r"[\g<0>]", glob.escape(path))
