"""The network as an expert: units with shared weights and a state each, beside the device."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.decision.pool import UNSEEN, Pool
from rarefault.runtime.inference.explain import Judged, explain
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec, UnitsSpec
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.sizes import ModelSpec
from rarefault.train.model.step import TorchStep

SPEC = ModelSpec(edges=4, planes=3, filters=3, kernel=2, inner=(6, 4), outer=(7, 5), recent=2, hidden=6, dropout=0.3)
UNITS = UnitsSpec(
    names=("c1", "c2", "c3"),
    channels=((0, 1), (2, 3), (4, 5)),
    faults=(1, 3),
    rarest_first=(3, 2, 1),
    prior=(0.02, 0.1),
)
LENGTH = 5


@pytest.fixture
def network() -> NetworkExpert:
    """Six columns of three units and one of the device, four classes of which two are looked for at units."""
    torch.manual_seed(1)
    found = NetworkExpert(SPEC, 7, 4, LENGTH, UNITS)
    for _, part in found.parts():
        part.encoding.edges.copy_(torch.linspace(-2, 2, 4).repeat(len(part.encoding.edges), 1))
    return found.eval()


def bins(sequences: int, n: int) -> torch.Tensor:
    """Random bins, some missing."""
    x = torch.randn(sequences, n, 7, generator=torch.Generator().manual_seed(2))
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) < 0.1] = torch.nan
    return x


@torch.no_grad()
def test_an_opinion_is_of_the_device_and_of_each_unit(network: NetworkExpert) -> None:
    """Log-probabilities of the device's classes, without those of units, the logits unit after unit, the distance."""
    opinion, state, _ = network(bins(3, LENGTH + 4), 2)
    assert opinion.shape == (3, 3, 4 + 3 * 2 + 1)
    assert state.shape == (3, network.state_size) == (3, (1 + 3) * 24)
    torch.testing.assert_close(opinion[..., :4].exp().sum(-1), torch.ones(3, 3))
    assert (opinion[..., [1, 3]] < UNSEEN + 1e-3).all()
    assert [name for name, _ in network.parts()] == ["at_units", "device"]
    alone = NetworkExpert(SPEC, 7, 4, LENGTH).eval()
    assert alone(bins(3, LENGTH), 1).opinion.shape == (3, 1, 4 + 1)
    assert [name for name, _ in alone.parts()] == ["device"]


@torch.no_grad()
def test_units_share_their_weights(network: NetworkExpert) -> None:
    """Swapping the columns of two units swaps their logits and states, and moves nothing of the third."""
    x = bins(4, LENGTH + 6)
    swapped = x[..., [2, 3, 0, 1, 4, 5, 6]]
    (before, state, _), (after, other, _) = network(x, 1), network(swapped, 1)
    logits, moved = (found[..., 4:-1].unflatten(-1, (3, 2)) for found in (before, after))
    torch.testing.assert_close(moved, logits[:, :, [1, 0, 2]])
    of_units, moved_state = (found[:, 24:].unflatten(-1, (3, 24)) for found in (state, other))
    torch.testing.assert_close(moved_state, of_units[:, [1, 0, 2]])
    assert float((logits[:, :, 0] - logits[:, :, 1]).abs().max()) > 1e-3


@torch.no_grad()
def test_each_unit_has_a_state_of_its_own(network: NetworkExpert) -> None:
    """What one unit has seen moves no other one, however many windows later."""
    x = bins(1, LENGTH + 8)
    other = x.clone()
    other[:, :3, 2:4] += 5
    logits, moved = (network(of, 1).opinion[..., 4:-1].unflatten(-1, (3, 2)) for of in (x, other))
    torch.testing.assert_close(logits[:, :, [0, 2]], moved[:, :, [0, 2]])
    assert float((logits[0, -1, 1] - moved[0, -1, 1]).abs().max()) > 1e-6


