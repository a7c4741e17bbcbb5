"""Running under a seed."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ember.poutine.messenger import Messenger
from ember.rng import get_rng_state, set_rng_seed, set_rng_state


class SeedMessenger(Messenger):
    """Seeds torch, random and numpy on entry and puts their states back on exit.

    The generators belong to the whole process: what other threads draw meanwhile comes from the seeded
    streams too.

    Args:
        rng_seed: the seed, an integer.

    >>> import ember
    >>> def model():
    ...     return ember.sample("z", ember.distributions.Normal(0.0, 1.0))
    >>> seeded = ember.poutine.seed(model, rng_seed=1)
    >>> bool(seeded() == seeded())
    True
    """

    def __init__(self, rng_seed: int) -> None:
        assert isinstance(rng_seed, int), f"rng_seed must be an int, got {type(rng_seed)}"
        super().__init__()
        self.rng_seed = rng_seed

    def __enter__(self) -> Self:
        self.old_state = get_rng_state()
        try:
            set_rng_seed(self.rng_seed)
            return super().__enter__()
        except BaseException:
            set_rng_state(self.old_state)
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        set_rng_state(self.old_state)
        super().__exit__(exc_type, exc_value, traceback)
