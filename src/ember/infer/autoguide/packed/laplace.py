"""Laplace's approximation: a normal distribution with the posterior's mode and curvature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ember import distributions as dist
from ember.errors import ModelError
from ember.infer.autoguide.base.reading import reading
from ember.infer.autoguide.packed.continuous import AutoContinuous
from ember.infer.autoguide.packed.multivariate_normal import AutoMultivariateNormal
from ember.ops.hessian import hessian
from ember.ops.scalars import total
from ember.poutine.handlers import block, replay, trace
from ember.poutine.trace_struct import Trace


class AutoLaplaceApproximation(AutoContinuous):
    """Fits the posterior's mode in unconstrained space (Tierney and Kadane, 1986).

    :meth:`laplace_approximation` then makes a normal distribution around it.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        create_plates: see :class:`AutoGuide`.

    >>> import torch, ember
    >>> from ember.infer.autoguide import AutoLaplaceApproximation
    >>> def model():
    ...     x = ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("y", ember.distributions.Normal(x, 0.5), obs=torch.tensor(0.0))
    >>> mode = AutoLaplaceApproximation(model, init_loc_fn=ember.infer.autoguide.init_to_mean).prepare()
    >>> mode.laplace_approximation().get_posterior().covariance_matrix  # exact: the precision is 1 + 4
    tensor([[0.2000]])
    """

    loc: Any

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        self.loc = nn.Parameter(self._init_loc())

    def get_posterior(self, *args: object, **kwargs: object) -> Any:
        """All mass at the mode."""
        return dist.Delta(self.loc, event_dim=1)

    @reading
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The image of the mode, at full size."""
        return self._constrained(self.loc.detach().clone())

    def laplace_approximation(self, *args: object, **kwargs: object) -> AutoMultivariateNormal:
        """Make a guide with a normal distribution around the present ``loc``.

        Its precision is the Hessian of the negative log density, that of all data: call it with them, not
        with a minibatch. The guide has buffers ``loc``, ``scale`` and ``scale_tril``, and nothing to train.

        Args:
            args: positional arguments of the model, with all data.
            kwargs: keyword arguments of the model.

        Raises:
            ModelError: if the Hessian is not positive definite: then ``loc`` is no mode.
        """
        with block():
            loss = self._negative_log_density(args, kwargs)
        precision = hessian(loss, self.loc).detach()
        factor, info = torch.linalg.cholesky_ex(precision)
        if int(info) or not bool(torch.isfinite(factor).all()):
            smallest = (
                torch.linalg.eigvalsh(precision).min().item()
                if bool(precision.isfinite().all())
                else float("nan")
            )
            raise ModelError(
                f"the Hessian at loc is not positive definite (smallest eigenvalue {smallest:.3g}): loc is no mode. "
                "Train longer, or look for latent directions that neither prior nor data determine"
            )
        covariance = torch.cholesky_inverse(factor)
        scale = covariance.diagonal().sqrt()
        scale_tril = torch.linalg.cholesky(covariance / (scale[:, None] * scale))
        return self._frozen(scale, scale_tril, args, kwargs)

    def _negative_log_density(self, args: Any, kwargs: Any) -> Any:
        guide_trace: Trace = trace(self).get_trace(*args, **kwargs)
        model_trace: Trace = trace(replay(self.model, trace=guide_trace)).get_trace(*args, **kwargs)
        return total([guide_trace.log_prob_sum(), -model_trace.log_prob_sum()])

    def _frozen(self, scale: Any, scale_tril: Any, args: Any, kwargs: Any) -> AutoMultivariateNormal:
        gaussian = AutoMultivariateNormal(self.model, create_plates=self.create_plates)
        gaussian.ensure_prototype(args, kwargs)
        for name in ("loc", "scale", "scale_tril"):
            delattr(gaussian, name)
        gaussian.register_buffer("loc", self.loc.detach().clone())
        gaussian.register_buffer("scale", scale)
        gaussian.register_buffer("scale_tril", scale_tril)
        return gaussian
