"""Where guides start: functions from a site to an initial constrained value, and the handler that applies them.

An ``init_loc_fn`` takes a site (a dict with ``name`` and ``fn``) and returns a tensor of the shape of ``fn``.
Called without a site, or with options only, the functions here return such a function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import transform_to

from ember.distributions import constraints
from ember.distributions.fast_checks import check_value
from ember.distributions.torch_distribution import Independent, MaskedDistribution
from ember.errors import ModelError
from ember.infer.autoguide.base.support import helpful_support_errors
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site, site_is_subsample

InitFn = Callable[[Any], Tensor]


def _is_multivariate(fn: Any) -> bool:
    while isinstance(fn, (Independent, MaskedDistribution)):
        fn = fn.base_dist
    return any(size > 1 for size in fn.event_shape)


def _drawn(site: Any) -> Tensor:
    """A value of the site's shape, dtype and device: a draw, or zeros where the distribution cannot be drawn from."""
    fn = site["fn"]
    try:
        value: Tensor = fn.sample().detach()
    except NotImplementedError:
        value = torch.zeros(fn.shape())
    return value


def _unconstrained_like(site: Any) -> tuple[Tensor, Any]:
    """A tensor like the site's unconstrained values, and the transform from there."""
    transform = transform_to(site["fn"].support)
    drawn = _drawn(site)
    try:
        return transform.inv(drawn), transform
    except (
        RuntimeError
    ):  # there is no inverse, or zeros, in the place of a draw, have none: no factor of a matrix, say
        return drawn.new_zeros(transform.inverse_shape(drawn.shape)), transform


def _marked(value: Tensor) -> Tensor:
    # Reparameterisers ask whether an initial value was the user's own.
    value._pyro_custom_init = False  # type: ignore[attr-defined]
    return value


def init_to_feasible(site: Any = None) -> Any:
    """Start at the point of the support that zero in unconstrained space is mapped to.

    It is the same for all parameters of the distribution.

    Args:
        site: the site; without it, the function itself is returned.

    >>> from ember.distributions import Gamma
    >>> from ember.infer.autoguide import init_to_feasible
    >>> init_to_feasible({"name": "x", "fn": Gamma(5.0, 1.0)})
    tensor(1.)
    """
    if site is None:
        return init_to_feasible
    like, transform = _unconstrained_like(site)
    return _marked(transform(torch.zeros_like(like)))


def init_to_sample(site: Any = None) -> Any:
    """Start at a draw from the prior.

    Args:
        site: the site; without it, the function itself is returned.

    >>> import torch
    >>> from ember.distributions import Delta
    >>> from ember.infer.autoguide import init_to_sample
    >>> init_to_sample({"name": "x", "fn": Delta(torch.tensor(3.0))})
    tensor(3.)
    """
    if site is None:
        return init_to_sample
    return _marked(site["fn"].sample().detach())


def init_to_median(
    site: Any = None, num_samples: int = 15, *, fallback: InitFn | None = init_to_feasible
) -> Any:
    """Start at the median of a few draws from the prior.

    Args:
        site: the site; without it, a function of a site is returned.
        num_samples: how many draws to take.
        fallback: for sites whose median lies outside the support or cannot be had. Multivariate sites start
            as under :func:`init_to_feasible`.

    Raises:
        ModelError: if there is no median and no fallback.

    >>> from ember.distributions import Normal
    >>> from ember.infer.autoguide import init_to_median
    >>> bool(init_to_median(num_samples=99)({"name": "x", "fn": Normal(5.0, 1.0)}).sub(5).abs() < 0.5)
    True
    """
    if site is None:
        return functools.partial(init_to_median, num_samples=num_samples, fallback=fallback)
    if _is_multivariate(site["fn"]):
        return init_to_feasible(site)
    try:
        draws = site["fn"].sample(sample_shape=torch.Size((num_samples,)))
        # Of an expanded tensor torch 2.13 gives the median of memory that it has not filled.
        value = draws.contiguous().median(dim=0)[0]
        return _valid(site, value)
    except (RuntimeError, ValueError):
        return _fall_back(site, fallback)


