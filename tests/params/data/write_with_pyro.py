"""How the files beside this one were written: run with pyro-ppl 1.9.2 installed (the tests never do)."""

from __future__ import annotations

from pathlib import Path

import torch

import pyro
from pyro.distributions import constraints as C

HERE = Path(__file__).parent

VALUES = {
    "real": ([1.0, -2.0], C.real),
    "positive": ([0.5, 3.0], C.positive),
    "softplus_positive": ([0.25, 4.0], C.softplus_positive),
    "unit_interval": (0.25, C.unit_interval),
    "interval": ([-0.5, 1.5], C.interval(-1.0, 2.0)),
    "greater_than": (3.0, C.greater_than(2.0)),
    "greater_than_tensor": ([3.0, 4.0], C.greater_than(torch.tensor([2.0, 1.0]))),
    "less_than": (-3.0, C.less_than(0.0)),
    "simplex": ([0.2, 0.3, 0.5], C.simplex),
    "lower_cholesky": ([[1.0, 0.0], [0.5, 2.0]], C.lower_cholesky),
    "softplus_lower_cholesky": ([[1.0, 0.0], [0.5, 2.0]], C.softplus_lower_cholesky),
    "unit_lower_cholesky": ([[1.0, 0.0], [0.5, 1.0]], C.unit_lower_cholesky),
    "corr_cholesky": ([[1.0, 0.0], [0.6, 0.8]], C.corr_cholesky),
    "ordered_vector": ([-1.0, 0.5, 2.0], C.ordered_vector),
    "positive_ordered_vector": ([0.5, 1.0, 2.0], C.positive_ordered_vector),
    "sphere": ([0.6, 0.8], C.sphere),
    "independent": ([[1.0, 2.0]], C.independent(C.positive, 1)),
    "real_vector": ([1.0, 2.0], C.real_vector),
    "positive_definite": ([[2.0, 0.5], [0.5, 1.0]], C.positive_definite),
    "corr_matrix": ([[1.0, 0.5], [0.5, 1.0]], C.corr_matrix),
    "nonnegative": ([0.5, 1.0], C.nonnegative),
}


def main() -> None:
    store = pyro.get_param_store()
    for name, (value, constraint) in VALUES.items():
        pyro.param(name, torch.tensor(value), constraint=constraint)
    store.save(str(HERE / "pyro_1_9_2_constraints.save"))

    store.clear()
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    pyro.module("net", net)
    with pyro.plate("data", 6, subsample=torch.tensor([1, 4])):
        pyro.param("local", torch.arange(6.0) + 1, constraint=C.softplus_positive, event_dim=0)
    store.save(str(HERE / "pyro_1_9_2_module.save"))


if __name__ == "__main__":
    main()
