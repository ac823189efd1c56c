"""The training loop: sequences through the networks, one network after the other.

Each network is trained for a fixed number of epochs by a one-cycle schedule (Smith and Topin, "Super-convergence",
2018), whose last weights are the best ones: no blocks are needed to say when to stop, and none of the epochs has to be
judged.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from rarefault.runtime.arrays import Float32, Float64
from rarefault.runtime.errors import RarefaultError
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.distances import fit_distances
from rarefault.train.fitting.edges import fit_edges
from rarefault.train.fitting.epochs import epoch_source, quickly_sampled
from rarefault.train.fitting.examples import Examples
from rarefault.train.fitting.imbalance import loss_of
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.network_expert import NetworkExpert

#: Windows that go through the network at once when a segment is served offline.
SERVE_CHUNK = 512
#: Of ``training.batch_size`` and ``training.learning_rate``, what holds at units.
UNIT_BATCH, UNIT_RATE = 0.5, 0.6
#: Of AdamW.
WEIGHT_DECAY = 0.1
#: A network that is trained already goes on with this part of the learning rate.
WARM_RATE = 0.3


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the training curves."""

    network: str
    """``device``, or ``at_units``."""
    epoch: int
    train_loss: float
    learning_rate: float
    seconds: float
    networks: tuple[int, int]
    """Which of how many networks that are trained one after the other."""

    def share(self, epochs: int) -> float:
        """Of the epochs of all networks, how many are done."""
        at, of = self.networks
        return (at - 1 + self.epoch / epochs) / of


@dataclass(frozen=True)
class Fit:
    """What the training of the networks leaves.

    Attributes:
        curves: an entry for each epoch; empty where no network was trained.
        weights: of each output in the loss, by network; empty where no network was trained.
    """

    curves: list[Epoch] = field(default_factory=list)
    weights: dict[str, tuple[float, ...]] = field(default_factory=dict)


