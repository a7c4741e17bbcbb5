"""Inputs that are latent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import ember.distributions as dist
from ember.contrib.gp.models.model import GPModel
from ember.contrib.gp.parameterized import Parameterized
from ember.nn import PyroSample, pyro_method


class GPLVM(Parameterized):
    """Outputs of many dims as functions of latent inputs of a few: reduces dims.

    M. Titsias and N. D. Lawrence (2010), *Bayesian Gaussian process latent variable model*.

    Args:
        base_model: a model of the outputs; its inputs are the first means of the latent ones.

    Raises:
        ValueError: if its inputs are no matrix.
    """

    def __init__(self, base_model: GPModel) -> None:
        super().__init__()
        if base_model.X.dim() != 2:
            raise ValueError(
                f"GPLVM model only works with 2D latent X, but got X.dim() = {base_model.X.dim()}."
            )
        self.base_model = base_model
        first = base_model.X.detach()
        self.X = PyroSample(dist.Normal(torch.zeros_like(first), 1.0).to_event())
        self.autoguide("X", dist.Normal)
        with torch.no_grad():
            self.X_loc.copy_(first)

    @contextmanager
    def _latent_inputs(self, mode: str) -> Iterator[None]:
        """The base model with a draw of the inputs; afterwards it has those that it had."""
        self.mode = mode
        base = self.base_model
        before = base.X
        base.set_data(self.X, base.y)
        try:
            yield
        finally:
            base.set_data(before, base.y)

    @pyro_method
    def model(self) -> Any:
        """The prior of the inputs, and the model of the outputs."""
        with self._latent_inputs("model"):
            return self.base_model.model()

    @pyro_method
    def guide(self) -> Any:
        """The distribution of the inputs, and the guide of the model."""
        with self._latent_inputs("guide"):
            return self.base_model.guide()

    def forward(self, **kwargs: object) -> Any:
        """The base model's posterior at new inputs, given a draw of the latent ones; as its ``forward``."""
        with self._latent_inputs("guide"):
            return self.base_model(**kwargs)
