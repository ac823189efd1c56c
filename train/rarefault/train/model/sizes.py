"""Sizes of the network, and the presets of them: without torch, so that configurations are read without it."""

from typing import Annotated

import msgspec

from rarefault.runtime.inference.manifest import Count


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes of the network."""

    edges: Annotated[int, msgspec.Meta(ge=2, le=256)]
    """Edges of each input's piecewise-linear encoding."""
    planes: Count
    """Planes that each encoded input is mapped to before the convolutions."""
    filters: Count
    """Filters of each of the two convolutions."""
    kernel: Count
    """Bins that a convolution's kernel spans."""
    inner: tuple[int, int]
    """Hidden sizes of the two inner LSTM layers, which read a window bin by bin."""
    outer: tuple[int, int]
    """Hidden sizes of the two outer LSTM layers, which read window after window."""
    recent: Count
    """Last bins of a window that the layers beside the inner LSTM read."""
    hidden: Count
    """Width of the two layers beside the inner LSTM."""
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    """Share of the filters, and of the outputs of the layers beside, that is dropped during training."""


def _sizes(filters: int, inner: tuple[int, int], outer: tuple[int, int], hidden: int) -> ModelSpec:
    return ModelSpec(
        edges=13, planes=8, filters=filters, kernel=5, inner=inner, outer=outer, recent=2, hidden=hidden, dropout=0.3
    )


#: ``reference`` has the sizes of the paper; docs/results/speed.md has what each costs and scores.
PRESETS = {
    "reference": _sizes(8, (256, 64), (512, 128), 256),
    "medium": _sizes(8, (96, 32), (192, 64), 128),
    "small": _sizes(8, (32, 16), (64, 32), 64),
    "tiny": _sizes(4, (16, 8), (32, 16), 32),
}
