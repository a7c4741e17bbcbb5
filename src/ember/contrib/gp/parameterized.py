"""Modules whose parameters can be given a prior, and a guide of their own."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to
from torch.nn import Parameter

import ember.distributions as dist
from ember.distributions import constraints
from ember.distributions.shapes import sum_rightmost
from ember.nn import PyroModule, PyroParam, PyroSample
from ember.primitives import sample

_REAL = (constraints.real, constraints.real_vector)


def _is_real(support: Any) -> bool:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support in _REAL


class _MapGuide:
    """A point: the parameter ``<name>_map``."""

    def __init__(self, module: Parameterized, name: str, prior: Any) -> None:
        self.name, self.prior = name, prior
        value = prior().detach()
        if _is_real(prior.support):
            setattr(module, f"{name}_map", Parameter(value))
        else:
            setattr(module, f"{name}_map", PyroParam(value, prior.support))

    def distribution(self, module: Parameterized) -> Any:
        return dist.Delta(getattr(module, f"{self.name}_map"), event_dim=self.prior.event_dim)


class _NormalGuide:
    """A normal distribution of the unconstrained value: parameters ``<name>_loc`` and a scale."""

    scale_name = "scale"

    def __init__(self, module: Parameterized, name: str, prior: Any) -> None:
        self.name, self.prior = name, prior
        self.real = _is_real(prior.support)
        value = prior().detach()
        loc = value if self.real else biject_to(prior.support).inv(value).detach()
        setattr(module, f"{name}_loc", Parameter(loc.clone()))
        setattr(module, f"{name}_{self.scale_name}", self.first_scale(loc))

    def first_scale(self, loc: Tensor) -> PyroParam:
        return PyroParam(torch.ones_like(loc), dist.constraints.positive)

    def unconstrained(self, module: Parameterized) -> Any:
        loc = getattr(module, f"{self.name}_loc")
        return dist.Normal(loc, getattr(module, f"{self.name}_scale")).to_event(loc.dim())

    def distribution(self, module: Parameterized) -> Any:
        q = self.unconstrained(module)
        if self.real:
            return q.to_event(self.prior.event_dim - q.event_dim) if q.event_dim else q
        latent = sample(module.full_name(f"{self.name}_latent"), q, infer={"is_auxiliary": True})
        transform: Any = biject_to(self.prior.support)
        value = transform(latent)
        log_density = transform.inv.log_abs_det_jacobian(value, latent)
        log_density = sum_rightmost(log_density, log_density.dim() - value.dim() + self.prior.event_dim)
        return dist.Delta(value, log_density=log_density, event_dim=self.prior.event_dim)


class _MultivariateGuide(_NormalGuide):
    """The same with all correlations."""

    scale_name = "scale_tril"

    def first_scale(self, loc: Tensor) -> PyroParam:
        eye = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        return PyroParam(eye.repeat(loc.shape[:-1] + (1, 1)), dist.constraints.lower_cholesky)

    def unconstrained(self, module: Parameterized) -> Any:
        loc = getattr(module, f"{self.name}_loc")
        tril = getattr(module, f"{self.name}_scale_tril")
        return dist.MultivariateNormal(loc, scale_tril=tril).to_event(loc.dim() - 1)


_GUIDES: dict[Any, Callable[..., Any]] = {
    dist.Delta: _MapGuide,
    dist.Normal: _NormalGuide,
    dist.MultivariateNormal: _MultivariateGuide,
}
_SUFFIXES = ("map", "loc", "scale", "scale_tril")


class _Attribute:
    """What a random attribute draws from: its prior in mode "model", its guide in mode "guide"."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: Parameterized) -> Any:
        if module.mode == "model":
            return module._priors[self.name]
        return module._guides[self.name].distribution(module)


class Parameterized(PyroModule):
    """A module whose parameters can be constrained, random, and inferred each by a guide of its own.

    An attribute set to a :class:`~ember.nn.PyroSample` gets a point as guide; :meth:`autoguide` changes that.
    In mode "model" it is drawn from its prior, in mode "guide" from the guide.

    >>> import ember.distributions as dist
    >>> class Line(Parameterized):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.slope = PyroSample(dist.Normal(0.0, 1.0))
    >>> line = Line()
    >>> line.autoguide("slope", dist.Normal)
    >>> [name for name, _ in line.named_parameters()]
    ['slope_loc', 'slope_scale_unconstrained']
    """

    def __init__(self) -> None:
        super().__init__()
        self._priors: OrderedDict[str, Any] = OrderedDict()
        self._guides: OrderedDict[str, Any] = OrderedDict()
        self._mode = "model"

    def set_prior(self, name: str, prior: Any) -> None:
        """Make a parameter random.

        Warns:
            UserWarning: always; set the attribute to a :class:`~ember.nn.PyroSample`.
        """
        warnings.warn(
            "set_prior is deprecated; use `module.name = PyroSample(prior)` instead",
            UserWarning,
            stacklevel=2,
        )
        setattr(self, name, PyroSample(prior))

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, PyroSample):
            prior = value.prior
            if hasattr(prior, "sample"):  # and not a function of the module, which only a model can ask
                self._priors[name] = prior
                self.autoguide(name, dist.Delta)
                value = PyroSample(_Attribute(name))
        super().__setattr__(name, value)

    def autoguide(self, name: str, dist_constructor: Any) -> None:
        """Choose the guide of a random attribute; it starts at a draw from the prior.

        Args:
            name: the attribute's.
            dist_constructor: ``Delta``, ``Normal`` or ``MultivariateNormal``, of the unconstrained value.

        Raises:
            ValueError: if the attribute has no prior.
            NotImplementedError: for another family.
        """
        if name not in self._priors:
            raise ValueError(f"There is no prior for parameter: {name}")
        if dist_constructor not in _GUIDES:
            raise NotImplementedError(
                f"Unsupported distribution type: {dist_constructor}; there are Delta, Normal, MultivariateNormal"
            )
        for suffix in _SUFFIXES:
            for attribute in (f"{name}_{suffix}", f"{name}_{suffix}_unconstrained"):
                if attribute in self._parameters:
                    delattr(self, attribute.removesuffix("_unconstrained"))
        self._guides[name] = _GUIDES[dist_constructor](self, name, self._priors[name])

    def full_name(self, name: str) -> str:
        """The name of a site of this module, from the root."""
        return self._pyro_get_fullname(name)

    def _load_pyro_samples(self) -> None:
        """Draw every random attribute."""
        for module in self.modules():
            for name in vars(module).get("_pyro_samples", ()):
                getattr(module, name)

    def set_mode(self, mode: str) -> None:
        """Draw from priors or from guides, here and below.

        Args:
            mode: "model" or "guide".
        """
        for module in self.modules():
            if isinstance(module, Parameterized):
                module.mode = mode

    @property
    def mode(self) -> str:
        """What random attributes are drawn from: "model", their priors, or "guide"."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
