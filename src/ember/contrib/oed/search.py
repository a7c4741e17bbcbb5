"""Exact posteriors of programs with few executions."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

from ember import poutine
from ember.infer import TracePosterior
from ember.poutine.trace_struct import Trace


class Search(TracePosterior):
    """The posterior over all executions of a program whose latent sites are discrete.

    Args:
        model: the program.
        max_tries: how many partial executions are tried for each complete one.
        kwargs: passed on to :class:`~ember.infer.TracePosterior`.

    Running it raises ValueError when ``max_tries`` is exceeded.

    >>> import torch, ember
    >>> from ember.distributions import Bernoulli
    >>> from ember.infer import EmpiricalMarginal
    >>> def coins():
    ...     heads = sum(ember.sample(f"coin_{k}", Bernoulli(0.5)) for k in range(3))
    ...     ember.sample("seen", Bernoulli(heads / 3), obs=torch.tensor(1.0))
    ...     return heads
    >>> EmpiricalMarginal(Search(coins).run()).mean.round(decimals=4)
    tensor(2.)
    """

    def __init__(self, model: Callable[..., Any], max_tries: int = int(1e6), **kwargs: Any) -> None:
        self.model = model
        self.max_tries = max_tries
        super().__init__(**kwargs)

    def _traces(self, *args: object, **kwargs: object) -> Iterator[tuple[Trace, Any]]:
        partial: queue.Queue[Trace] = queue.Queue()
        partial.put(poutine.Trace())
        complete = poutine.trace(poutine.queue(self.model, queue=partial, max_tries=self.max_tries))
        while not partial.empty():
            execution = complete.get_trace(*args, **kwargs)
            yield execution, execution.log_prob_sum()