@pytest.mark.parametrize("units", [UNITS, None], ids=["units", "no units"])
def test_steps_are_the_sequence(units: UnitsSpec | None) -> None:
    """The step of the engine, window after window, gives what the sequence gives at once."""
    torch.manual_seed(2)
    network = NetworkExpert(SPEC, 7, 4, LENGTH, units).eval()
    rows = bins(3, LENGTH + 7)
    with torch.no_grad():
        whole, last, _ = network(rows, 1)
    step = TorchStep(Experts(network, None))
    state = np.zeros((3, step.state_size), np.float32)
    for t in range(8):
        opinions, state = step(rows[:, t : t + LENGTH].numpy(), state)
        np.testing.assert_allclose(opinions[:, 0], whole[:, t].numpy(), atol=1e-5)
    np.testing.assert_allclose(state, last.numpy(), atol=1e-5)


@torch.no_grad()
def test_a_unit_that_is_not_there_gives_its_prior(network: NetworkExpert) -> None:
    """A device without the third unit, and windows in which a unit is silent: no evidence, whatever the weights."""
    x = bins(2, LENGTH + 2)
    x[..., 4:6] = torch.nan
    x[0, 1:6, 0:2] = torch.nan
    logits = network(x, 1).opinion[..., 4:-1].unflatten(-1, (3, 2))
    prior = torch.from_numpy(Pool((0.25,) * 4, UNITS).unit_logit).float()
    torch.testing.assert_close(logits[:, :, 2], prior.expand(2, 3, 2))
    torch.testing.assert_close(logits[0, 1, 0], prior)  # of the three windows, the second is silent throughout
    assert float((logits[0, [0, 2], 0] - prior).abs().min()) > 1e-6


def test_what_is_saved_is_read_again(network: NetworkExpert, tmp_path: Path) -> None:
    """Through a file of plain values and tensors, with edges, absent classes and units."""
    network.absent[2] = True
    torch.save(Experts(network, None).saved(), tmp_path / "experts.pt")
    again = Experts.of_saved(torch.load(tmp_path / "experts.pt", weights_only=True)).network
    assert again is not None
    assert again.units == UNITS
    assert not again.training
    with torch.no_grad():
        for found, expected in zip(again(bins(2, LENGTH), 1), network(bins(2, LENGTH), 1), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


@torch.no_grad()
def test_an_alarm_names_the_unit_and_the_channel_that_a_network_read(network: NetworkExpert) -> None:
    """Of a fault at units, the unit with the largest logit and its channels alone; of another, any channel."""
    spec = DecisionSpec(
        prior=(0.7, 0.1, 0.1, 0.1), thresholds=(1.0,) * 4, experts=(ExpertSpec(name="network"),), units=UNITS
    )
    decision, step = Decision(spec), TorchStep(Experts(network, None))
    # By the layers beside the inner LSTM alone, the first column of a unit shows fault 3 where it is above 0.
    part = network.at_units
    assert part is not None
    part.head.weight.zero_()
    part.head.weight[1, SPEC.outer[1]] = 5.0
    part.head.bias.fill_(-5.0)
    first, norm1, second, norm2 = (part.beside[at] for at in (0, 1, 4, 5))
    for layer in (first, second):
        layer.get_parameter("weight").zero_()
        layer.get_parameter("bias").zero_()
    first.get_parameter("weight")[0, 1] = 1.0  # the component from -2/3 to 2/3 of the first input
    first.get_parameter("bias")[0] = 1.0
    second.get_parameter("weight")[0, 0] = 1.0
    assert isinstance(norm1, torch.nn.BatchNorm1d)
    assert isinstance(norm2, torch.nn.BatchNorm1d)
    window = np.full((LENGTH, 7), -1.0, np.float32)
    window[-1, 2] = 1.0
    state = np.zeros(network.state_size, np.float32)
    opinions, _ = step(window[None], state[None])
    found = explain(
        Judged(window, state, np.array(spec.prior), opinions[0]), 3, step, decision, [(c,) for c in range(7)]
    )
    assert found.unit == 1
    assert [channel for channel, _ in found.channels] == [2]
    assert found.channels[0][1] > 0.5
    device = explain(
        Judged(window, state, np.array(spec.prior), opinions[0]), 2, step, decision, [(c,) for c in range(7)]
    )
    assert device.unit is None
