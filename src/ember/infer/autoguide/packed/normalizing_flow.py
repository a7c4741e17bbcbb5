"""Guides that transform standard normal noise by a flow."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ember import distributions as dist
from ember.distributions.networks.auto_reg_nn import ConditionalAutoRegressiveNN
from ember.distributions.transforms import affine_autoregressive, iterated
from ember.infer.autoguide.base.guide import Program
from ember.infer.autoguide.base.initialization import InitFn, init_to_feasible
from ember.infer.autoguide.packed.continuous import AutoContinuous
from ember.nn.context import module_local_params
from ember.params.names import param_with_module_name
from ember.params.param_store import get_param_store


class AutoNormalizingFlow(AutoContinuous):
    """Standard normal noise, transformed by bijections that may have parameters (Rezende and Mohamed, 2015).

    Args:
        model: the model.
        init_transform_fn: takes the latent dim and returns a :class:`torch.distributions.Transform`, which is
            a module if it has parameters (such as :class:`ember.distributions.TransformModule`). It must be
            able to go back from its own last value.

    >>> import ember
    >>> from ember.distributions.transforms import AffineTransform
    >>> from ember.infer.autoguide import AutoNormalizingFlow
    >>> def model():
    ...     ember.sample("x", ember.distributions.Normal(0.0, 1.0).expand([3]).to_event(1))
    >>> guide = AutoNormalizingFlow(model, lambda latent_dim: AffineTransform(2.0, 0.0001))
    >>> guide()["x"].round()
    tensor([2., 2., 2.])
    """

    def __init__(self, model: Program, init_transform_fn: Callable[[int], Any]) -> None:
        super().__init__(model, init_to_feasible)
        self._init_transform_fn = init_transform_fn
        self.transform: Any = None

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        start = self._init_loc()
        # In a tuple: a tensor of the module would be a parameter.
        self._prototype_options = (start.dtype, start.device)
        if self.transform is None:
            resumes = self._has_parameters()
            self.transform = self._init_transform_fn(self.latent_dim)
            self._keep_orders(resumes)

    def _keep_orders(self, resumes: bool) -> None:
        """Take the random orders of autoregressive networks from the store, or leave them there with the parameters.

        They are no parameters, but weights mean nothing without them, and a new process draws others.
        """
        if module_local_params():
            return  # the state of the module has both
        store, name = get_param_store(), f"{self._pyro_name}.transform"
        unknown = []
        for path, network in _autoregressive_parts(self.transform):
            place = param_with_module_name(name, f"{path}.permutation")
            if place in store:
                network.reorder(store[place].detach().argsort().argsort())
                continue
            if resumes:
                unknown.append(place)
            # As numbers with a gradient, as all that is there. No statement names them, so no optimizer changes them.
            store[place] = network.permutation.to(torch.get_default_dtype())
        if unknown:
            warnings.warn(
                f"{self._pyro_name} found its weights in the parameter store, but not the random orders of entries that they "
                f"were fitted for, {unknown}: they are drawn anew. Unless the random state is the same as when the fit began, "
                "fit again, or load guide.state_dict() instead of the store.",
                stacklevel=2,
            )

    def _stored_length(self, possible: Sequence[int]) -> int | None:
        """That of the first flow whose parameters have the shapes of those in the store."""
        store, name = get_param_store(), f"{self._pyro_name}.transform"
        for length in possible:
            flow = self._init_transform_fn(length)
            own = dict(flow.named_parameters()) if isinstance(flow, nn.Module) else {}
            stored = {key: param_with_module_name(name, key) for key in own}
            if not own or not all(place in store for place in stored.values()):
                return None
            if all(store[place].shape == own[key].shape for key, place in stored.items()):
                return length
        return None

    def get_base_dist(self) -> Any:
        """Standard normal, of the dtype and on the device of the transform."""
        dtype, device = self._prototype_options
        if isinstance(self.transform, nn.Module):
            for parameter in self.transform.parameters():
                dtype, device = parameter.dtype, parameter.device
                break
        zero = torch.zeros(1, dtype=dtype, device=device)
        return dist.Normal(zero, torch.ones_like(zero)).expand([self.latent_dim]).to_event(1)

    def get_transform(self, *args: object, **kwargs: object) -> Any:
        """Return the transform from the base to the posterior: the flow."""
        return self._as_stored("transform", self.transform)


class AutoIAFNormal(AutoNormalizingFlow):
    """Standard normal noise, transformed by inverse autoregressive flows (Kingma et al., 2016).

    Args:
        model: the model.
        hidden_dim: the sizes of the hidden layers of each flow; by default one layer of
            ``3 * latent_dim + 1``.
        init_loc_fn: has no effect.
        num_transforms: how many flows follow each other.
        init_transform_kwargs: further arguments of each flow, a
            :class:`~ember.distributions.transforms.AffineAutoregressive`.

    >>> import ember
    >>> from ember.infer.autoguide import AutoIAFNormal
    >>> def model():
    ...     ember.sample("x", ember.distributions.Normal(0.0, 1.0).expand([3]).to_event(1))
    >>> AutoIAFNormal(model, hidden_dim=[8], num_transforms=2)()["x"].shape
    torch.Size([3])
    """

    def __init__(
        self,
        model: Program,
        hidden_dim: int | Sequence[int] | None = None,
        init_loc_fn: InitFn | None = None,
        num_transforms: int = 1,
        **init_transform_kwargs: object,
    ) -> None:
        if init_loc_fn:
            warnings.warn(
                "The `init_loc_fn` argument to AutoIAFNormal is not used in practice. "
                "Please consider removing, as this may be removed in a future release.",
                FutureWarning,
                stacklevel=2,
            )
        hidden_dims = [hidden_dim] if isinstance(hidden_dim, int) else hidden_dim
        super().__init__(model, partial(_flows, num_transforms, hidden_dims, init_transform_kwargs))


def _autoregressive_parts(transform: Any) -> Iterator[tuple[str, ConditionalAutoRegressiveNN]]:
    if isinstance(transform, nn.Module):
        for path, part in transform.named_modules():
            if isinstance(part, ConditionalAutoRegressiveNN):
                yield path, part


def _flows(repeats: int, hidden_dims: Sequence[int] | None, options: dict[str, Any], latent_dim: int) -> Any:
    return iterated(repeats, affine_autoregressive, latent_dim, hidden_dims, **options)
