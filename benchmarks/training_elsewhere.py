"""Contenders of ``benchmarks.training`` in other libraries: torch by hand, NumPyro's scan over batches, Lightning.

Each function gives the seconds of the processor that a step takes, or None where the library is not installed.
"""

from __future__ import annotations

import importlib.util
import os
import time
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

Loss = Callable[..., Tensor]
_STEPS_A_CALL = {"vae": 20, "logistic_million": 500}


def timed(take: Callable[[], int], limit: float) -> float:
    """Seconds a step of a function that takes some and says how many; its first call is not counted."""
    take()
    started, steps = time.process_time(), 0
    while steps == 0 or time.process_time() < started + limit:
        steps += take()
    return (time.process_time() - started) / steps


# ---- torch


class Vae(nn.Module):
    """The negative ELBO of the autoencoder, the divergence in closed form left out: both terms by a draw, as SVI has them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 400), nn.Softplus(), nn.Linear(400, 40))
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.Softplus(), nn.Linear(400, 784))

    def forward(self, x: Tensor) -> Tensor:
        """The loss of a batch."""
        loc, log_scale = self.encoder(x).chunk(2, -1)
        noise = torch.randn_like(loc)
        z = loc + log_scale.exp() * noise
        log_ratio = 0.5 * (noise.square() - z.square()) + log_scale
        fit = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        return fit - log_ratio.sum()


class Logistic(nn.Module):
    """The negative ELBO of the regression, with a normal for each weight."""

    def __init__(self, columns: int = 10) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(columns))
        self.raw_scale = nn.Parameter(torch.full((columns,), -2.0))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of a batch, which stands for a million rows."""
        noise = torch.randn_like(self.loc)
        scale = F.softplus(self.raw_scale)
        w = self.loc + scale * noise
        log_ratio = 0.5 * (noise.square() - w.square()) + scale.log()
        fit = F.binary_cross_entropy_with_logits(x @ w, y, reduction="sum")
        return 1e6 / len(x) * fit - log_ratio.sum()


LOSSES: dict[str, Callable[[], nn.Module]] = {"vae": Vae, "logistic_million": Logistic}


def torch_by_hand(name: str, data: tuple[Tensor, ...], batch_size: int, limit: float) -> float:
    """Forward, backward and Adam on rows by ``randperm().split``: what a step of Pyro would take without Pyro."""
    loss = LOSSES[name]()
    adam = torch.optim.Adam(loss.parameters(), lr=1e-3)

    def take() -> int:
        order = torch.randperm(len(data[0]))[: 10 * batch_size].split(batch_size)
        for rows in order:
            adam.zero_grad()
            loss(*[column[rows] for column in data]).backward()
            adam.step()
        return len(order)

    return timed(take, limit)


def products_alone(batch_size: int, limit: float) -> float:
    """The matrix products of a step of the autoencoder, by torch, and nothing else: no library can take less by the same ones."""
    x, out = torch.randn(batch_size, 784), torch.randn(batch_size, 784)
    hidden, code, z = torch.randn(batch_size, 400), torch.randn(batch_size, 40), torch.randn(batch_size, 20)
    first, second = torch.randn(400, 784), torch.randn(40, 400)
    third, fourth = torch.randn(400, 20), torch.randn(784, 400)
    pairs = [
        *((x, first.t()), (hidden, second.t()), (z, third.t()), (hidden, fourth.t())),
        *((out.t(), hidden), (out, fourth), (hidden.t(), z), (hidden, third)),
        *((code.t(), hidden), (code, second), (hidden.t(), x)),
    ]

    def take() -> int:
        for a, b in pairs:
            torch.mm(a, b)
        return 1

    return timed(take, limit)


# ---- NumPyro


def _numpyro_programs(name: str) -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer.autoguide import AutoNormal

    if name == "logistic_million":

        def regression(x: Any, y: Any) -> None:
            w = numpyro.sample("w", dist.Normal(jnp.zeros(10), 1.0).to_event(1))
            with numpyro.plate("rows", 1_000_000, subsample_size=len(x)):
                numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

        return regression, AutoNormal(regression)

    def dense(prefix: str, rows: int, columns: int) -> Callable[[Any], Any]:
        init = 0.05 * jax.random.normal(jax.random.PRNGKey(rows), (rows, columns))
        weights = numpyro.param(f"{prefix}_w", init)
        bias = numpyro.param(f"{prefix}_b", jnp.zeros(columns))
        return lambda x: x @ weights + bias

    def model(x: Any) -> None:
        first, second = dense("decoder1", 20, 400), dense("decoder2", 400, 784)
        with numpyro.plate("rows", 20_000, subsample_size=len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros((len(x), 20)), 1.0).to_event(1))
            logits = second(jax.nn.softplus(first(z)))
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x: Any) -> None:
        first, second = dense("encoder1", 784, 400), dense("encoder2", 400, 40)
        found = second(jax.nn.softplus(first(x)))
        with numpyro.plate("rows", 20_000, subsample_size=len(x)):
            scale = jnp.exp(found[:, 20:])
            numpyro.sample("z", dist.Normal(found[:, :20], scale).to_event(1))

    return model, guide


def numpyro_scan(name: str, data: tuple[Tensor, ...], batch_size: int, limit: float) -> float | None:
    """``lax.scan`` of ``svi.update`` over the rows of many batches, in one compiled call."""
    if importlib.util.find_spec("numpyro") is None:
        return None
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    import jax.numpy as jnp
    import numpyro
    from numpyro.infer import SVI, Trace_ELBO

    model, guide = _numpyro_programs(name)
    columns = tuple(jnp.asarray(column.numpy()) for column in data)
    svi = SVI(model, guide, numpyro.optim.Adam(1e-3), Trace_ELBO())
    state = svi.init(jax.random.PRNGKey(0), *[column[:batch_size] for column in columns])
    steps = min(_STEPS_A_CALL[name], len(data[0]) // batch_size)

    @jax.jit
    def many(state: Any, columns: Any, rows: Any) -> Any:
        def one(state: Any, rows: Any) -> Any:
            return svi.update(state, *[column[rows] for column in columns])

        return jax.lax.scan(one, state, rows)

    found = [state]

    def take() -> int:
        rows = torch.randperm(len(data[0]))[: steps * batch_size].view(steps, batch_size)
        found[0], losses = many(found[0], columns, jnp.asarray(rows.numpy()))
        losses.block_until_ready()
        return steps

    return timed(take, limit)


# ---- Lightning


def lightning_compiled(name: str, data: tuple[Tensor, ...], batch_size: int, limit: float) -> float | None:
    """Lightning's loop over a loader, with the loss by hand compiled by ``torch.compile``."""
    if importlib.util.find_spec("lightning") is None:
        return None
    import lightning

    class Fit(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.loss = torch.compile(LOSSES[name]())
            self.times: list[float] = []

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            self.times.append(time.process_time())
            if len(self.times) > 20 and self.times[-1] - self.times[10] > limit:
                self.trainer.should_stop = True
            return cast(Tensor, self.loss(*batch))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.loss.parameters(), lr=1e-3)  # type: ignore[attr-defined]

    loader = DataLoader(TensorDataset(*data), batch_size=batch_size, shuffle=True, drop_last=True)
    quiet: dict[str, Any] = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False}
    fit = Fit()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lightning.Trainer(max_epochs=10**6, accelerator="cpu", **quiet).fit(fit, loader)
    first = min(10, len(fit.times) - 2)
    return (fit.times[-1] - fit.times[first]) / (len(fit.times) - 1 - first)


__all__ = ["lightning_compiled", "numpyro_scan", "products_alone", "torch_by_hand"]
