"""Training of the networks: interrupted and resumed, begun from a trained one, and true to the shares at its end."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from tests.harness.windows import labelled_windows

from rarefault.runtime.errors import RarefaultError
from rarefault.runtime.inference.decision.pool import UNSEEN
from rarefault.runtime.inference.manifest import UnitsSpec, WindowSpec
from rarefault.train.config import ModelConfig, TrainConfig, TrainingConfig
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.examples import Examples
from rarefault.train.fitting.network import WARM_RATE, Epoch, ResumeFile, _Optimisation, fit, serve
from rarefault.train.history import Phm2015Config
from rarefault.train.model.network_expert import NetworkExpert

WINDOW = WindowSpec(length=4, stride=1)
#: Fault 3 is at no time active at a unit, fault 4 at no time at all.
UNITS = UnitsSpec(
    names=("a", "b"), channels=((0, 1), (2, 3)), faults=(1, 3), rarest_first=(4, 3, 2, 1), prior=(0.08, 0.01)
)
PRIOR = (0.85, 0.08, 0.05, 0.01, 0.01)
CONFIG = TrainConfig(
    data=Phm2015Config(path="."),
    window=WINDOW,
    model=ModelConfig(
        edges=5, planes=2, filters=2, kernel=2, inner=(4, 3), outer=(4, 3), recent=1, hidden=6, dropout=0.2
    ),
    training=TrainingConfig(epochs=2, sequence_length=4, batch_size=32, max_sequences=300),
)


@pytest.fixture(scope="module")
def windows() -> LabelledWindows:
    """Two devices whose columns show nothing of their faults: all that can be learnt is how frequent these are."""
    rng = np.random.default_rng(0)
    bins = 1200
    active = np.zeros((2, bins, 2, 2), bool)
    active[..., 0] = rng.random((2, bins, 2)) < 0.04
    label = np.where(active.any(axis=(2, 3)), 1, np.where(rng.random((2, bins)) < 0.05, 2, 0))
    values = rng.normal(size=(2, bins, 5)).astype(np.float32)
    return labelled_windows(values, label, WINDOW, faults=(1, 3), active_DRUJ=active)


def network() -> NetworkExpert:
    """A new one, always the same."""
    torch.manual_seed(5)
    return NetworkExpert(CONFIG.model.spec(), 5, 5, WINDOW.length, UNITS)


@pytest.fixture(scope="module")
def fitted(windows: LabelledWindows) -> NetworkExpert:
    """Trained without an interruption."""
    found = network()
    result = fit(found, windows, CONFIG, PRIOR)
    assert [(epoch.network, epoch.epoch, epoch.networks) for epoch in result.curves] == [
        ("at_units", 1, (1, 2)), ("at_units", 2, (1, 2)), ("device", 1, (2, 2)), ("device", 2, (2, 2)),
    ]  # fmt: skip
    assert [epoch.share(2) for epoch in result.curves] == [0.25, 0.5, 0.75, 1.0]
    assert result.weights["at_units"][0] > 5
    assert set(result.weights) == {"at_units", "device"}
    return found


@pytest.mark.training
@pytest.mark.parametrize("at", [1, 2, 3, 4], ids=["first", "end of first", "second", "end of second"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    windows: LabelledWindows, fitted: NetworkExpert, tmp_path: Path, at: int
) -> None:
    """In whichever network it was interrupted: the same weights to the last bit."""
    told: list[Epoch] = []

    def interrupt(epoch: Epoch) -> None:
        told.append(epoch)
        if len(told) == at:
            raise KeyboardInterrupt

    file = tmp_path / "resume.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(network(), windows, CONFIG, PRIOR, resume_file=ResumeFile(file, "a"), on_epoch=interrupt)
    with pytest.raises(RarefaultError, match="another configuration or data"):
        fit(network(), windows, CONFIG, PRIOR, resume_file=ResumeFile(file, "b", resume=True))
    again = network()
    torch.manual_seed(99)  # draws do not depend on what was drawn before
    result = fit(again, windows, CONFIG, PRIOR, resume_file=ResumeFile(file, "a", resume=True), on_epoch=told.append)
    assert [(epoch.network, epoch.epoch) for epoch in told] == [(epoch.network, epoch.epoch) for epoch in result.curves]
    assert len(result.curves) == 4
    assert set(result.weights) == {"at_units", "device"}
    for name, value in fitted.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.training
def test_opinions_hold_for_the_shares_of_the_history(windows: LabelledWindows, fitted: NetworkExpert) -> None:
    """The weights of the losses made each fault many times as frequent; on average nothing of it is left."""
    opinions = serve(fitted, windows)
    device, at_units = np.exp(opinions[:, :5]), expit(opinions[:, 5:-1].reshape(-1, 2, 2))
    assert windows.at_units is not None
    assert at_units[:, :, 0].mean() == pytest.approx(0.08, rel=0.3)  # the share that it was told to hold for
    assert device[:, 2].mean() == pytest.approx(0.05 / 0.90, rel=0.4)
    # What was never active gives its prior at units; the device knows nothing of it, nor of what is at units.
    np.testing.assert_allclose(opinions[:, 5:-1].reshape(-1, 2, 2)[:, :, 1], logit(0.01), atol=1e-5)
    assert (opinions[:, [1, 3, 4]] < UNSEEN + 1e-3).all()
    assert fitted.absent.tolist() == [False, True, False, True, True]


@pytest.mark.training
def test_a_trained_network_goes_on(windows: LabelledWindows, fitted: NetworkExpert) -> None:
    """With its edges and a smaller learning rate; a class that it had not seen becomes one of its own."""
    begun = NetworkExpert.of_saved(fitted.saved())
    begun.absent[2] = True
    result = fit(begun, windows, CONFIG, PRIOR, learned={"device": PRIOR, "at_units": UNITS.prior})
    for name in ("at_units.encoding.edges", "device.encoding.edges"):
        assert torch.equal(begun.state_dict()[name], fitted.state_dict()[name])
    assert max(epoch.learning_rate for epoch in result.curves) <= WARM_RATE * CONFIG.training.learning_rate
    assert not begun.absent[2]
    opinions = serve(begun, windows)
    assert expit(opinions[:, 5:-1].reshape(-1, 2, 2)[:, :, 0]).mean() == pytest.approx(0.08, rel=0.3)


@torch.no_grad()
def test_without_an_epoch_the_shares_alone_are_moved(windows: LabelledWindows) -> None:
    """From what a trained network holds for, through what is to be learnt, to what it is to hold for."""
    found = network().eval()
    before = serve(found, windows)
    for name, (old, new) in {
        "at_units": ((0.2, 0.5), (0.05, 0.5)),
        "device": ((0.5, 0.1, 0.2, 0.1, 0.1), (0.3, 0.1, 0.4, 0.1, 0.1)),
    }.items():
        model = dict(found.parts())[name]  # type: ignore[index]
        examples = (
            Examples.at_units(windows, UNITS, 4)
            if name == "at_units"
            else Examples.of_devices(windows, 5, UNITS.faults, 4)
        )
        optimisation = _Optimisation(model, examples, CONFIG, warm=True)
        optimisation.begin(np.array(old))
        optimisation.hold_for(np.array(new))
    moved = serve(found, windows) - before
    np.testing.assert_allclose(moved[:, [5, 7]], logit(0.05) - logit(0.2), atol=1e-5)
    odds = moved[:, 2] - moved[:, 0]
    np.testing.assert_allclose(odds, np.log(0.4 / 0.2) - np.log(0.3 / 0.5), atol=1e-5)


@pytest.mark.training
def test_a_loss_that_is_no_number_is_an_error(windows: LabelledWindows) -> None:
    """And the sentence says what to look at."""
    device = network().device
    assert device is not None
    with torch.no_grad():
        device.head.bias.fill_(torch.nan)
    few = msgspec.structs.replace(CONFIG.training, max_sequences=32, epochs=1)
    optimisation = _Optimisation(
        device,
        Examples.of_devices(windows, 5, UNITS.faults, 4),
        msgspec.structs.replace(CONFIG, training=few),
    )
    with pytest.raises(RarefaultError, match=r"no longer a number in epoch 1: lower training\.learning_rate"):
        optimisation.run(0)
