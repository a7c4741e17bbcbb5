"""Plates that see a random part of their data at a time."""

from __future__ import annotations

from typing import Any

import torch

from ember.distributions.distribution import Distribution
from ember.errors import ModelError
from ember.ops.subsets import random_subset
from ember.poutine.plates.indep_messenger import CondIndepStackFrame, IndepMessenger
from ember.poutine.runtime import apply_stack
from ember.poutine.site import Site, message
from ember.poutine.traced_sizes import as_int
from ember.poutine.validation import is_validation_enabled


class _Subsample(Distribution):
    """A uniformly drawn subset of ``range(size)``, without replacement.

    Its log density is 0, so that the plate's scale alone makes the estimate of the full sum unbiased.
    """

    def __init__(
        self, size: int, subsample_size: int | None, use_cuda: bool | None = None, device: str | None = None
    ) -> None:
        if use_cuda is not None and use_cuda != (device != "cpu"):
            raise ValueError(f"Incompatible arg values use_cuda={use_cuda}, device={device}.")
        self.size = size
        self.subsample_size = subsample_size
        self.use_cuda = use_cuda
        self._device = device

    @property
    def device(self) -> Any:
        return self._device or torch.get_default_device()

    def sample(self, sample_shape: torch.Size = torch.Size()) -> torch.Tensor:  # noqa: B008
        if sample_shape:
            raise NotImplementedError("a plate draws one subsample at a time")
        if self.subsample_size is None or self.subsample_size >= as_int(self.size):
            indices = torch.arange(self.size, device=self._device)
        else:
            indices = random_subset(as_int(self.size), self.subsample_size, self._device)
        return indices.cuda() if self.use_cuda else indices

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros((), device=self._device)
        return zero.cuda() if self.use_cuda else zero


def _check_size(name: str, size: object) -> None:
    if isinstance(size, (tuple, list)):
        raise TypeError(
            f"the size of plate {name!r} must be a whole number, got {size!r}: write plate({name!r}, len(data)), and one "
            "plate for each further dim"
        )


class SubsampleMessenger(IndepMessenger):
    """A plate whose indices are drawn when it is made, at a hidden sample site of its name, so that replay repeats them."""

    def __init__(
        self,
        name: str,
        size: int | None = None,
        subsample_size: int | None = None,
        subsample: object = None,
        dim: int | None = None,
        use_cuda: bool | None = None,
        device: str | None = None,
    ) -> None:
        full_size, self.subsample_size, indices = self._subsample(
            name, size, subsample_size, subsample, use_cuda, device
        )
        super().__init__(name, full_size, dim, device)
        self._indices = indices

    @staticmethod
    def _subsample(
        name: str,
        size: int | None = None,
        subsample_size: int | None = None,
        subsample: object = None,
        use_cuda: bool | None = None,
        device: str | None = None,
    ) -> tuple[int, int, Any]:
        if size is None:
            assert subsample_size is None, f"plate {name!r}: subsample_size needs a size"
            assert subsample is None, f"plate {name!r}: subsample needs a size"
            return -1, -1, None
        if isinstance(size, int) and size == 0:
            raise ZeroDivisionError(f"size cannot be zero (in plate {name!r})")
        _check_size(name, size)
        msg = message(name, _Subsample(size, subsample_size, use_cuda, device), value=subsample)
        apply_stack(msg)
        indices = msg.value
        length = indices.size(0) if isinstance(indices, torch.Tensor) else len(indices)
        if subsample_size is None or msg.whole:
            subsample_size = length
        elif as_int(subsample_size) != as_int(length):
            raise ModelError(
                f"subsample_size does not match len(subsample), {subsample_size} vs {length}. "
                f"Did you accidentally use different subsample_size in the model and guide? (at plate {name!r})"
            )
        return size, subsample_size, indices

    def _reset(self) -> None:
        self._indices = None
        super()._reset()

    def _process_message(self, msg: Site) -> None:
        frame = CondIndepStackFrame(self.name, self.dim, self.subsample_size, self.counter, self.size)
        msg["cond_indep_stack"] = (frame, *msg["cond_indep_stack"])
        msg["scale"] = msg["scale"] * self.size / self.subsample_size

    def _postprocess_message(self, msg: Site) -> None:
        if msg.type in ("param", "subsample") and self.dim is not None:
            event_dim = msg.kwargs.get("event_dim")
            if event_dim is None and msg.type == "subsample" and len(msg.args) > 1:
                event_dim = msg.args[1]
            if event_dim is not None:
                self._take_part(msg, self.dim - event_dim, event_dim)

    def _take_part(self, msg: Site, dim: int, event_dim: int) -> None:
        """Replace a full-size parameter or data tensor by the rows of this subsample."""
        assert event_dim >= 0, f"event_dim must not be negative, got {event_dim}"
        value = msg.value
        anything_goes = isinstance(self.size, int) and self.size == -1
        if anything_goes or len(value.shape) < -dim or as_int(value.shape[dim]) == 1:
            return
        if is_validation_enabled() and as_int(value.shape[dim]) != as_int(self.size):
            name = f"{msg.name}, ..." if msg.type == "param" else "..."
            raise ModelError(
                f"Inside pyro.plate({self.name}, {self.size}, dim={self.dim}) invalid shape of "
                f"pyro.{msg.type}({name}, event_dim={event_dim}): {tuple(value.shape)}; "
                f"expected size {self.size} (or 1) at dim {dim}"
            )
        if as_int(self.subsample_size) >= as_int(self.size):
            return
        indices = self._indices
        if not isinstance(indices, torch.Tensor):
            indices = torch.tensor(indices)
        indices = indices.to(value.device)
        part = value.index_select(dim, indices)
        if msg.type == "param":
            # Optimizers that update touched rows only find leaf and rows here.
            leaf = getattr(value, "_pyro_unconstrained_param", None)
            leaf = value.unconstrained() if leaf is None else leaf
            leaf.__dict__.setdefault("_pyro_subsample", {})[dim] = indices
            part._pyro_unconstrained_param = leaf
        msg.value = part
