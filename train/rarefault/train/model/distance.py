"""How far a window is from all classes that training has seen.

What the layers beside the inner LSTM make of a window is laid into the space in which the classes differ: that of a
linear discriminant analysis, with one dimension fewer than there are classes, in which the windows of a class spread
alike in all directions. The distance of a window is that to the nearest class mean: the Mahalanobis distance within
that space (Lee et al., "A simple unified framework for detecting out-of-distribution samples and adversarial attacks",
2018). It is 1 where one in a hundred of the training windows is as far.

Shapes: N windows, H hidden size, G classes.

Why: decision 0039.
"""

import numpy as np
import torch
from torch import Tensor, nn

from rarefault.runtime.arrays import Float64, Int64

#: Windows that a class needs for a mean of its own.
LEAST = 2
#: Part of the mean variance that is added to that of every direction.
SHRINKAGE = 1e-3


class ClassDistance(nn.Module):
    """See the module. All distances are 0 until it was fitted.

    Args:
        hidden: H.
        classes: G.

    Attributes:
        axes: of the space, [H, G - 1]; those that there is no need of are 0.
        means: of the classes there, [G, G - 1]; that of a class without windows is another one's.
    """

    axes: Tensor
    means: Tensor

    def __init__(self, hidden: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("axes", torch.zeros(hidden, classes - 1))
        self.register_buffer("means", torch.zeros(classes, classes - 1))

    def forward(self, recent: Tensor) -> Tensor:
        """Distances of windows, [..., H] to [...]."""
        apart = (recent @ self.axes).unsqueeze(-2) - self.means
        return apart.square().sum(dim=-1).amin(dim=-1).sqrt()

    @torch.no_grad()
    def fit(self, recent: Float64, of: Int64) -> None:
        """Find the space and the means.

        Args:
            recent: of training windows, [N, H].
            of: the class of each, 0 to G - 1, [N].
        """
        self.axes.zero_()
        self.means.zero_()
        counts = np.bincount(of, minlength=len(self.means))
        there = np.flatnonzero(counts >= LEAST)
        if len(there) < 2:
            return
        kept = np.isin(of, there)
        recent, of = recent[kept], np.searchsorted(there, of[kept])
        means = np.stack([recent[of == g].mean(axis=0) for g in range(len(there))])
        apart = recent - means[of]
        covariance = apart.T @ apart / len(recent)
        mean = float(np.trace(covariance)) / len(covariance)
        if mean <= 0.0:  # the windows of a class are all alike
            return
        covariance += SHRINKAGE * mean * np.eye(len(covariance))
        variance, directions = np.linalg.eigh(covariance)
        whitened = directions / np.sqrt(variance)
        share = np.sqrt(counts[there] / counts[there].sum())[:, None]
        _, _, differ = np.linalg.svd(share * ((means - recent.mean(axis=0)) @ whitened), full_matrices=False)
        axes = whitened @ differ[: min(len(there) - 1, len(differ))].T
        found = np.full((len(self.means), axes.shape[1]), (means @ axes)[0])
        found[there] = means @ axes
        self.axes[:, : axes.shape[1]] = torch.from_numpy(axes)
        self.means[:, : axes.shape[1]] = torch.from_numpy(found)

    @torch.no_grad()
    def scale(self, unit: float) -> None:
        """Let a distance of ``unit`` be 1."""
        self.axes.div_(unit)
        self.means.div_(unit)
