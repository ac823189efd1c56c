"""The training loop: sequences through the network, validation on the served path, the best weights kept."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from rarefault.runtime.arrays import Float32
from rarefault.runtime.errors import RarefaultError
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.epochs import epoch_source, quickly_sampled
from rarefault.train.fitting.imbalance import loss_of, move_prior
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.network_expert import NetworkExpert

#: Windows that go through the network at once when a segment is served offline.
SERVE_CHUNK = 512


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the training curves."""

    epoch: int
    train_loss: float
    validation_loss: float
    """Unweighted negative log-likelihood per window."""
    validation_macro_f1: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Fit:
    """What the training of a network leaves.

    Attributes:
        curves: an entry for each epoch; empty where no network was trained.
        best_epoch: number of the epoch whose weights are in the network; 0 where it is as it was.
        class_weights: weight of each class in the loss, in the first subset, [K]; empty where there was none.
    """

    curves: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    class_weights: tuple[float, ...] = ()


def fit(
    network: NetworkExpert,
    train: LabelledWindows,
    validation: LabelledWindows,
    config: TrainConfig,
    prior: tuple[float, ...],
    *,
    digest: str,
    resume_file: Path,
    resume: bool = False,
    start_prior: tuple[float, ...] | None = None,
    on_epoch: Callable[[Epoch, bool], None] | None = None,
) -> Fit:
    """Train the network in place and leave the weights of the best epoch in it.

    Args:
        network: with its centre and scale set.
        train, validation: windows of the parts.
        config: recipe and training sections are used.
        prior: class frequencies that the network's opinions hold for in the end, [K].
        digest: of configuration and data; a resume file with another one is refused.
        resume_file: written after every epoch.
        resume: go on from ``resume_file`` if it is there.
        start_prior: of a network that is trained already, the class frequencies that its opinions hold for, [K]; its
            weights are kept where no epoch is better. None of a new one.
        on_epoch: called with every epoch, and whether it is the best so far.

    Raises:
        RarefaultError: the loss is no longer a number, or the resume file belongs to another configuration.
    """
    training, model = config.training, network.net
    optimisation = _Optimisation(model, train, config)
    if start_prior is not None:
        move_prior(model, start_prior, optimisation.learned_prior)
    store = _ResumeFile(resume_file, model, optimisation.optimizer, optimisation.schedule, digest)
    curves, best = store.load() if resume else ([], _Best())
    if start_prior is not None and not curves:
        best = _Best.of(-1, validate(model, validation)[1], model)

    for number in range(len(curves), training.epochs):
        if number - best.epoch >= training.patience:
            break
        curves.append(_epoch(optimisation, model, validation, number))
        if better := curves[-1].validation_macro_f1 > best.score:
            best = _Best.of(number, curves[-1].validation_macro_f1, model)
        store.save(curves, best)
        if on_epoch is not None:
            on_epoch(curves[-1], better)
    model.load_state_dict(best.weights)
    move_prior(model, optimisation.learned_prior, prior)
    weights = optimisation.source.subsets[0].weights
    return Fit(curves, best.epoch + 1, tuple(float(weight) for weight in weights))


def _epoch(optimisation: "_Optimisation", model: LRConvLSTM, validation: LabelledWindows, number: int) -> Epoch:
    """Train for one epoch, and validate."""
    started = time.perf_counter()
    train_loss = optimisation.run(number)
    validation_loss, score = validate(model, validation)
    return Epoch(
        epoch=number + 1,
        train_loss=train_loss,
        validation_loss=validation_loss,
        validation_macro_f1=score,
        learning_rate=float(optimisation.schedule.get_last_lr()[0]),
        seconds=time.perf_counter() - started,
    )


