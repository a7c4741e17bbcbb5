"""How the file beside this one was written: run with pyro-ppl 1.9.2 installed (the tests never do)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import pyro
import pyro.distributions as dist
from pyro import optim
from pyro.infer import SVI, Trace_ELBO

HERE = Path(__file__).parent
NAMES = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "AdagradRMSProp",
    "Adam",
    "AdamW",
    "Adamax",
    "ClippedAdam",
    "DCTAdam",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "ExponentialLR",
]


def made(name: str, optim: Any) -> Any:
    """The optimizer of this name in Pyro, or in what takes Pyro's place."""
    if name == "ExponentialLR":
        return optim.ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.01}, "gamma": 0.9})
    options = {"SGD": {"lr": 0.01, "momentum": 0.9}, "AdagradRMSProp": {"eta": 0.1}}
    return getattr(optim, name)(options.get(name, {"lr": 0.01}))


def model() -> None:
    pyro.sample("z", dist.Normal(0.0, 1.0))


def guide() -> None:
    loc = pyro.param("loc", torch.zeros(2, 3))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
    pyro.sample("z", dist.Normal(loc.sum(), scale))


def main() -> None:
    states = {}
    for name in NAMES:
        pyro.clear_param_store()
        optimizer = made(name, optim)
        svi = SVI(model, guide, optimizer, Trace_ELBO())
        for _ in range(3):
            svi.step()
            if hasattr(optimizer, "step"):
                optimizer.step()
        states[name] = optimizer.get_state()
    torch.save(states, HERE / "pyro_1_9_2_optimizers.save")


if __name__ == "__main__":
    main()
