"""Overrides: the daemon's own ``[decision]`` in place of the decision in the model file, without another training."""

import difflib
from typing import Any

import msgspec

from rarefault.runtime.daemon.config import DecisionConfig
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.inference.manifest import DecisionSpec, Manifest, coverage_key

#: Keys that a model's decision has under the same name.
SAME = ("raise_threshold", "clear_threshold", "on_delay_s", "off_delay_s", "unknown_windows")


def override(manifest: Manifest, wanted: DecisionConfig, source: str) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest with another decision, and the keys that were replaced.

    Args:
        manifest: of the model.
        wanted: the daemon's section.
        source: the file that errors name.

    Raises:
        ConfigError: a fault that the model does not know, a coverage that it has no thresholds for, or thresholds that
            contradict each other.
    """
    keys = tuple(key for key in wanted.__struct_fields__ if getattr(wanted, key) is not None)
    if not keys:
        return manifest, ()
    own = manifest.decision
    changes: dict[str, Any] = {key: getattr(wanted, key) for key in SAME if key in keys}
    problems: list[str] = []
    if wanted.coverage is not None:
        changes |= _coverage(own, wanted.coverage, problems)
    if wanted.mute is not None:
        changes["muted"] = _muted(manifest, wanted.mute, problems)
    raised, cleared = (changes.get(key, getattr(own, key)) for key in ("raise_threshold", "clear_threshold"))
    if cleared > raised:
        own_too = {key: "" if key in keys else " (the model's)" for key in SAME}
        problems.append(
            f"decision: clear_threshold {cleared:g}{own_too['clear_threshold']} must not exceed raise_threshold "
            f"{raised:g}{own_too['raise_threshold']}; give both"
        )
    if wanted.unknown_windows and not (changes.get("coverage", own.coverage) or own.has_far):
        problems.append(
            "decision.unknown_windows: needs a coverage, or a model whose network measures distances, as it counts "
            "windows that fit no class"
        )
    if problems:
        raise ConfigError(source, problems)
    return msgspec.structs.replace(manifest, decision=msgspec.structs.replace(own, **changes)), keys


def _coverage(own: DecisionSpec, coverage: float, problems: list[str]) -> dict[str, Any]:
    if not coverage:
        none: dict[str, Any] = {"coverage": 0.0, "conformal_thresholds": ()}
        return none if own.has_far else none | {"unknown_windows": 0}
    if coverage == own.coverage:
        return {}
    found = own.thresholds_by_coverage.get(coverage_key(coverage))
    if found is None:
        there = ", ".join(f"{float(key) / 100:g}" for key in own.thresholds_by_coverage) or "none"
        problems.append(f"decision.coverage: the model has no thresholds for {coverage:g}; it has some for: {there}")
        return {}
    return {"coverage": coverage, "conformal_thresholds": found}


def _muted(manifest: Manifest, names: tuple[str, ...], problems: list[str]) -> tuple[int, ...]:
    faults = manifest.classes[1:]
    for name in names:
        if name not in faults:
            near = difflib.get_close_matches(name, faults, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(faults)}"
            problems.append(f"decision.mute: {name!r} is no fault of the model; {hint}")
    return tuple(i for i, name in enumerate(manifest.classes) if i and name in names)
