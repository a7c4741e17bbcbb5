"""The statements of the model language: sample, param, plate, factor, deterministic, module, subsample."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, overload

import torch
from torch.distributions.constraints import Constraint

from ember import distributions as dist
from ember.distributions import constraints, typed_torch
from ember.errors import ModelError
from ember.params.param_store import InitValue, get_param_store
from ember.poutine.handlers import mask
from ember.poutine.plates.plate_messenger import PlateMessenger
from ember.poutine.runtime import THREAD, apply_stack, effectful
from ember.poutine.site import message

T = TypeVar("T")


@overload
def sample(
    name: str,
    fn: dist.Distribution,
    *args: object,
    obs: object = None,
    obs_mask: torch.Tensor | bool | None = None,
    infer: dict[str, Any] | None = None,
    **kwargs: object,
) -> torch.Tensor: ...
@overload
def sample(
    name: str,
    fn: Callable[..., T],
    *args: object,
    obs: object = None,
    obs_mask: torch.Tensor | bool | None = None,
    infer: dict[str, Any] | None = None,
    **kwargs: object,
) -> T: ...
def sample(
    name: str,
    fn: Any,
    *args: object,
    obs: Any = None,
    obs_mask: torch.Tensor | bool | None = None,
    infer: dict[str, Any] | None = None,
    **kwargs: object,
) -> Any:
    """Sample from a distribution, or observe a value of it, under a name.

    Args:
        name: the site's name, unique in a run.
        fn: a distribution, or another callable that draws a value from ``*args, **kwargs``.
        obs: the observed value; None for a latent site.
        obs_mask: a mask of bools that broadcasts with the batch shape. Events where it is true are observed.
            The others are sampled at the site ``<name>_unobserved``, which guides must sample.
        infer: options for inference algorithms; the dict is copied.
        args: for ``fn``, where it is no distribution.
        kwargs: for ``fn``, where it is no distribution.

    Returns:
        The value: ``batch_shape + event_shape`` of ``fn``, broadcast to the enclosing plates.

    Raises:
        ModelError: if ``obs_mask`` does not fit, or the batch shape does not fit the plates.
        RuntimeError: if the name is taken, when the run is traced.

    >>> import torch, ember
    >>> ember.sample("x", ember.distributions.Delta(torch.tensor(2.0)))
    tensor(2.)
    """
    if obs_mask is not None:
        return _sample_partly_observed(name, fn, obs, torch.as_tensor(obs_mask), *args, **kwargs)
    infer = {} if infer is None else dict(infer)
    is_observed: bool = infer.pop("is_observed", obs is not None)
    if not THREAD.stack:
        if obs is None or infer.get("_deterministic"):
            return fn(*args, **kwargs) if obs is None else obs
        warnings.warn(
            f"trying to observe a value outside of inference at {name}", RuntimeWarning, stacklevel=2
        )
        return obs
    msg = message(name, fn, args=args, kwargs=kwargs, value=obs, is_observed=is_observed, infer=infer)
    apply_stack(msg)
    value = msg.value
    assert value is not None, (
        f"sample site {name!r} has no value: a handler settled or observed it without one"
    )
    return value


def _sample_partly_observed(
    name: str, fn: Any, obs: Any, obs_mask: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    with mask(mask=obs_mask):
        observed = sample(f"{name}_observed", fn, *args, obs=obs, **kwargs)
    with mask(mask=~obs_mask):
        unobserved = sample(f"{name}_unobserved", fn, *args, **kwargs)
    if not isinstance(observed, torch.Tensor):
        observed = torch.as_tensor(observed, dtype=unobserved.dtype, device=unobserved.device)
    shape = typed_torch.broadcast_shapes(observed.shape, unobserved.shape)
    batch_shape = shape[: len(shape) - fn.event_dim]
    aligned = obs_mask.reshape(obs_mask.shape + (1,) * fn.event_dim)
    try:
        value = torch.where(aligned, observed, unobserved)
    except RuntimeError as error:
        raise ModelError(
            f"Invalid obs_mask shape {tuple(obs_mask.shape)}; should be "
            f"broadcastable to batch_shape = {tuple(batch_shape)}, at site {name!r}"
        ) from error
    recorded: torch.Tensor = deterministic(name, value, event_dim=fn.event_dim)
    return recorded


@effectful(type="param")
def _param(name: str, *args: Any, **kwargs: Any) -> torch.Tensor:
    return get_param_store().get_param(name, *args, **kwargs)


def param(
    name: str,
    init_tensor: InitValue | None = None,
    constraint: Constraint = constraints.real,
    event_dim: int | None = None,
) -> torch.Tensor:
    """Return the parameter of a name; make it on first use.

    Args:
        name: the parameter's name.
        init_tensor: its first value, or a callable that is asked for it on first use only. May be left out
            afterwards.
        constraint: where its values lie; counts on first use only.
        event_dim: the number of rightmost dims that are no batch dims. Inside a subsampled plate, the plate's
            dim is then subsampled. None means that all dims are event dims.

    Returns:
        The constrained value. ``value.unconstrained()`` is the leaf tensor that an optimizer changes.

    Raises:
        UnknownParameterError: (a KeyError) if there is no such parameter and no initial value.
        ParameterError: (a ValueError) if the initial value violates the constraint.

    >>> import torch, ember
    >>> from ember.distributions import constraints
    >>> scale = ember.param("scale", torch.tensor(2.0), constraint=constraints.positive)
    >>> scale.item(), scale.unconstrained().item() == torch.tensor(2.0).log().item()
    (2.0, True)
    """
    args = (name,) if init_tensor is None else (name, init_tensor)
    value: torch.Tensor = _param(*args, constraint=constraint, event_dim=event_dim, name=name)  # type: ignore[misc]
    return value


def factor(name: str, log_factor: torch.Tensor, *, has_rsample: bool | None = None) -> None:
    """Add a term to the log density of a model or guide.

    Args:
        name: the site's name.
        log_factor: the term, in nats; its shape is the batch shape.
        has_rsample: whether the term comes from reparameterised samples only, such as the Jacobian of a
            transformation of one. Needed in guides.

    >>> import torch, ember
    >>> def model():
    ...     ember.factor("penalty", torch.tensor(-3.0))
    >>> ember.poutine.trace(model).get_trace().log_prob_sum()
    tensor(-3.)
    """
    unit = dist.Unit(log_factor, has_rsample=has_rsample)
    sample(name, unit, obs=unit.sample(), infer={"is_auxiliary": True})


def deterministic(name: str, value: torch.Tensor, event_dim: int | None = None) -> torch.Tensor:
    """Record a value that follows from others; it does not count in the log density.

    Args:
        name: the site's name.
        value: the value, a tensor of any shape.
        event_dim: how many of its rightmost dims are event dims; all if None.

    Returns:
        The value.

    >>> import torch, ember
    >>> def model():
    ...     x = ember.sample("x", ember.distributions.Delta(torch.tensor(3.0)))
    ...     return ember.deterministic("square", x * x)
    >>> ember.poutine.trace(model).get_trace().nodes["square"].value
    tensor(9.)
    """
    event_dim = value.ndim if event_dim is None else event_dim
    fn = dist.Delta(value, event_dim=event_dim).mask(False)
    recorded: torch.Tensor = sample(name, fn, obs=value, infer={"_deterministic": True})
    return recorded


@effectful(type="subsample")
def subsample(data: torch.Tensor, event_dim: int) -> torch.Tensor:
    """Take the rows of a full-size tensor that the enclosing plates have drawn.

    Args:
        data: a tensor of full size (or 1) at the dim of every enclosing plate.
        event_dim: how many of its rightmost dims are event dims.

    Returns:
        The rows, of the plates' subsample sizes at their dims.

    Raises:
        ValueError: if a size does not fit a plate.
        AssertionError: if ``event_dim`` is no whole number >= 0.

    >>> import torch, ember
    >>> with ember.plate("rows", 5, subsample=torch.tensor([0, 3])):
    ...     ember.subsample(torch.arange(5.0) * 10, event_dim=0)
    tensor([ 0., 30.])
    """
    assert isinstance(event_dim, int) and event_dim >= 0, f"event_dim must be an int >= 0, got {event_dim!r}"
    return data


@effectful(type="barrier")
def barrier(data: torch.Tensor) -> torch.Tensor:
    """Return ``data`` as it is; handlers that delay computation catch up here.

    Args:
        data: any tensor.
    """
    return data


class plate(PlateMessenger):
    """Declares rows that are independent, given what is outside.

    Write ``with plate("data", 100) as indices``, or ``for i in plate("data", 100)`` to go through the rows in
    sequence. Inside a ``with``, distributions are expanded to the plate's size, and log densities are scaled
    by ``size / subsample_size``, so that a random part of the data gives an unbiased estimate.

    Args:
        name: a name; plates of model and guide with the same name belong together.
        size: the number of all rows; None if only independence is declared, of any size.
        subsample_size: how many rows to draw, anew each time the plate is made; all if None.
        subsample: the rows to use instead, anything with a length; yielded as it is.
        dim: the dim, negative; by default the rightmost free one.
        use_cuda: deprecated, use ``device``.
        device: where the indices are to be.

    Raises:
        ZeroDivisionError: for size 0.
        ValueError: if the dim is taken, or a batch shape does not fit.

    >>> import torch, ember
    >>> with ember.plate("data", 3):
    ...     ember.sample("x", ember.distributions.Normal(0.0, 1.0)).shape
    torch.Size([3])
    """


@contextmanager
def plate_stack(prefix: str, sizes: Sequence[int], rightmost_dim: int = -1) -> Iterator[None]:
    """Open plates at neighbouring dims, for a ``with``.

    Args:
        prefix: plates are named ``<prefix>_0``, ``<prefix>_1`` and so on, from the right.
        sizes: their sizes, from the left.
        rightmost_dim: the dim of the last size, negative; the others are to the left of it.

    Raises:
        ValueError: if a dim is taken.
        AssertionError: if ``rightmost_dim`` is not negative.

    >>> import torch, ember
    >>> with ember.plate_stack("grid", [2, 3]):
    ...     ember.sample("x", ember.distributions.Normal(0.0, 1.0)).shape
    torch.Size([2, 3])
    """
    assert rightmost_dim < 0, f"rightmost_dim must be negative, got {rightmost_dim}"
    with ExitStack() as stack:
        for i, size in enumerate(reversed(sizes)):
            stack.enter_context(plate(f"{prefix}_{i}", size, dim=rightmost_dim - i))
        yield
