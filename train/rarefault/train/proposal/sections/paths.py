"""Patterns for the files of a history, as a configuration names them; parts of paths that are devices."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.parsing.files import find_files
from rarefault.train.history.parsing.packed import members
from rarefault.train.history.parsing.pattern import escaped

#: A day, or what counts files, in a name.
_DAY = r"(?:19|20)\d\d(?:[-_.]?(?:0[1-9]|1[0-2])(?:[-_.]?(?:[0-2]\d|3[01]))?)?(?:[T_-]\d{2,6}Z?)?"
_DATED = re.compile(rf"^(?P<before>.*?)(?P<mark>[-_. ]*)(?<!\d)(?P<day>{_DAY})(?!\d)(?P<after>[-_. ].*)?$")


@dataclass(frozen=True, slots=True)
class PathDevices:
    """Devices that paths name.

    Attributes:
        patterns: of the files, with ``{device}``.
        device: of each file.
        keys: further keys of the section, such as how sites and devices make a name.
        evidence: for people.
    """

    patterns: tuple[str, ...]
    device: dict[Path, str]
    keys: dict[str, str]
    evidence: str


def relative(path: Path, base: Path) -> str:
    """A path as it stands in a configuration in a folder."""
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()


def file_patterns(paths: Sequence[Path], base: Path, besides: Collection[Path] = ()) -> tuple[str, ...]:
    """Patterns that match the files and no others, but for some; the names of the files where there are none.

    Args:
        paths: the files.
        base: folder of the configuration.
        besides: files that a pattern may match as well, because the reader leaves them out.
    """
    names = [relative(path, base) for path in paths]
    archives = {path.parent for path in paths if path.parent.is_file()}
    whole = {archive for archive in archives if set(members(archive)) <= set(paths)}
    single = [name for path, name in zip(paths, names, strict=True) if path.parent not in whole]
    single += [relative(archive, base) for archive in sorted(whole)]
    if len(single) < 2:
        return tuple(single)
    found = []
    for group in _alike(single).values():
        pattern = "/".join(
            _part(values, last=i == len(group[0]) - 1) for i, values in enumerate(zip(*group, strict=True))
        )
        found.append(pattern if len(group) > 1 else "/".join(group[0]))
    wanted = {path.resolve() for path in paths} | {archive.resolve() for archive in whole}
    if _matched(found, base) <= wanted | {path.resolve() for path in besides} | {p.resolve() for p in paths}:
        return tuple(found)
    return tuple(single)


def device_paths(
    paths: Sequence[Path], base: Path, overlapping: bool, besides: Collection[Path] = ()
) -> PathDevices | None:
    """Devices that folders or names of files name; None where these do not tell files apart.

    Args:
        paths: the files.
        base: folder of the configuration.
        overlapping: whether some of the files hold the same times: so these are not parts of one device's history.
        besides: files that a pattern may match as well.
    """
    names = [relative(path, base).split("/") for path in paths]
    if len(paths) < 2 or len({len(one) for one in names}) > 1 or any(path.parent.is_file() for path in paths):
        return None
    columns = list(zip(*names, strict=True))
    folders = [i for i, values in enumerate(columns[:-1]) if len(set(values)) > 1 and not _all_days(values)]
    if folders:
        found = _by_folder(paths, columns, folders)
        return found if found is not None and _matches(found, base, besides) else None
    found = _by_name(paths, columns) if overlapping or _named_with_days(columns[-1]) else None
    return found if found is not None and _matches(found, base, besides) else None


def _by_folder(paths: Sequence[Path], columns: Sequence[tuple[str, ...]], folders: Sequence[int]) -> PathDevices | None:
    """The innermost folder that differs is the device; where it has the same name in several, these are its site."""
    at = folders[-1]
    site = folders[-2] if len(folders) > 1 else None
    if site is not None and len(set(columns[at])) == len(set(zip(columns[site], columns[at], strict=True))):
        site = None  # each name is of one site
    parts = [_part(values, last=i == len(columns) - 1) for i, values in enumerate(columns)]
    device, parts[at] = _braced(columns[at], "device")
    keys, evidence = {}, f"the folders are named {_some(device)}"
    if site is not None:
        sites, parts[site] = _braced(columns[site], "site")
        keys["device"] = "{site}-{device}"
        device = [f"{one}-{other}" for one, other in zip(sites, device, strict=True)]
        evidence = f"several folders have a folder of one name, so devices are named like {_some(device)}"
    return PathDevices(("/".join(parts),), dict(zip(paths, device, strict=True)), keys, evidence)


def _by_name(paths: Sequence[Path], columns: Sequence[tuple[str, ...]]) -> PathDevices | None:
    """The name of the file, without a day, is the device."""
    stems = [_stem(name) for name in columns[-1]]
    ending = columns[-1][0].removeprefix(stems[0])
    if any(name != stem + ending for name, stem in zip(columns[-1], stems, strict=True)):
        return None
    parts = [_part(values, last=False) for values in columns[:-1]]
    dated = [_DATED.match(stem) for stem in stems]
    if all(dated):
        device = [found["before"] for found in dated if found]
        marks = {found["mark"] for found in dated if found}
        if not all(device) or len(marks) > 1 or len(set(device)) < 2:
            return None
        plus = "+" if any(mark in name for name in device for mark in marks if mark) else ""
        name = f"{{device{plus}}}{marks.pop()}*{ending}"
        evidence = f"before a day, the files are named {_some(device)}"
    else:
        device, name = stems, f"{{device}}{ending}"
        evidence = f"the files are named {_some(device)}, and hold the same times"
    return PathDevices(("/".join([*parts, name]),), dict(zip(paths, device, strict=True)), {}, evidence)


def names_of_all(found: PathDevices, base: Path, besides: Collection[Path]) -> tuple[str, ...]:
    """The devices of all files that the pattern finds, but for those that it only may match."""
    left = {path.resolve() for path in besides}
    parts = find_files(base, found.patterns[0])
    template = found.keys.get("device", "{device}")
    return tuple(dict.fromkeys(template.format(**own) for path, own in parts.items() if path.resolve() not in left))


def _matches(found: PathDevices, base: Path, besides: Collection[Path]) -> bool:
    """Whether the pattern finds the files with their devices, and no others than it may."""
    try:
        parts = {path.resolve(): values for path, values in find_files(base, found.patterns[0]).items()}
    except (HistoryError, ValueError):
        return False
    template = found.keys.get("device", "{device}")
    wanted = {path.resolve(): name for path, name in found.device.items()}
    named = {path: template.format(**values) for path, values in parts.items() if path in wanted}
    return named == wanted and set(parts) <= {*wanted, *(path.resolve() for path in besides)}


def _braced(values: Sequence[str], name: str) -> tuple[list[str], str]:
    """The parts of paths without what they all begin with, as ``device=`` of partitions, and their pattern."""
    before = "".join(sorted({value.partition("=")[0] + "=" for value in values if "=" in value}))
    if before.count("=") == 1 and all(value.startswith(before) for value in values):
        return [value.removeprefix(before) for value in values], f"{before}{{{name}}}"
    return list(values), f"{{{name}}}"


def _alike(names: Sequence[str]) -> Mapping[tuple[int, str], list[list[str]]]:
    """Names of files as parts, by the number of these and the ending."""
    found: dict[tuple[int, str], list[list[str]]] = {}
    for name in names:
        parts = name.split("/")
        found.setdefault((len(parts), parts[-1].removeprefix(_stem(parts[-1]))), []).append(parts)
    return found


def _is_packed(name: str) -> bool:
    return name.lower().endswith(".gz")


def _part(values: Sequence[str], *, last: bool) -> str:
    """The pattern of a part of paths: itself where it is one, a star where it differs."""
    if len(set(values)) == 1:
        return values[0] if values[0] in {".", ".."} else escaped(values[0])
    if not last:
        return "*"
    before = os.path.commonprefix(values)  # noqa: RUF071 - of letters, it is within one part
    if any(value[len(before) : len(before) + 1].isalpha() for value in values):
        before = re.sub(r"[^\W\d_]*$", "", before)  # no half of a word
    before = re.sub(r"[\d\W_]+$", "", before)
    ending = values[0].removeprefix(_stem(values[0]))
    return f"{escaped(before) if before else ''}*{ending}"


def _stem(name: str) -> str:
    stem = Path(name).stem
    return Path(stem).stem if _is_packed(name) else stem


def _all_days(values: Sequence[str]) -> bool:
    return all(re.fullmatch(rf"(?:\w+=)?(?:{_DAY}|\d{{1,2}})", value) for value in values)


def _named_with_days(names: Sequence[str]) -> bool:
    """Whether files are named after something and a day, and the something differs."""
    found = [_DATED.match(_stem(name)) for name in names]
    return all(found) and len({one["before"] for one in found if one}) > 1


def _matched(patterns: Sequence[str], base: Path) -> set[Path]:
    try:
        return {path.resolve() for pattern in patterns for path in find_files(base, pattern)}
    except HistoryError:
        return {base}  # fits nothing that is wanted


def _some(names: Sequence[str]) -> str:
    different = list(dict.fromkeys(names))
    return ", ".join(map(repr, different[:3])) + (f" and {len(different) - 3} more" if len(different) > 3 else "")
