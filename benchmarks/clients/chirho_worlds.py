"""chirho: a causal model with a confounder, trained by SVI, asked for what would have been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from chirho.counterfactual.handlers import MultiWorldCounterfactual
from chirho.indexed.ops import IndexSet, gather
from chirho.interventional.handlers import do
from chirho.observational.handlers import condition

import pyro
import pyro.distributions as dist
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from pyro.optim import Adam

ROWS, STEPS = 500, 300


class Trial(PyroModule):
    """A treatment that depends on what the outcome depends on."""

    def forward(self, rows: int) -> torch.Tensor:
        effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        noise = pyro.sample("noise", dist.HalfNormal(1.0))
        with pyro.plate("rows", rows, dim=-1):
            confounder = pyro.sample("confounder", dist.Normal(0.0, 1.0))
            treatment = pyro.sample("treatment", dist.Bernoulli(logits=slope[..., 0:1] * confounder))
            mean = effect * treatment + slope[..., 1:2] * confounder
            return pyro.sample("outcome", dist.Normal(mean, noise))


class Worlds:
    """Training by ``condition``, and both worlds of an intervention for all rows."""

    library = "chirho"
    what = "`condition`, `do`, `MultiWorldCounterfactual`, 500 rows"

    def build(self) -> None:
        confounder = torch.randn(ROWS)
        treatment = torch.bernoulli((1.5 * confounder).sigmoid())
        outcome = 0.8 * treatment + confounder + 0.3 * torch.randn(ROWS)
        self.data = {"confounder": confounder, "treatment": treatment, "outcome": outcome}
        self._make()

    def _make(self) -> None:
        self.model = Trial()
        self.guide = AutoNormal(condition(data=self.data)(self.model))

    def train(self) -> None:
        svi = SVI(condition(data=self.data)(self.model), self.guide, Adam({"lr": 0.02}), Trace_ELBO())
        for _ in range(STEPS):
            svi.step(ROWS)

    def predict(self) -> np.ndarray:
        def both_worlds(rows: int) -> torch.Tensor:
            with MultiWorldCounterfactual(-2), do(actions={"treatment": torch.tensor(1.0)}):
                outcome = self.model(rows)
                treated = gather(outcome, IndexSet(treatment={1}), event_dim=0)
                untouched = gather(outcome, IndexSet(treatment={0}), event_dim=0)
            return pyro.deterministic("difference", treated - untouched)

        draws = Predictive(both_worlds, guide=self.guide, num_samples=50, return_sites=["difference"])(ROWS)
        return draws["difference"].detach().numpy()

    def save(self, folder: Path) -> None:
        pyro.get_param_store().save(folder / "trial.pt")

    def load(self, folder: Path) -> None:
        pyro.clear_param_store()
        pyro.get_param_store().load(folder / "trial.pt")
        self._make()
        self.guide(ROWS)


CLIENT = Worlds()