def init_to_mean(site: Any = None, *, fallback: InitFn | None = init_to_median) -> Any:
    """Start at the mean of the prior.

    Args:
        site: the site; without it, a function of a site is returned.
        fallback: for sites whose mean is unknown, infinite or outside the support.

    Raises:
        ModelError: if there is no mean and no fallback.

    >>> from ember.distributions import Gamma
    >>> from ember.infer.autoguide import init_to_mean
    >>> init_to_mean({"name": "x", "fn": Gamma(6.0, 2.0)})
    tensor(3.)
    """
    if site is None:
        return functools.partial(init_to_mean, fallback=fallback)
    try:
        return _valid(site, site["fn"].mean.detach())
    except (NotImplementedError, ValueError):
        return _fall_back(site, fallback)


def _valid(site: Any, value: Tensor) -> Tensor:
    if not bool(torch.isfinite(value).all()):
        raise ValueError("not finite")
    check_value(site["fn"], value)
    return _marked(value)


def _fall_back(site: Any, fallback: InitFn | None) -> Tensor:
    if fallback is None:
        raise ModelError(
            f"No init strategy specified for site {site['name']!r}: give it a value, "
            f"init_to_value(values={{{site['name']!r}: ...}}), or a fallback"
        )
    return fallback(site)


def init_to_uniform(site: Any = None, radius: float = 2.0) -> Any:
    """Start at a point drawn uniformly from ``(-radius, radius)`` in unconstrained space.

    Args:
        site: the site; without it, a function of a site is returned.
        radius: half the width of the interval.

    >>> from ember.distributions import Normal
    >>> from ember.infer.autoguide import init_to_uniform
    >>> bool(init_to_uniform(radius=0.1)({"name": "x", "fn": Normal(5.0, 1.0)}).abs() < 0.1)
    True
    """
    if site is None:
        return functools.partial(init_to_uniform, radius=radius)
    like, transform = _unconstrained_like(site)
    return _marked(transform(torch.rand_like(like) * (2 * radius) - radius))


def init_to_value(
    site: Any = None, values: Mapping[str, Any] = {}, *, fallback: InitFn | None = init_to_uniform
) -> Any:
    """Start at given values.

    Args:
        site: the site; without it, a function of a site is returned.
        values: constrained values by name of the site.
        fallback: for sites that are not among them.

    Raises:
        ModelError: if a site is not among them and there is no fallback.

    >>> import torch
    >>> from ember.infer.autoguide import init_to_value
    >>> start = init_to_value(values={"x": torch.tensor(3.0)})
    >>> start({"name": "x"})
    tensor(3.)
    """
    if site is None:
        return functools.partial(init_to_value, values=values, fallback=fallback)
    if site["name"] in values:
        return values[site["name"]]
    return _fall_back(site, fallback)


class _InitToGenerated:
    """Asks ``generate`` anew as soon as a name comes a second time: then another run of the model has begun."""

    def __init__(self, generate: Callable[[], InitFn]) -> None:
        self.generate = generate
        self._init: InitFn | None = None
        self._seen: set[str] = set()

    def __call__(self, site: Any) -> Tensor:
        if self._init is None or site["name"] in self._seen:
            self._init = self.generate()
            self._seen = set()
        self._seen.add(site["name"])
        return self._init(site)


def _uniform() -> InitFn:
    return init_to_uniform


def init_to_generated(site: Any = None, generate: Callable[[], InitFn] = _uniform) -> Any:
    """Start as a function says that is generated once for each run of the model.

    Args:
        site: the site; without it, a function of a site is returned.
        generate: returns a function from a site to its value, for example ``init_to_value(values=...)`` of
            random values.

    >>> import torch
    >>> from ember.infer.autoguide import init_to_generated, init_to_value
    >>> start = init_to_generated(generate=lambda: init_to_value(values={"x": torch.rand(2)}))
    >>> start({"name": "x"}).shape
    torch.Size([2])
    """
    init = _InitToGenerated(generate)
    return init if site is None else init(site)


