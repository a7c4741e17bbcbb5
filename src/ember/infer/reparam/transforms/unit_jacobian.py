"""Changes of coordinates that keep volume."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from torch.distributions import biject_to
from torch.distributions.transforms import ComposeTransform

from ember import distributions as dist
from ember import primitives
from ember.distributions.reshaped import BatchReshaped
from ember.errors import ModelError
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult, deterministic_result
from ember.poutine.plates.plate_messenger import block_plate


class UnitJacobianReparam(Reparam):
    """Samples the transformed, unconstrained site at ``<name>_<suffix>``.

    Args:
        transform: a transform whose Jacobian has determinant 1 or -1.
        suffix: the end of the new site's name.
        experimental_allow_batch: whether the transform may mix batch dims. These, and those to the right of
            them, become event dims of the new site, outside of their plates.

    Raises:
        ValueError: if the transform has more event dims than the site, unless that is allowed.

    >>> import torch, ember
    >>> from ember.distributions.transforms import Permute
    >>> from ember.infer.reparam import UnitJacobianReparam
    >>> def model():
    ...     return ember.sample("x", ember.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
    >>> config = {"x": UnitJacobianReparam(Permute(torch.tensor([2, 0, 1])))}
    >>> trace = ember.poutine.trace(ember.poutine.reparam(model, config=config)).get_trace()
    >>> bool((trace.nodes["x_transformed"].value == trace.nodes["x"].value[[2, 0, 1]]).all())
    True
    """

    def __init__(
        self, transform: Any, suffix: str = "transformed", *, experimental_allow_batch: bool = False
    ) -> None:
        self.transform = transform.with_cache()
        self.suffix = suffix
        self.experimental_allow_batch = experimental_allow_batch

    def _shift(self, msg: ReparamMessage) -> int:
        """How many batch dims the transform mixes."""
        event_dim: int = msg.fn.event_dim
        shift: int = max(0, self.transform.domain.event_dim - event_dim)
        if shift and not self.experimental_allow_batch:
            raise ModelError(
                f"At site {msg.name!r}, {type(self).__name__}: Cannot transform along batch dimension; try either "
                "converting a batch dimension to an event dimension, or setting experimental_allow_batch=True."
            )
        if shift > len(msg.fn.batch_shape):
            raise ModelError(
                f"At site {msg.name!r}, {type(self).__name__} needs {shift} batch dims, but the batch shape is "
                f"{tuple(msg.fn.batch_shape)}"
            )
        return shift

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_<suffix>``."""
        fn, given, is_observed = msg.fn, msg.value, msg.is_observed
        value = given
        event_dim = fn.event_dim
        shift = self._shift(msg)
        with ExitStack() as stack:
            if shift:
                old = fn.batch_shape
                fn = BatchReshaped(fn, old[:-shift] + (1,) * shift + old[-shift:]).to_event(shift)
                if value is not None:
                    cut = value.dim() - event_dim - shift
                    value = value.reshape(value.shape[:cut] + (1,) * shift + value.shape[cut:])
                for dim in range(-shift, 0):
                    stack.enter_context(block_plate(dim=dim, strict=False))
            to_real = biject_to(fn.support).inv.with_cache()
            transform: Any = ComposeTransform([to_real, self.transform])
            transformed = primitives.sample(
                f"{msg.name}_{self.suffix}",
                dist.TransformedDistribution(fn, transform),
                obs=None if value is None else transform(value),
                infer={"is_observed": is_observed},
            )
        if value is None:
            value = transform.inv(transformed)
        log_density = transform.log_abs_det_jacobian(value, transformed) if is_observed else None
        if shift:
            cut = value.dim() - event_dim - 2 * shift
            value = value.reshape(value.shape[:cut] + value.shape[cut + shift :]) if given is None else given
        # The value is where the point mass is, so the site adds nothing unless it is data in other units.
        if log_density is not None and shift:
            mixed = value.shape[value.dim() - event_dim - shift : value.dim() - event_dim]
            log_density = (log_density / mixed.numel()).expand(value.shape[: value.dim() - event_dim])
        return deterministic_result(value, event_dim, 0.0 if log_density is None else log_density)
