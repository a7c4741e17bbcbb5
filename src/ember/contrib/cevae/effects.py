"""Training the autoencoder, and the effects that it predicts."""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ember import poutine
from ember.contrib.cevae.elbo import TraceCausalEffect_ELBO
from ember.contrib.cevae.nets import PreWhitener
from ember.contrib.cevae.programs import Guide, Model
from ember.infer import SVI
from ember.infer.traces.validate_all import unchecked
from ember.optim import ClippedAdam
from ember.primitives import plate
from ember.torch_private.jit import jit_tracing_state

# The logger that programs written for Pyro turn down.
logger = logging.getLogger("pyro.contrib.cevae")


class CEVAE(nn.Module):
    """The causal effect variational autoencoder, for a binary treatment.

    Args:
        feature_dim: how many features there are.
        outcome_dist: the outcome's: "bernoulli", "exponential", "laplace", "normal" or "studentt".
        latent_dim: dims of the confounder.
        hidden_dim: width of the hidden layers.
        num_layers: how many of them.
        num_samples: draws of the confounder for :meth:`ite`.

    Raises:
        AssertionError: for sizes that are not positive.
        ValueError: for another outcome.
    """

    whiten: PreWhitener

    def __init__(
        self,
        feature_dim: int,
        outcome_dist: str = "bernoulli",
        latent_dim: int = 20,
        hidden_dim: int = 200,
        num_layers: int = 3,
        num_samples: int = 100,
    ) -> None:
        sizes = {
            "feature_dim": feature_dim,
            "latent_dim": latent_dim,
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "num_samples": num_samples,
        }
        for name, size in sizes.items():
            assert size > 0, f"{name} is positive, and not {size}"
        config = {**sizes, "outcome_dist": outcome_dist}
        super().__init__()
        self.feature_dim = feature_dim
        self.num_samples = num_samples
        self.model = Model(config)
        self.guide = Guide(config)

    def _check_features(self, x: Tensor) -> None:
        assert x.dim() == 2 and x.size(-1) == self.feature_dim, (
            f"x is of shape (n, {self.feature_dim}), and not {tuple(x.shape)}"
        )

    def fit(
        self,
        x: Tensor,
        t: Tensor,
        y: Tensor,
        num_epochs: int = 100,
        batch_size: int = 100,
        learning_rate: float = 1e-3,
        learning_rate_decay: float = 0.1,
        weight_decay: float = 1e-4,
        log_every: int = 100,
    ) -> list[float]:
        """Train on data.

        Args:
            x: features, (n, feature_dim).
            t: treatments, zeros and ones, (n,).
            y: outcomes, (n,).
            num_epochs: how often all data are seen.
            batch_size: data a step.
            learning_rate: the first one.
            learning_rate_decay: the last one over the first.
            weight_decay: of the weights.
            log_every: steps between lines of the log; none if zero.

        Returns:
            The loss of each step, for one datum.

        Raises:
            AssertionError: if the shapes do not match, or a loss is NaN.
        """
        self._check_features(x)
        assert t.shape == x.shape[:1] == y.shape, (
            f"t and y are of shape {tuple(x.shape[:1])}, and not {tuple(t.shape)}, {tuple(y.shape)}"
        )
        self.whiten = PreWhitener(x)
        dataset = TensorDataset(x, t, y)
        generator = torch.Generator(device=x.device)
        batches = DataLoader(dataset, batch_size=batch_size, shuffle=True, generator=generator)
        logger.info(f"Training with {len(batches)} minibatches per epoch")
        num_steps = num_epochs * len(batches)
        decay = learning_rate_decay ** (1 / num_steps)
        optim = ClippedAdam({"lr": learning_rate, "weight_decay": weight_decay, "lrd": decay})
        svi = SVI(self.model, self.guide, optim, TraceCausalEffect_ELBO())
        losses: list[float] = []
        for _ in range(num_epochs):
            for batch_x, batch_t, batch_y in batches:
                white = self.whiten(batch_x)
                loss: Any = svi.step(white, batch_t, batch_y, size=len(dataset)) / len(dataset)
                if log_every and len(losses) % log_every == 0:
                    logger.debug(f"step {len(losses): >5d} loss = {loss:0.6g}")
                assert loss == loss, f"the loss of step {len(losses)} is NaN"
                losses.append(loss)
        return losses

    @torch.no_grad()
    def ite(self, x: Tensor, num_samples: int | None = None, batch_size: int | None = None) -> Tensor:
        """The effect for each individual: mean outcome with treatment, less that without.

        Args:
            x: features, (n, feature_dim).
            num_samples: draws of the confounder; ``self.num_samples`` if None.
            batch_size: individuals at a time; all if None.

        Raises:
            AssertionError: for other shapes.
            AttributeError: before :meth:`fit`.
        """
        if jit_tracing_state() is None:
            self._check_features(x)
        draws = self.num_samples if num_samples is None else num_samples
        batches: Any = [x] if batch_size is None else DataLoader(cast(Any, x), batch_size=batch_size)
        logger.info(f"Evaluating {len(batches)} minibatches")
        result = []
        for batch in batches:
            white = self.whiten(batch)
            with plate("num_particles", draws, dim=-2):
                with poutine.trace() as tr, poutine.block(hide=["y", "t"]):
                    self.guide(white)
                replayed = poutine.replay(self.model.y_mean, trace=tr.trace)
                with poutine.do(data={"t": torch.zeros(())}):
                    untreated = replayed(white)
                with poutine.do(data={"t": torch.ones(())}):
                    treated = replayed(white)
            effect = (treated - untreated).mean(0)
            if jit_tracing_state() is None:
                logger.debug(f"batch ate = {effect.mean():0.6g}")
            result.append(effect)
        return torch.cat(result)

    def to_script_module(self) -> Any:
        """The module with its method :meth:`ite`, recorded by ``torch.jit``; after :meth:`fit`."""
        self.train(False)
        example = torch.randn(2, self.feature_dim)
        with unchecked():
            return torch.jit.trace_module(self, {"ite": (example,)}, check_trace=False)  # type: ignore[no-untyped-call]
