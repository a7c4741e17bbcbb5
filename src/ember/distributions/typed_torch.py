"""torch's untyped functions under types: the same objects, seen through annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.constraint_registry import biject_to, transform_to

F = TypeVar("F", bound=Callable[..., Any])

broadcast_shapes: Callable[..., Size] = torch.broadcast_shapes
broadcast_tensors: Callable[..., Any] = torch.broadcast_tensors
greater_than: Any = constraints.greater_than
independent: Any = constraints.independent
interval: Any = constraints.interval
positive_definite: Any = constraints.positive_definite

kl_divergence: Callable[[Any, Any], Tensor] = torch.distributions.kl.kl_divergence
register_kl: Callable[[Any, Any], Callable[[F], F]] = torch.distributions.kl.register_kl
register_biject_to: Callable[[Any], Callable[[F], F]] = biject_to.register
register_transform_to: Callable[[Any], Callable[[F], F]] = transform_to.register
