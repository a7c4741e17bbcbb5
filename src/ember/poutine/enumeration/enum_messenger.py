"""Enumerating the values of sites along dims of their own."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from torch import Size, Tensor

from ember.distributions.torch_distribution import TorchDistributionMixin
from ember.errors import ModelError
from ember.poutine.enumeration.enum_allocator import ENUM_DIMS
from ember.poutine.enumeration.tmc_sample import tmc_sample
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.stack import THREAD
from ember.poutine.traced_sizes import as_int

DimToId = dict[int, int]


def enumerate_site(msg: Site) -> Tensor:
    """The values of a site along a new leftmost dim: its support, or ``infer["num_samples"]`` samples.

    Raises:
        NotImplementedError: if the support cannot be enumerated.
        ValueError: for a wrong ``num_samples`` or ``tmc`` option.
    """
    fn: Any = msg.fn
    num_samples, expand = msg.num_samples, msg.expand or False
    if num_samples is None:
        value: Tensor = fn.enumerate_support(expand=expand)
    elif num_samples < 1:
        raise ModelError(f"num_samples must be at least 1, got {num_samples} at site {msg.name!r}")
    elif expand or num_samples == 1:
        value = fn(Size([num_samples]))
    else:
        value = tmc_sample(msg, msg.tmc or "diagonal")
    assert value.dim() == 1 + len(fn.batch_shape) + len(fn.event_shape), (
        f"site {msg.name!r}: enumerated values of shape {tuple(value.shape)} for {fn}"
    )
    return value


def _move_leftmost(value: Tensor, target_dim: int, batch_dim: int, event_dim: int, name: str) -> Tensor:
    """Move the leftmost dim of enumerated values to ``target_dim``, counted without event dims."""
    support = getattr(value, "_pyro_categorical_support", None)
    leftmost = -1 - batch_dim
    if support is not None:
        # Kept, so that the distribution recognises its own support; such values have no other dims.
        value = value.reshape(value.shape[:1] + (1,) * (-1 - target_dim))
        value._pyro_categorical_support = support  # type: ignore[attr-defined]
    elif leftmost < target_dim:
        if as_int(value.shape[target_dim - event_dim]) != 1:
            raise ModelError(
                f"pyro.markov dim conflict at dim {target_dim} at site {name!r}, whose values have shape "
                f"{tuple(value.shape)}\n  Try increasing pyro.markov history size"
            )
        value = value.transpose(target_dim - event_dim, leftmost - event_dim)
        while value.dim() > event_dim and as_int(value.shape[0]) == 1:
            value = value.squeeze(0)
    elif target_dim < leftmost:
        value = value.reshape(value.shape[:1] + (1,) * (leftmost - target_dim) + value.shape[1:])
    return value


def _wide_dims(value: Tensor, event_dim: int) -> set[int]:
    """The batch dims, from the right, at which a value has more than one element."""
    batch = value.shape[: len(value.shape) - event_dim]
    return {i - len(batch) for i, size in enumerate(batch) if as_int(size) > 1}


class EnumMessenger(Messenger):
    """Gives latent sites marked ``infer={"enumerate": "parallel"}`` all values of their support at once.

    The values of a site lie along a dim of its own, left of the plates: shape ``(cardinality, 1, ..., 1) +
    event_shape``, or expanded to the batch with ``infer={"expand": True}``. ``infer={"num_samples": n}``
    takes samples instead.

    Args:
        first_available_dim: the rightmost dim to use, negative and left of all plates. None goes on to the
            left of what was enumerated before, as a model does after its guide.

    Raises:
        NotImplementedError: if a support cannot be enumerated.
        ValueError: if no first dim was ever set, dims conflict, or ``num_samples`` is below 1.

    >>> import ember
    >>> with ember.poutine.enum(first_available_dim=-2):
    ...     x = ember.sample("x", ember.distributions.Bernoulli(0.5), infer={"enumerate": "parallel"})
    >>> x.shape
    torch.Size([2, 1])
    """

    def __init__(self, first_available_dim: float | None = None) -> None:
        assert first_available_dim is None or first_available_dim < 0, first_available_dim
        super().__init__()
        self.first_available_dim = first_available_dim

    def is_repeatable(self) -> bool:
        """No: it hands out dims as the sites of a run come."""
        return False

    def __enter__(self) -> Self:
        self._outer_state = None
        if self.first_available_dim is not None:
            # Inside another enumeration, such as infer_discrete within a model, the dims of that one are put back at the end.
            if any(isinstance(handler, EnumMessenger) for handler in THREAD.stack):
                self._outer_state = ENUM_DIMS.state()
            ENUM_DIMS.set_first_available_dim(self.first_available_dim)
        else:
            # Local dims of a guide would be free again, but its sites are the model's sites too.
            ENUM_DIMS.go_on()
        self._markov_depths: dict[str, int] = {}
        self._param_dims: dict[str, DimToId] = {}
        """What the dims at a site mean, other than the site's own."""
        self._value_dims: dict[str, DimToId] = {}
        """What the dims of a site's value mean, for those that have more than one element."""
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc_value, traceback)
        if self._outer_state is not None:
            ENUM_DIMS.restore(self._outer_state)

    def _pyro_sample(self, msg: Site) -> None:
        if msg.done or not isinstance(msg.fn, TorchDistributionMixin):
            return
        scope = msg.markov_scope
        dims = self._dims_in_sight(scope)
        if scope is not None:
            self._markov_depths[msg.name] = msg.markov_depth or 0
        self._param_dims[msg.name] = dims
        if not msg.is_observed and msg.enumeration == "parallel":
            self._enumerate(msg, dims, local=scope is not None)

    def _dims_in_sight(self, scope: dict[str, int] | None) -> DimToId:
        dims = dict(ENUM_DIMS.dim_to_id)
        for name, depth in (scope or {}).items():
            # A site with fewer steps in sight than it was in belongs to a step that is past.
            if self._markov_depths.get(name) == depth:
                dims.update(self._value_dims.get(name, {}))
        return dims

    def _enumerate(self, msg: Site, dims: DimToId, local: bool) -> None:
        fn: Any = msg.fn
        value = enumerate_site(msg)
        target_dim, unique_id = ENUM_DIMS.allocate(set(dims) if local else None)
        value = _move_leftmost(value, target_dim, len(fn.batch_shape), fn.event_dim, msg.name)
        wide = _wide_dims(value, fn.event_dim)
        msg.enumerate_dim = target_dim
        msg.dim_to_id = {dim: dims[dim] for dim in wide if dim in dims} | {target_dim: unique_id}
        msg.value = value
        msg.done = True

    def _pyro_post_sample(self, msg: Site) -> None:
        fn, value = msg.fn, msg.value
        if not isinstance(fn, TorchDistributionMixin) or value is None:
            return
        wide = _wide_dims(value, fn.event_dim)
        given = msg.dim_to_id or {}
        # A new dict: a replayed site's is that of the guide. What a dim of the value means is known by who made the value;
        # a dim that the value lacks means what it means here.
        own = {dim: i for dim, i in given.items() if dim in wide or dim == msg.enumerate_dim}
        meanings = given | self._param_dims.get(msg.name, {}) | own
        msg.dim_to_id = meanings
        self._value_dims[msg.name] = {dim: i for dim, i in meanings.items() if dim in wide}