def fit(
    network: NetworkExpert,
    windows: LabelledWindows,
    config: TrainConfig,
    prior: tuple[float, ...],
    *,
    learned: Mapping[str, Sequence[float]] | None = None,
    resume_file: "ResumeFile | None" = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Fit:
    """Train a network in place.

    Args:
        network: new, or trained already.
        windows: to learn from.
        config: recipe and training sections are used.
        prior: class frequencies that the opinions hold for in the end, [K].
        learned: of a network that is trained already, the shares that its outputs hold for, by network; it goes on with
            its encodings, and a smaller learning rate. None of a new one.
        resume_file: what an interrupted training left, and where this one leaves what it would need.
        on_epoch: called with every epoch.

    Raises:
        RarefaultError: the loss is no longer a number, or the resume file belongs to another configuration.
    """
    store = resume_file or ResumeFile(None, "")
    curves, done = store.load(network)
    weights: dict[str, tuple[float, ...]] = {}
    parts = list(network.parts())
    for at, (name, model) in enumerate(parts, 1):
        examples = _examples(network, name, windows, config.training.sequence_length)
        optimisation = _Optimisation(model, examples, _steps_of(name, config), warm=learned is not None)
        weights[name] = tuple(float(weight) for weight in optimisation.weights)
        if name in done:
            continue
        if not any(epoch.network == name for epoch in curves):
            optimisation.begin(None if learned is None else np.asarray(learned[name]))
        store.restore(optimisation.optimizer, optimisation.schedule)
        for number in range(sum(epoch.network == name for epoch in curves), config.training.epochs):
            started = time.perf_counter()
            loss, rate = optimisation.run(number), float(optimisation.schedule.get_last_lr()[0])
            seconds = time.perf_counter() - started
            epoch = Epoch(
                network=name,
                epoch=number + 1,
                train_loss=loss,
                learning_rate=rate,
                seconds=seconds,
                networks=(at, len(parts)),
            )
            curves.append(epoch)
            store.save(network, curves, done, optimisation.optimizer, optimisation.schedule)
            if on_epoch is not None:
                on_epoch(epoch)
        absent = optimisation.hold_for(_shares(network, name, prior))
        if name == "device":
            network.absent.copy_(absent)
        done.append(name)
    network.hold_for(prior)
    fit_distances(network, windows, config.training.seed)
    return Fit(curves, weights)


def _examples(network: NetworkExpert, name: str, windows: LabelledWindows, length: int) -> Examples:
    units, n_classes = network.units, len(network.absent)
    if name == "at_units":
        assert units is not None
        return Examples.at_units(windows, units, length)
    return Examples.of_devices(windows, n_classes, () if units is None else units.faults, length)


def _steps_of(name: str, config: TrainConfig) -> TrainConfig:
    """The steps of the optimiser for one of the networks: at units, smaller ones.

    An epoch has many more sequences of units, and those with a fault are rarer among them (decision 0036).
    """
    if name == "device":
        return config
    batch, rate = max(1, round(config.training.batch_size * UNIT_BATCH)), config.training.learning_rate * UNIT_RATE
    return msgspec.structs.replace(
        config, training=msgspec.structs.replace(config.training, batch_size=batch, learning_rate=rate)
    )


def _shares(network: NetworkExpert, name: str, prior: tuple[float, ...]) -> Float64:
    """Shares of the windows that have each output active, [O]."""
    return np.asarray(network.units.prior if name == "at_units" and network.units is not None else prior)


#: Batches that are timed.
TIMED = 3
#: Windows whose judging is timed.
JUDGED = 1024


@dataclass(frozen=True)
class Speed:
    """What a training takes here.

    Attributes:
        epoch_s: seconds for an epoch of each network.
        begin_s: seconds before the first one of each.
        judge_s: seconds to judge a window.
    """

    epoch_s: Mapping[str, float] = field(default_factory=dict)
    begin_s: Mapping[str, float] = field(default_factory=dict)
    judge_s: float = 0.0

    def training_s(self, epochs: int, names: Collection[str]) -> float:
        """Seconds to train some of the networks."""
        return sum(self.begin_s[name] + epochs * self.epoch_s[name] for name in self.epoch_s if name in names)


def rehearse(network: NetworkExpert, windows: LabelledWindows, config: TrainConfig) -> Speed:
    """Time a few batches and some windows.

    Args:
        network: of which nothing is needed afterwards.
        windows, config: see :func:`fit`.
    """
    network.to(choose_device(config.training.device))
    epoch_s: dict[str, float] = {}
    begin_s: dict[str, float] = {}
    for name, model in network.parts():
        started = time.perf_counter()
        examples = _examples(network, name, windows, config.training.sequence_length)
        optimisation = _Optimisation(model, examples, quickly_sampled(_steps_of(name, config)))
        optimisation.begin(None)
        optimisation.run(0, batches=1)  # what is set up at the first
        begin_s[name] = time.perf_counter() - started
        # The schedule has no more steps than the whole training.
        steps = optimisation.source.steps
        count = max(1, min(TIMED, steps, config.training.epochs * steps - 1))
        started = time.perf_counter()
        optimisation.run(0, batches=count)
        epoch_s[name] = (time.perf_counter() - started) / count * steps
    head = windows.head(min(len(windows), JUDGED))
    started = time.perf_counter()
    serve(network, head)
    return Speed(epoch_s, begin_s, (time.perf_counter() - started) / len(head))


class _Optimisation:
    """One network, its batches, optimiser and schedule."""

    def __init__(self, model: LRConvLSTM, examples: Examples, config: TrainConfig, *, warm: bool = False) -> None:
        training = config.training
        if training.precision == "mixed":
            check_mixed(next(model.parameters()).device)
        self._model, self._examples, self._training = model, examples, training
        self._loss = loss_of(config.recipe, exclusive=examples.exclusive)
        self.source = epoch_source(examples, config)
        self.weights = self._loss.weights(self.source.active, self.source.known)
        self._learned = self._loss.learned(self.source.active, self.source.known)
        rate = training.learning_rate * (WARM_RATE if warm else 1.0)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=WEIGHT_DECAY, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, total_steps=max(training.epochs * self.source.steps, 2)
        )

    @torch.no_grad()
    def begin(self, shares: Float64 | None) -> None:
        """Before the first epoch: find the edges of a new network's encodings.

        Args:
            shares: that the outputs of a network hold for which is trained already, [O]; they are moved to what is to
                be learnt.
        """
        if shares is None and isinstance(self._model, LRConvLSTM):  # networks to compare with have no encodings
            fit_edges(self._model, self._examples, self._training.seed)
        elif shares is not None:
            bias = self._model.head.bias
            bias.add_(torch.from_numpy(self._learned - self._loss.true(shares)).to(bias))

    def run(self, number: int, batches: int | None = None) -> float:
        """Train one epoch, the same for the same number, or so many batches of it; its mean loss."""
        model, training, weights = self._model, self._training, torch.from_numpy(self.weights).float()
        device = next(model.parameters()).device
        torch.manual_seed(training.seed * 1_000_003 + number)  # an interrupted run goes on with the same draws
        model.train()
        losses = []
        for batch in islice(self.source.batches(number), batches):
            bins, target, known = (part.to(device) for part in batch)
            with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "mixed"):
                output = model(bins, self._examples.windows.stride).output
            loss = self._loss(output.float(), target, known, weights.to(device))
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            self.optimizer.step()
            self.schedule.step()
            losses.append(loss.item())
        if not math.isfinite(sum(losses)):
            raise RarefaultError(
                f"the loss is no longer a number in epoch {number + 1}: lower training.learning_rate or "
                "recipe.max_weight, or look for absurd values in the history with 'rarefault describe'"
            )
        return float(np.mean(losses))

    @torch.no_grad()
    def hold_for(self, shares: Float64) -> Tensor:
        """Undo what weights and drawing did to the frequencies of the outputs.

        Of an output that never was active the network gives no evidence: its frequency, whatever the window is.

        Args:
            shares: frequencies that the outputs hold for in the end, [O].

        Returns:
            Which outputs never were active, [O].
        """
        head, true = self._model.head, self._loss.true(shares)
        never = torch.from_numpy(self.source.active == 0)
        head.bias.add_(torch.from_numpy(true - self._learned).to(head.bias))
        head.weight[never], head.bias[never] = 0.0, torch.from_numpy(true).to(head.bias)[never]
        return never.to(head.bias.device)


