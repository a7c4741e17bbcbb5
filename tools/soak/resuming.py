"""Trainings that go on from their file: fits over batches by one process or two, runs of steps, steps one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from ember.train import Checkpoint, DataParallel, Plateau, Scheduler, TrainResult

ROWS, TRAINED, BATCH, EPOCHS, STEPS = 70, 52, 16, 5, 18
"""A last batch has 4 rows, 2 for each of two processes: as few as can be normalised."""


@dataclass(frozen=True)
class Kind:
    """One kind of training."""

    compile: bool
    loader: bool
    network: bool
    every: int | None
    """Steps from one file to the next; None for an epoch."""
    how: str = "fit"
    """``"fit"``, ``"run"`` or ``"step"``."""
    processes: int = 1


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


def _new_svi(kind: Kind) -> SVI:
    ember.clear_param_store()
    ember.set_rng_seed(5)
    model, guide = _network() if kind.network else _regression()
    optim = ember.optim.StepLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.02}, "step_size": 2, "gamma": 0.7}
    )
    return SVI(model, guide, optim, Trace_ELBO(), compile=kind.compile)


def resumed(kind: Kind, path: Path) -> None:
    """One training, from the beginning or from the file."""
    if kind.how == "fit":
        fit(kind, path)
    else:
        _steps(kind, path)


def _steps(kind: Kind, path: Path) -> None:
    """Steps by ``run`` or ``step``; how many there have been is a parameter that nothing trains."""
    svi, (x, y) = _new_svi(kind), _data()
    done = ember.param("done", torch.zeros(()))
    if path.exists():
        svi.load(path)
        done = ember.param("done")
    every = kind.every or STEPS // 2
    while done < STEPS:
        if kind.how == "run":
            svi.run(every, x, y, progress=False, scheduled=True)
        else:
            for count in range(every):
                rows = ROWS if count % 2 else BATCH
                svi.step(x[:rows], y[:rows])
                svi.optim.step()  # type: ignore[attr-defined]
        with torch.no_grad():
            done += every
        svi.save(path)


def fit(kind: Kind, path: Path) -> TrainResult:
    """One fit, from the beginning or from the file."""
    svi, (x, y) = _new_svi(kind), _data()
    batches: Any = (x[:TRAINED], y[:TRAINED])
    if kind.loader:
        batches = DataLoader(TensorDataset(*batches), batch_size=BATCH, shuffle=True)
    return svi.fit(
        batches,
        epochs=EPOCHS,
        batch_size=None if kind.loader else BATCH,
        validation=(x[TRAINED:], y[TRAINED:]),
        callbacks=[Scheduler(), Plateau(patience=1), Checkpoint(path, every=kind.every)],
        progress=False,
        resume=path,
        parallel=DataParallel() if kind.processes > 1 else None,
    )


def told(path: Path) -> Any:
    """All that a file holds, without the versions and the random state of the last epoch's beginning."""
    state, fit = read_file(path)
    return {**state, **{key: value for key, value in (fit or {}).items() if key != "epoch_began"}}


def alike(value: Any, other: Any) -> bool:
    """Whether two of them are the same, bit for bit."""
    if isinstance(value, Tensor):
        return isinstance(other, Tensor) and torch.equal(value, other)
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(alike(value[key], other[key]) for key in value)
    if isinstance(value, (list, tuple)):
        return len(value) == len(other) and all(map(alike, value, other))
    return bool(value == other)


__all__ = ["Kind", "alike", "fit", "resumed", "told"]
