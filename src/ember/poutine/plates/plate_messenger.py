"""The plate: independence, subsampling and broadcasting in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ember.errors import ModelError
from ember.poutine.messenger import Messenger, block_messengers
from ember.poutine.plates.broadcast_messenger import expand_to_plates
from ember.poutine.plates.subsample_messenger import SubsampleMessenger
from ember.poutine.site import Site


class PlateMessenger(SubsampleMessenger):
    """Declares independence, draws a subsample, scales what is inside, and expands distributions to the plate's size."""

    def _process_message(self, msg: Site) -> None:
        super()._process_message(msg)
        expand_to_plates(msg)

    def __enter__(self) -> Any:
        super().__enter__()
        return self.indices if self._vectorized and self._indices is not None else None


@contextmanager
def block_plate(name: str | None = None, dim: int | None = None, *, strict: bool = True) -> Iterator[None]:
    """Leave one enclosing plate for a while, to sample something global from inside it.

    Args:
        name: the plate's name; or
        dim: the plate's dim, negative. Exactly one of both must be given.
        strict: raise if no plate matches.

    Raises:
        ValueError: if both or none of ``name`` and ``dim`` are given, or nothing matches under ``strict``.

    >>> import ember
    >>> with ember.plate("rows", 3):
    ...     with ember.poutine.block_plate("rows"):
    ...         ember.sample("scale", ember.distributions.Exponential(1.0)).shape
    torch.Size([])
    """
    if (name is None) == (dim is None):
        raise ValueError("Exactly one of name,dim must be specified")
    assert name is None or isinstance(name, str)
    assert dim is None or (isinstance(dim, int) and dim < 0)

    def matches(handler: Messenger) -> bool:
        return isinstance(handler, PlateMessenger) and (
            handler.name == name if dim is None else handler.dim == dim
        )

    with block_messengers(matches) as muted:
        if strict and len(muted) != 1:
            raise ModelError(
                f"block_plate matched {len(muted)} messengers. "
                "Try either removing the block_plate or setting strict=False."
            )
        yield