def serve(network: NetworkExpert, windows: LabelledWindows) -> Float32:
    """The network's opinions on all windows with the state carried through each segment, as in service, [W, V]."""
    return serve_apart(network, windows)[0]


@torch.inference_mode()
def serve_apart(network: NetworkExpert, windows: LabelledWindows) -> tuple[Float32, Float32]:
    """The same, and the distances of each of its networks, [W, networks]."""
    network.eval()
    device = next(network.parameters()).device
    rows = windows.rows().to(device)
    out, apart = [], []
    for first, stop in windows.segments():
        state: Tensor | None = None
        for a in range(first, stop, SERVE_CHUNK):
            b = min(a + SERVE_CHUNK, stop)
            # Consecutive windows of a segment are cut from one run of rows.
            run = windows.sequence_rows(np.array([a]), b - a)[0]
            found = network(rows[run[0] : run[-1] + 1].unsqueeze(0), windows.stride, state)
            state = found.state
            out.append(found.opinion[0].cpu())
            apart.append(found.apart[0].cpu())
    return torch.cat(out).numpy(), torch.cat(apart).numpy()


def check_mixed(device: torch.device) -> None:
    """RarefaultError where the device cannot train an LSTM with products in bfloat16, as processors without AVX-512."""
    probe = torch.nn.LSTM(8, 8, batch_first=True).to(device)
    try:
        with torch.autocast(device.type, torch.bfloat16):
            probe(torch.zeros(2, 2, 8, device=device))[0].sum().backward()
    except RuntimeError as error:
        raise RarefaultError(
            f"training.precision is 'mixed', but the device that trains ({device.type}) computes no LSTM in bfloat16: "
            f"use 'float32', or a GPU ({str(error).splitlines()[0]})"
        ) from error


def choose_device(name: str) -> torch.device:
    """The torch device for ``auto``, ``cpu`` or ``cuda``; RarefaultError where there is no such one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise RarefaultError("training.device is 'cuda', but torch finds no CUDA device here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


class ResumeFile:
    """Keeps all that an interrupted training needs to go on, in one file that is always whole.

    Args:
        path: the file; None keeps nothing.
        digest: of configuration and data; a file with another one is refused.
        resume: go on from the file if it is there.
    """

    def __init__(self, path: Path | None, digest: str, *, resume: bool = False) -> None:
        self._path, self._digest, self._resume = path, digest, resume
        self._left: dict[str, Any] = {}

    def load(self, network: NetworkExpert) -> tuple[list[Epoch], list[str]]:
        """The epochs that are done and the networks that are trained; their weights are put into the network."""
        if self._path is None or not self._resume or not self._path.exists():
            return [], []
        state = torch.load(self._path, weights_only=True)
        if state["digest"] != self._digest:
            raise RarefaultError(
                f"{self._path}: left by a training with another configuration or data; train without --resume, "
                "or into another folder"
            )
        network.load_state_dict(state["network"])
        self._left = state
        return msgspec.convert(state["curves"], list[Epoch]), state["done"]

    def restore(self, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.OneCycleLR) -> None:
        """Put what was left of the network in training into its optimiser and schedule; the next one begins anew."""
        if self._left:
            optimizer.load_state_dict(self._left["optimizer"])
            schedule.load_state_dict(self._left["schedule"])
            self._left = {}

    def save(
        self,
        network: NetworkExpert,
        curves: list[Epoch],
        done: list[str],
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.OneCycleLR,
    ) -> None:
        """Write what is there after an epoch."""
        if self._path is None:
            return
        state: dict[str, Any] = {
            "digest": self._digest,
            "network": network.state_dict(),
            "curves": msgspec.to_builtins(curves),
            "done": list(done),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
        }
        fresh = self._path.with_suffix(".tmp")
        torch.save(state, fresh)
        fresh.replace(self._path)
