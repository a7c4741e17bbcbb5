"""The model and the guide: a hidden confounder, features, a treatment and its outcome."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import ember.distributions as dist
from ember.contrib.cevae.nets import BernoulliNet, DiagNormalNet, DistributionNet, FullyConnected
from ember.nn import PyroModule
from ember.primitives import plate, sample


class Model(PyroModule):
    """A confounder ``z``, features ``x | z``, a treatment ``t | z`` and an outcome ``y | t, z``.

    Args:
        config: ``feature_dim``, ``latent_dim``, ``hidden_dim``, ``num_layers`` and ``outcome_dist``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.latent_dim = config["latent_dim"]
        super().__init__()
        hidden = [config["hidden_dim"]] * config["num_layers"]
        self.x_nn = DiagNormalNet([config["latent_dim"], *hidden, config["feature_dim"]])
        outcome_net = DistributionNet.get_class(config["outcome_dist"])
        # One network for each value of the treatment: they learn from few treated too.
        self.y0_nn = outcome_net([config["latent_dim"], *hidden])
        self.y1_nn = outcome_net([config["latent_dim"], *hidden])
        self.t_nn = BernoulliNet([config["latent_dim"]])

    def forward(
        self, x: Tensor, t: Tensor | None = None, y: Tensor | None = None, size: int | None = None
    ) -> Any:
        """The program.

        Args:
            x: features, (batch, features).
            t: treatments, (batch,); drawn if None.
            y: outcomes, (batch,); drawn if None.
            size: how many data there are; as many as in the batch if None.
        """
        with plate("data", x.size(0) if size is None else size, subsample=x):
            z = sample("z", self.z_dist())
            x = sample("x", self.x_dist(z), obs=x)
            t = sample("t", self.t_dist(z), obs=t)
            return sample("y", self.y_dist(t, z), obs=y)

    def y_mean(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """The mean outcome, given a treatment.

        Args:
            x: features.
            t: treatments; drawn if None.
        """
        with plate("data", x.size(0)):
            z = sample("z", self.z_dist())
            x = sample("x", self.x_dist(z), obs=x)
            t = sample("t", self.t_dist(z), obs=t)
        mean: Tensor = self.y_dist(t, z).mean
        return mean

    def z_dist(self) -> Any:
        """The confounder's prior."""
        return dist.Normal(0, 1).expand([self.latent_dim]).to_event(1)

    def x_dist(self, z: Tensor) -> Any:
        """The features, given the confounder."""
        loc, scale = self.x_nn(z)
        return dist.Normal(loc, scale).to_event(1)

    def y_dist(self, t: Any, z: Tensor) -> Any:
        """The outcome, given treatment and confounder."""
        return _of_treatment(self.y0_nn, self.y1_nn, t, z)

    def t_dist(self, z: Tensor) -> Any:
        """The treatment, given the confounder."""
        (logits,) = self.t_nn(z)
        return dist.Bernoulli(logits=logits)


def _of_treatment(untreated: DistributionNet, treated: DistributionNet, t: Any, inputs: Tensor) -> Any:
    """The distribution that one of two networks gives for the same inputs."""
    given = t.bool()
    params = [torch.where(given, p1, p0) for p0, p1 in zip(untreated(inputs), treated(inputs), strict=True)]
    make: Any = untreated
    return make.make_dist(*params)


class Guide(PyroModule):
    """A treatment ``t | x``, an outcome ``y | t, x``, and the confounder ``z | y, t, x``.

    Args:
        config: as of :class:`Model`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.latent_dim = config["latent_dim"]
        outcome_net = DistributionNet.get_class(config["outcome_dist"])
        super().__init__()
        width = config["hidden_dim"]
        hidden = [width] * (config["num_layers"] - 1)
        features = config["feature_dim"]
        self.t_nn = BernoulliNet([features])
        # What both treatments share, and a last layer for each.
        self.y_nn = FullyConnected([features, width, *hidden[1:]], final_activation=nn.ELU())
        self.y0_nn = outcome_net([width])
        self.y1_nn = outcome_net([width])
        self.z_nn = FullyConnected([1 + features, width, *hidden[1:]], final_activation=nn.ELU())
        self.z0_nn = DiagNormalNet([width, config["latent_dim"]])
        self.z1_nn = DiagNormalNet([width, config["latent_dim"]])

    def forward(
        self, x: Tensor, t: Tensor | None = None, y: Tensor | None = None, size: int | None = None
    ) -> None:
        """The program.

        Args:
            x: features, (batch, features).
            t: treatments, (batch,); drawn if None, for predictions.
            y: outcomes, (batch,); drawn if None.
            size: how many data there are; as many as in the batch if None.
        """
        with plate("data", x.size(0) if size is None else size, subsample=x):
            # Neither is a site of the model's posterior: they are there to be learned, and to predict.
            t = sample("t", self.t_dist(x), obs=t, infer={"is_auxiliary": True})
            y = sample("y", self.y_dist(t, x), obs=y, infer={"is_auxiliary": True})
            sample("z", self.z_dist(y, t, x))

    def t_dist(self, x: Tensor) -> Any:
        """The treatment, given the features."""
        (logits,) = self.t_nn(x)
        return dist.Bernoulli(logits=logits)

    def y_dist(self, t: Any, x: Tensor) -> Any:
        """The outcome, given treatment and features."""
        return _of_treatment(self.y0_nn, self.y1_nn, t, self.y_nn(x))

    def z_dist(self, y: Any, t: Any, x: Tensor) -> Any:
        """The confounder, given all else."""
        y_x = torch.cat([y.unsqueeze(-1), x], dim=-1)
        hidden = self.z_nn(y_x)
        given = t.bool().unsqueeze(-1)
        pairs = zip(self.z0_nn(hidden), self.z1_nn(hidden), strict=True)
        loc, scale = (torch.where(given, p1, p0) for p0, p1 in pairs)
        return dist.Normal(loc, scale).to_event(1)
