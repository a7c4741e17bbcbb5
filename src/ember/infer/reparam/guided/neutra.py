"""Models in the coordinates of a guide that was fitted before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import Tensor
from torch.distributions import biject_to

from ember import primitives
from ember.distributions.shapes import sum_rightmost
from ember.infer.autoguide.packed.continuous import AutoContinuous
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult, deterministic_result
from ember.poutine.handlers import reparam as reparam_handler
from ember.poutine.plates.plate_messenger import block_plate
from ember.poutine.runtime import get_mask
from ember.poutine.site import Site


class NeuTraReparam(Reparam):
    """Draws one latent vector for all sites, and maps it as a fitted guide does.

    The vector is at the site ``<name of the first>_shared_latent``. Under the guide's transform the posterior
    is nearly the guide's simple base distribution, which a second guide, or a sampler, handles well. All
    sites share one instance, and the model must have the same sites in every run.

    Args:
        guide: a fitted guide that is made of a base distribution and a transform, such as ``AutoIAFNormal``.

    Raises:
        TypeError: for another guide.
        ValueError: if its transform depends on the model's arguments.
        NotImplementedError: at observed sites.

    References:
        M. Hoffman et al. (2019), "NeuTra-lizing bad geometry in Hamiltonian Monte Carlo using neural
        transport".

    >>> import ember
    >>> from ember.infer.reparam import NeuTraReparam
    >>> def model():
    ...     a = ember.sample("a", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("b", ember.distributions.Normal(a, 1.0))
    >>> guide = ember.infer.autoguide.AutoMultivariateNormal(model).prepare()  # fit it first
    >>> changed = NeuTraReparam(guide).reparam(model)
    >>> ember.poutine.trace(changed).get_trace().nodes["a_shared_latent"].value.shape
    torch.Size([2])
    """

    def __init__(self, guide: Any) -> None:
        if not isinstance(guide, AutoContinuous):
            raise TypeError(f"NeuTraReparam expected an AutoContinuous guide, but got {type(guide)}")
        self.guide: Any = guide
        self.transform: Any = None
        self.x_unconstrained: dict[str, Tensor] = {}
        """The parts of the present run's latent vector that no site has taken yet."""

    def _reparam_config(self, site: Site) -> NeuTraReparam | None:
        return self if site.name in self.guide.prototype_trace else None

    def reparam(self, fn: Callable[..., Any] | None = None) -> Any:
        """``fn`` with the guide's sites reparameterised; a handler if ``fn`` is None."""
        handler = reparam_handler(config=self._reparam_config)
        return handler if fn is None else reparam_handler(fn, config=self._reparam_config)

    def _draw(self, name: str, with_density: bool) -> Any:
        """Draw the shared latent at the first site; returns the log density of the transform there."""
        try:
            self.transform = self.guide.get_transform()
        except (NotImplementedError, TypeError) as error:
            raise ValueError(
                "NeuTraReparam only supports guides that implement `get_transform` method that does not depend on the "
                f"model's `*args, **kwargs`; {type(self.guide).__name__} does not"
            ) from error
        with ExitStack() as stack:
            for plate in self.guide.plates.values():
                stack.enter_context(block_plate(dim=plate.dim, strict=False))
            z = primitives.sample(f"{name}_shared_latent", self.guide.get_base_dist().mask(False))
        x = self.transform(z)
        self.x_unconstrained = {site.name: value for site, value in self.guide.unpack_latent(x)}
        return self.transform.log_abs_det_jacobian(z, x) if with_density else 0.0

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_shared_latent`` at the first site, and put each site where it says."""
        name, fn = msg.name, msg.fn
        if name not in self.guide.prototype_trace.nodes:
            return {"fn": fn, "value": msg.value, "is_observed": msg.is_observed}
        self._refuse_observed(name, msg.is_observed)
        with_density = get_mask() is not False
        log_density = self._draw(name, with_density) if name not in self.x_unconstrained else 0.0
        unconstrained = self.x_unconstrained.pop(name)
        transform: Any = biject_to(fn.support)
        value = transform(unconstrained)
        if with_density:
            jacobian = transform.log_abs_det_jacobian(unconstrained, value)
            jacobian = sum_rightmost(jacobian, jacobian.dim() - value.dim() + fn.event_dim)
            log_density = log_density + fn.log_prob(value) + jacobian
        return deterministic_result(value, fn.event_dim, log_density)

    def transform_sample(self, latent: Tensor) -> dict[str, Tensor]:
        """Return the sites' values from values of the shared latent.

        Shapes:
            latent: ``batch_shape + (latent_dim,)``; the batch must lie left of the model's plates.
        """
        pairs = self.guide.unpack_latent(self.transform(latent))
        return {site.name: biject_to(site.fn.support)(value) for site, value in pairs}
