"""The torch model as a step of the runtime's engine."""

import torch

from rarefault.runtime.arrays import Float32
from rarefault.train.model.experts import Experts


class TorchStep:
    """Runs :meth:`Experts.step` on numpy arrays; implements :class:`rarefault.runtime.inference.engine.Step`.

    In the precision of the model: what comes out of one in double precision is that, too.
    """

    def __init__(self, model: Experts) -> None:
        self._model = model.eval()

    @property
    def state_size(self) -> int:
        """Size S of the carried state."""
        return self._model.state_size

    @torch.inference_mode()
    def __call__(self, window: Float32, state: Float32, /) -> tuple[Float32, Float32]:
        """``window`` [N, L, I] and ``state`` [N, S] to ``opinions`` [N, E, V] and the next state [N, S]."""
        dtype = self._model.dtype
        opinions, next_state = self._model.step(torch.from_numpy(window).to(dtype), torch.from_numpy(state).to(dtype))
        return opinions.numpy(), next_state.numpy()
