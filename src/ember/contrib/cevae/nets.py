"""Networks whose outputs are the parameters of a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import ember.distributions as dist


class FullyConnected(nn.Sequential):
    """Linear layers with ELU between them.

    Args:
        sizes: of the input, of each hidden layer, and of the output.
        final_activation: a module after the last layer.
    """

    def __init__(self, sizes: Sequence[int], final_activation: nn.Module | None = None) -> None:
        layers: list[nn.Module] = []
        for width, following in pairwise(sizes):
            layers += [nn.Linear(width, following), nn.ELU()]
        layers.pop()
        if final_activation is not None:
            layers.append(final_activation)
        super().__init__(*layers)

    def append(self, layer: nn.Module) -> FullyConnected:
        """Add a layer.

        Raises:
            AssertionError: for something else than a module.
        """
        assert isinstance(layer, nn.Module), f"a layer is a module, and not {type(layer).__name__}"
        super().append(layer)
        return self


class DistributionNet(nn.Module):
    """Base of networks that are named by their distribution.

    A subclass has ``forward``, from inputs to a tuple of parameters, and ``make_dist``, from these to the
    distribution.
    """

    @staticmethod
    def get_class(dtype: str) -> Any:
        """The network of a name, such as "bernoulli".

        Raises:
            ValueError: if there is none.
        """
        for cls in DistributionNet.__subclasses__():
            if cls.__name__.lower() == dtype + "net":
                return cls
        raise ValueError(f"dtype not supported: {dtype}")


class BernoulliNet(DistributionNet):
    """One logit, within [-10, 10].

    Args:
        sizes: of the input and of each hidden layer.

    >>> net = BernoulliNet([3, 4])
    >>> net.make_dist(*net(torch.zeros(3))).batch_shape
    torch.Size([])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        assert len(sizes) >= 1, "a network needs the size of its input"
        super().__init__()
        self.fc = FullyConnected([*sizes, 1])

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The logit."""
        logits: Tensor = self.fc(x).squeeze(-1).clamp(min=-10, max=10)
        return (logits,)

    @staticmethod
    def make_dist(logits: Tensor) -> Any:
        """The Bernoulli distribution."""
        return dist.Bernoulli(logits=logits)


class ExponentialNet(DistributionNet):
    """One rate, within [1e-6, 1e3].

    Args:
        sizes: of the input and of each hidden layer.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        assert len(sizes) >= 1, "a network needs the size of its input"
        super().__init__()
        self.fc = FullyConnected([*sizes, 1])

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The rate."""
        scale = softplus(self.fc(x).squeeze(-1)).clamp(min=1e-3, max=1e6)
        return (scale.reciprocal(),)

    @staticmethod
    def make_dist(rate: Tensor) -> Any:
        """The exponential distribution."""
        return dist.Exponential(rate)


def _loc_scale(outputs: Tensor) -> tuple[Tensor, Tensor]:
    loc = outputs[..., 0].clamp(min=-1e6, max=1e6)
    scale = softplus(outputs[..., 1]).clamp(min=1e-3, max=1e6)
    return loc, scale


class LaplaceNet(DistributionNet):
    """A location and a scale.

    Args:
        sizes: of the input and of each hidden layer.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        assert len(sizes) >= 1, "a network needs the size of its input"
        super().__init__()
        self.fc = FullyConnected([*sizes, 2])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale."""
        return _loc_scale(self.fc(x))

    @staticmethod
    def make_dist(loc: Tensor, scale: Tensor) -> Any:
        """The Laplace distribution."""
        return dist.Laplace(loc, scale)


class NormalNet(DistributionNet):
    """A mean and a scale.

    Args:
        sizes: of the input and of each hidden layer.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        assert len(sizes) >= 1, "a network needs the size of its input"
        super().__init__()
        self.fc = FullyConnected([*sizes, 2])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale."""
        return _loc_scale(self.fc(x))

    @staticmethod
    def make_dist(loc: Tensor, scale: Tensor) -> Any:
        """The normal distribution."""
        return dist.Normal(loc, scale)


class StudentTNet(DistributionNet):
    """A location, a scale, and degrees of freedom above one that all inputs share.

    Args:
        sizes: of the input and of each hidden layer.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        assert len(sizes) >= 1, "a network needs the size of its input"
        super().__init__()
        self.fc = FullyConnected([*sizes, 2])
        self.df_unconstrained = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Degrees of freedom, location and scale."""
        loc, scale = _loc_scale(self.fc(x))
        df = softplus(self.df_unconstrained).add(1).expand_as(loc)
        return df, loc, scale

    @staticmethod
    def make_dist(df: Tensor, loc: Tensor, scale: Tensor) -> Any:
        """Student's t distribution."""
        return dist.StudentT(df, loc, scale)


class DiagNormalNet(nn.Module):
    """Means, within [-100, 100], and scales, within [1e-3, 100], of several independent normal variables.

    Args:
        sizes: of the input, of each hidden layer, and how many variables there are.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        assert len(sizes) >= 2, "a network needs the sizes of its input and output"
        super().__init__()
        self.dim = sizes[-1]
        self.fc = FullyConnected([*sizes[:-1], self.dim * 2])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and scales."""
        outputs = self.fc(x)
        loc = outputs[..., : self.dim].clamp(min=-1e2, max=1e2)
        scale = softplus(outputs[..., self.dim :]).add(1e-3).clamp(max=1e2)
        return loc, scale


class PreWhitener(nn.Module):
    """Takes the mean of some data away and divides by their standard deviation.

    Args:
        data: of shape (n, features).
    """

    loc: Tensor
    inv_scale: Tensor

    def __init__(self, data: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            loc = data.mean(0)
            scale = data.std(0, unbiased=False)
            # A feature that never changes is left as it is.
            scale[~(scale > 0)] = 1.0
            self.register_buffer("loc", loc)
            self.register_buffer("inv_scale", scale.reciprocal())

    def forward(self, data: Tensor) -> Tensor:
        """The data whitened."""
        return (data - self.loc) * self.inv_scale
