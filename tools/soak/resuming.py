"""Fits over batches that are killed, and go on from their file."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ember
from ember import distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.infer.step.training.saved import read_file
from ember.train import Checkpoint, Plateau, Scheduler, TrainResult
from tools.soak.saving import in_a_child

ROWS, BATCH, EPOCHS = 70, 16, 5


@dataclass(frozen=True)
class Kind:
    """One kind of fit."""

    compile: bool
    loader: bool
    network: bool
    every: int | None


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, 3, generator=generator)
    return x, (x.sum(1) > 0).float()


def _regression() -> tuple[Callable[..., Any], Callable[..., Any]]:
    def model(x: Tensor, y: Tensor) -> None:
        w = ember.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with ember.plate("rows", len(x)):
            ember.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    return model, AutoNormal(model)


def _network() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """With running statistics, noise of its own, and a latent variable for each row."""
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 2))
    decoder = nn.Linear(2, 3)

    def model(x: Tensor, y: Tensor) -> None:
        ember.module("decoder", decoder)
        with ember.plate("rows", len(x)):
            z = ember.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            ember.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x: Tensor, y: Tensor) -> None:
        ember.module("encoder", encoder)
        with ember.plate("rows", len(x)):
            ember.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    return model, guide


def fit(kind: Kind, path: Path) -> TrainResult:
    """One fit, from the beginning or from the file."""
    ember.clear_param_store()
    ember.set_rng_seed(5)
    model, guide = _network() if kind.network else _regression()
    optim = ember.optim.StepLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.02}, "step_size": 2, "gamma": 0.7}
    )
    svi = SVI(model, guide, optim, Trace_ELBO(), compile=kind.compile)
    x, y = _data()
    batches: Any = (x[:50], y[:50])
    if kind.loader:
        batches = DataLoader(TensorDataset(*batches), batch_size=BATCH, shuffle=True)
    return svi.fit(
        batches,
        epochs=EPOCHS,
        batch_size=None if kind.loader else BATCH,
        validation=(x[50:], y[50:]),
        callbacks=[Scheduler(), Plateau(patience=1), Checkpoint(path, every=kind.every)],
        progress=False,
        resume=path,
    )


def told(path: Path) -> Any:
    """All that a file of a fit holds, without the versions and the random state of the last epoch's beginning."""
    state, fit = read_file(path)
    assert fit is not None
    return {**state, **{key: value for key, value in fit.items() if key != "epoch_began"}}


def alike(value: Any, other: Any) -> bool:
    """Whether two of them are the same, bit for bit."""
    if isinstance(value, Tensor):
        return isinstance(other, Tensor) and torch.equal(value, other)
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(alike(value[key], other[key]) for key in value)
    if isinstance(value, (list, tuple)):
        return len(value) == len(other) and all(map(alike, value, other))
    return bool(value == other)


def killed_while_fitting(dice: random.Random, folder: Path) -> Iterator[None]:
    """A fit that is killed at any moments, and goes on from its file, ends as one that is not, bit for bit."""
    expected: dict[Kind, tuple[Any, float]] = {}
    path = folder / "fit.pt"
    while True:
        kind = Kind(dice.random() < 0.7, dice.random() < 0.3, dice.random() < 0.5, dice.choice([1, 3, None]))
        if kind not in expected:
            # The first time programs are compiled; the second tells how long it takes.
            for _ in range(2):
                path.unlink(missing_ok=True)
                started = time.monotonic()
                _to_the_end(partial(fit, kind, path))
            expected[kind] = told(path), time.monotonic() - started
        straight, seconds = expected[kind]
        path.unlink(missing_ok=True)
        for _ in range(dice.randrange(1, 4)):
            child = in_a_child(partial(fit, kind, path))
            time.sleep(dice.random() * seconds)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        _to_the_end(partial(fit, kind, path))
        found = told(path)
        different = [key for key in straight if not alike(straight[key], found[key])]
        assert not different, (kind, different)
        yield


def _to_the_end(work: Callable[[], object]) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(in_a_child(work), 0)[1]) == 0


__all__ = ["Kind", "alike", "fit", "killed_while_fitting", "told"]
