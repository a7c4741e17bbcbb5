"""The Laplace approximation: at the mode while it is trained, and then normal around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

import ember.distributions as dist
from ember.contrib.oed.glmm.guides.posterior import shape_of
from ember.contrib.util import iter_plates_to_shape, tensor_to_dict
from ember.modules import module
from ember.ops.linalg import rinverse
from ember.primitives import sample


class LinearModelLaplaceGuide(nn.Module):
    """The posterior mode of coefficients, and after :meth:`finalize` a normal around it.

    Args:
        d: the batch shape of the designs.
        w_sizes: how many coefficients each target has, by name.
        tau_label: the site of the noise's precision, a further target of size 1; None if it is known.
        init_value: all means, at first.
        kwargs: without effect.

    Called with a design. ``train()`` goes back to the mode.
    """

    def __init__(
        self,
        d: int | Sequence[int] | Tensor,
        w_sizes: Mapping[str, int],
        tau_label: str | None = None,
        init_value: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.w_sizes = dict(w_sizes) if tau_label is None else {**w_sizes, tau_label: 1}
        self.means = nn.ParameterDict()
        together = init_value * torch.ones(*shape_of(d), sum(self.w_sizes.values()))
        for label, mean in tensor_to_dict(self.w_sizes, together).items():
            self.means[label] = nn.Parameter(mean.clone())
        self.scale_trils: dict[str, Tensor] = {}

    def finalize(self, loss: Tensor, target_labels: Sequence[str]) -> None:
        """Take the inverse of a loss's second derivatives for the covariance.

        Args:
            loss: such as ``Trace_ELBO().differentiable_loss(model, guide, design)``, at the mode.
            target_labels: the targets that get a covariance; each is taken for itself.

        Raises:
            torch.linalg.LinAlgError: if the loss is not at a minimum.
        """
        self.eval()
        for label, mean in self.means.items():
            if label in target_labels:
                covariance = rinverse(_hessian(loss, mean))
                # Symmetric but for rounding.
                self.scale_trils[label] = torch.linalg.cholesky((covariance + covariance.mT) / 2).detach()

    def forward(self, design: Tensor, target_labels: Sequence[str] | None = None) -> None:
        targets = list(self.means) if target_labels is None else target_labels
        module("laplace_guide", self)
        with ExitStack() as stack:
            for plate in iter_plates_to_shape(design.shape[:-2]):
                stack.enter_context(plate)
            for label in targets:
                mean = self.means[label]
                if self.training:
                    sample(label, dist.Delta(mean).to_event(1))
                else:
                    sample(label, dist.MultivariateNormal(mean, scale_tril=self.scale_trils[label]))


def _hessian(loss: Tensor, x: Tensor) -> Tensor:
    """Second derivatives along the last dim of ``x``, whose batch entries do not meet in the loss."""
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    columns = [
        torch.autograd.grad(gradient[..., i].sum(), x, retain_graph=True)[0] for i in range(x.shape[-1])
    ]
    return torch.stack(columns, -1)
