"""How many Python functions a warm captured step calls: ``python -m tools.warm_step``."""

from __future__ import annotations

import sys
from types import FrameType

import torch

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def model(y: torch.Tensor, sigma: torch.Tensor) -> None:
    """Eight schools."""
    mu = ember.sample("mu", dist.Normal(0.0, 5.0))
    tau = ember.sample("tau", dist.LogNormal(0.0, 1.0))
    with ember.plate("schools", 8):
        theta = ember.sample("theta", dist.Normal(mu, tau))
        ember.sample("y", dist.Normal(theta, sigma), obs=y)


def guide(y: torch.Tensor, sigma: torch.Tensor) -> None:
    """Mean field, with parameters of its own."""
    for name, size, family in (
        ("mu", (), dist.Normal),
        ("tau", (), dist.LogNormal),
        ("theta", (8,), dist.Normal),
    ):
        loc = ember.param(f"{name}.loc", torch.zeros(size))
        scale = ember.param(f"{name}.scale", torch.ones(size), constraint=dist.constraints.positive)
        if size:
            with ember.plate("schools", 8):
                ember.sample(name, family(loc, scale))
        else:
            ember.sample(name, family(loc, scale))


def main() -> None:
    """Print the calls of one step after some."""
    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO(), compile=True)
    for _ in range(5):
        svi.step(Y, SIGMA)
    names: list[str] = []

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            names.append(f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}")

    sys.setprofile(note)
    svi.step(Y, SIGMA)
    sys.setprofile(None)
    print(f"{len(names)} calls of Python functions in a warm captured step", *names, sep="\n  ")


if __name__ == "__main__":
    main()