class InitMessenger(Messenger):
    """Gives latent sites the values of an ``init_loc_fn`` instead of draws.

    Args:
        init_fn: a function from a site to its value.

    Raises:
        ValueError: (under validation) if a value is no tensor, does not have the site's shape, or is outside
            the support.
    """

    def __init__(self, init_fn: InitFn) -> None:
        super().__init__()
        self.init_fn = init_fn

    def _pyro_sample(self, msg: Site) -> None:
        if msg["value"] is not None or site_is_subsample(msg):
            return
        with torch.no_grad(), helpful_support_errors(msg):
            value = self.init_fn(msg)
            msg["value"] = checked_start(self.init_fn, msg, value) if is_validation_enabled() else value

    def _pyro_get_init_messengers(self, msg: Site) -> None:
        msg["value"] = [*(msg["value"] or []), self]


def checked_start(init_fn: InitFn, msg: Site, value: Any) -> Tensor:
    """Return the initial value, expanded to the site's shape.

    Raises:
        ValueError: if it is no tensor, does not have the site's shape, or is outside the support.
    """
    name, fn = msg["name"], msg["fn"]
    if not isinstance(value, Tensor):
        raise ModelError(
            f"{_named(init_fn)} provided invalid type for site {name}:\nexpected {Tensor}\nactual {type(value)}\n"
            f"Return a tensor of shape {tuple(_shape(fn) or ())}."
        )
    shape = _shape(fn)
    if shape is None or getattr(fn.support, "is_discrete", False):
        return value
    if value.shape != shape:
        value = _expanded(init_fn, name, value, shape, fn.event_dim)
    if not bool(torch.isfinite(value).all()) or not _inside(fn.support, value):
        raise ModelError(
            f"{_named(init_fn)} provided an initial value outside the support for site {name}:\nexpected {fn.support}\n"
            f"actual {_shown(value)}\nReturn a value inside the support, for example by init_to_feasible(site)."
        )
    checked: Tensor = value
    return checked


def _shape(fn: Any) -> torch.Size | None:
    """The shape of a distribution's values; None if it does not say what they are."""
    try:
        shape: torch.Size | None = fn.shape() if fn.support is not None else None
    except (AttributeError, NotImplementedError):
        return None
    return shape


def _inside(support: Any, value: Tensor) -> bool:
    if constraints.is_dependent(support) or bool(torch.as_tensor(support.check(value)).all()):  # type: ignore[no-untyped-call]
        return True
    # Rounding can push a value over a strict bound: the sum of a long simplex, say. Its image decides.
    transform = transform_to(support)
    back = transform(transform.inv(value))
    return back.shape == value.shape and torch.allclose(back, value, rtol=1e-3, atol=1e-5)


def _expanded(init_fn: InitFn, name: str, value: Tensor, shape: torch.Size, event_dim: int) -> Tensor:
    events_fit = value.shape[max(0, value.dim() - event_dim) :] == shape[len(shape) - event_dim :]
    try:
        if value.dim() > len(shape) or not events_fit:
            raise RuntimeError
        expanded: Tensor = value.expand(shape).clone()
        return expanded
    except RuntimeError:
        raise ModelError(
            f"{_named(init_fn)} provided invalid shape for site {name}:\nexpected {shape}\nactual {value.shape}\n"
            "Return a tensor of the expected shape."
        ) from None


def _named(init_fn: Any) -> str:
    inner = init_fn.func if isinstance(init_fn, functools.partial) else init_fn
    return getattr(inner, "__name__", None) or repr(init_fn)


def _shown(value: Tensor) -> str:
    return str(value) if value.numel() <= 16 else f"a tensor of shape {tuple(value.shape)}"


__all__ = [
    "InitMessenger",
    "init_to_feasible",
    "init_to_generated",
    "init_to_mean",
    "init_to_median",
    "init_to_sample",
    "init_to_uniform",
    "init_to_value",
]