def refit_network(
    network: NetworkExpert,
    windows: LabelledWindows,
    config: TrainConfig,
    epochs: int,
    prior: tuple[float, ...],
    *,
    start_prior: tuple[float, ...] | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train for a number of epochs that is known to be good; no windows are held out.

    Args:
        network: as it was before :func:`fit`, trained in place.
        windows: to train on.
        config: recipe and training sections are used; the learning rate goes the same way as in :func:`fit`.
        epochs: of them; 0 leaves it as it is, but for its prior.
        prior, start_prior: see :func:`fit`.
        on_epoch: called with the number that are done.

    Raises:
        RarefaultError: the loss is no longer a number.
    """
    if not epochs and start_prior is not None:
        move_prior(network.net, start_prior, prior)
        return
    optimisation = _Optimisation(network.net, windows, config)
    if start_prior is not None:
        move_prior(network.net, start_prior, optimisation.learned_prior)
    for number in range(epochs):
        optimisation.run(number)
        if on_epoch is not None:
            on_epoch(number + 1)
    move_prior(network.net, optimisation.learned_prior, prior)


#: Batches that are timed.
TIMED = 3
#: Windows whose judging is timed.
JUDGED = 1024


@dataclass(frozen=True)
class Speed:
    """What a training takes here.

    Attributes:
        epoch_s: seconds for an epoch.
        judge_s: seconds to judge the validation blocks after it.
    """

    epoch_s: float = 0.0
    judge_s: float = 0.0


def rehearse(network: NetworkExpert, train: LabelledWindows, validation: LabelledWindows, config: TrainConfig) -> Speed:
    """Time a few batches and some windows.

    Args:
        network: of which nothing is needed afterwards.
        train, validation, config: see :func:`fit`.
    """
    network.to(choose_device(config.training.device))
    optimisation = _Optimisation(network.net, train, quickly_sampled(config))
    optimisation.run(0, batches=1)  # what is set up at the first
    count = min(TIMED, optimisation.source.steps)
    started = time.perf_counter()
    optimisation.run(0, batches=count)
    batch_s = (time.perf_counter() - started) / count
    most = min(len(validation), JUDGED)
    head = validation.head(most)
    started = time.perf_counter()
    serve(network, head)
    judge_s = (time.perf_counter() - started) / most * len(validation)
    return Speed(batch_s * optimisation.source.steps, judge_s)


class _Optimisation:
    """Network, batches, optimiser and schedule."""

    def __init__(self, model: LRConvLSTM, windows: LabelledWindows, config: TrainConfig) -> None:
        training = config.training
        if training.precision == "mixed":
            check_mixed(next(model.parameters()).device)
        self._model, self._stride, self._training = model, windows.stride, training
        self._loss = loss_of(config.recipe)
        self.source = epoch_source(windows, model, config)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, training.learning_rate, total_steps=training.epochs * self.source.steps
        )

    @property
    def learned_prior(self) -> tuple[float, ...]:
        """The class frequencies that the network learns, [K]."""
        return self._loss.learned_prior(self.source.subsets)

    def run(self, number: int, batches: int | None = None) -> float:
        """Train one epoch, the same for the same number, or so many batches of it; its mean loss."""
        model, training = self._model, self._training
        device = next(model.parameters()).device
        torch.manual_seed(training.seed * 1_000_003 + number)  # an interrupted run goes on with the same draws
        model.train()
        losses = []
        for x, target, weights in islice(self.source.batches(number), batches):
            with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "mixed"):
                log_prob, _ = model(x.to(device), self._stride)
            loss = self._loss(log_prob.float(), target.to(device), weights.to(device))
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


def validate(model: LRConvLSTM, windows: LabelledWindows) -> tuple[float, float]:
    """Negative log-likelihood per window and macro-F1 over the classes present, the state carried as in service."""
    log_prob, label = _carried(model, windows)[windows.labelled], windows.label[windows.labelled]
    nll = -log_prob[np.arange(len(label)), label].mean(dtype=np.float64)
    present = np.unique(label)
    score = f1_score(label, log_prob.argmax(axis=1), labels=present, average="macro", zero_division=0)
    return float(nll), float(score)


def serve(network: NetworkExpert, windows: LabelledWindows) -> Float32:
    """The network's opinions on all windows with the state carried through each segment, as in service, [W, V]."""
    return _carried(network, windows)


@torch.inference_mode()
def _carried(model: nn.Module, windows: LabelledWindows) -> Float32:
    """What a module makes of all windows, one segment after the other, [W, X]."""
    model.eval()
    device = next(model.parameters()).device
    rows = windows.rows().to(device)
    out = []
    for first, stop in windows.segments():
        state: Tensor | None = None
        for a in range(first, stop, SERVE_CHUNK):
            b = min(a + SERVE_CHUNK, stop)
            # Consecutive windows of a segment are cut from one run of rows.
            run = windows.sequence_rows(np.array([a]), b - a)[0]
            found, state = model(rows[run[0] : run[-1] + 1].unsqueeze(0), windows.stride, state)
            out.append(found[0].cpu())
    return torch.cat(out).numpy()


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


@dataclass(frozen=True)
class _Best:
    """The best epoch so far."""

    epoch: int = -1
    score: float = -1.0
    weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, epoch: int, score: float, model: LRConvLSTM) -> "_Best":
        """With a copy of the weights of a model."""
        return cls(epoch, score, {name: value.detach().clone() for name, value in model.state_dict().items()})


class _ResumeFile:
    """Keeps all that an interrupted training needs to go on, in one file that is always whole."""

    def __init__(
        self,
        path: Path,
        model: LRConvLSTM,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.OneCycleLR,
        digest: str,
    ) -> None:
        self._path, self._digest = path, digest
        self._parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}

    def save(self, curves: list[Epoch], best: _Best) -> None:
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {
            "digest": self._digest,
            "curves": msgspec.to_builtins(curves),
            "best": {"epoch": best.epoch, "score": best.score, "weights": best.weights},
        }
        fresh = self._path.with_suffix(".tmp")
        torch.save(state, fresh)
        fresh.replace(self._path)

    def load(self) -> tuple[list[Epoch], _Best]:
        if not self._path.exists():
            return [], _Best()
        state = torch.load(self._path, weights_only=True)
        if state["digest"] != self._digest:
            raise RarefaultError(
                f"{self._path}: left by a training with another configuration or data; train without --resume, "
                "or into another folder"
            )
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        return msgspec.convert(state["curves"], list[Epoch]), _Best(**state["best"])
