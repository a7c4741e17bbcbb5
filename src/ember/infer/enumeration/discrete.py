"""Posterior samples, and most probable values, of discrete sites."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ember.capture.recording.value_guard import is_recording
from ember.errors import CaptureError
from ember.infer.enumeration.posterior_sample import replay_posterior_sample
from ember.infer.enumeration.runner import Memory
from ember.infer.enumeration.traceenum_elbo import TraceEnum_ELBO
from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.run import Program, Run
from ember.poutine.enumeration.enum_messenger import EnumMessenger
from ember.poutine.handlers import block, replay, trace
from ember.poutine.prune import prune_subsample_sites


def _sample_posterior(
    model: Callable[..., Any],
    first_available_dim: int,
    temperature: float,
    strict_enumeration_warning: bool,
    *args: object,
    **kwargs: object,
) -> Any:
    with block(), EnumMessenger(first_available_dim):
        enum_trace = trace(model).get_trace(*args, **kwargs)
    enum_trace = prune_subsample_sites(enum_trace)
    enum_trace.compute_log_prob()
    enum_trace.pack_tensors()
    return replay_posterior_sample(model, enum_trace, temperature, strict_enumeration_warning, args, kwargs)


def infer_discrete(
    fn: Program | None = None,
    first_available_dim: int | None = None,
    temperature: float = 1,
    *,
    strict_enumeration_warning: bool = True,
) -> Any:
    """Draw discrete sites jointly from their posterior, given the observed sites.

    These are the sites marked ``infer={"enumerate": "parallel"}``. The log densities of the program's trace
    mean nothing then. Continuous latent sites are drawn anew in the run that is returned: replay or condition
    them first. It works as a decorator.

    Args:
        fn: the program; without it, a decorator is returned.
        first_available_dim: the rightmost dim that is left of all plates; negative. It must be given: -1
            without plates, -2 with plates at dim -1 alone.
        temperature: 1 for a sample, 0 for the most probable values (Viterbi, 1967).
        strict_enumeration_warning: warn if no site is marked.

    Returns:
        The program, which returns what ``fn`` returns, with the values drawn.

    Raises:
        AssertionError: if ``first_available_dim`` is left out, or not negative.
        ValueError: when the program is called, if the temperature is neither 0 nor 1.
        NotImplementedError: when it is called, if plates do not nest as a tree.

    >>> import ember, torch
    >>> import ember.distributions as dist
    >>> from ember.infer import infer_discrete
    >>> @infer_discrete(first_available_dim=-1, temperature=0)
    ... def decode(x):
    ...     k = ember.sample("k", dist.Categorical(torch.tensor([0.6, 0.4])), infer={"enumerate": "parallel"})
    ...     ember.sample("x", dist.Normal(k * 5.0, 1.0), obs=x)
    ...     return k
    >>> decode(torch.tensor(4.0))
    tensor(1)
    """
    assert first_available_dim is not None and first_available_dim < 0, (
        f"first_available_dim must be negative, got {first_available_dim}"
    )
    if fn is None:
        return functools.partial(
            infer_discrete,
            first_available_dim=first_available_dim,
            temperature=temperature,
            strict_enumeration_warning=strict_enumeration_warning,
        )
    return functools.partial(
        _sample_posterior, fn, first_available_dim, temperature, strict_enumeration_warning
    )


class LastRun(Memory):
    """The run and the traces of an objective's last particle. An object of its own, so that the objective's settings stay."""

    state: tuple[Run, Traces] | None = None

    def note(self, run: Run, traces: Traces) -> None:
        if is_recording():
            raise CaptureError(
                "the step cannot be captured: TraceEnumSample_ELBO keeps the traces of each step for sample_saved()\n"
                "The way out: use TraceEnum_ELBO, with infer_discrete or sample_posterior for samples, or run eagerly "
                "(compile=False)."
            )
        self.state = run, traces

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies of an objective start without a run: its traces are neither settings nor, in general, copyable.
        return type(self), ()


class TraceEnumSample_ELBO(TraceEnum_ELBO):
    """Computes the ELBO as :class:`TraceEnum_ELBO`, and can sample the enumerated sites afterwards.

    :meth:`sample_saved` does so without enumerating again. Its steps are not captured.

    >>> import ember, torch
    >>> import ember.distributions as dist
    >>> from ember.infer import TraceEnumSample_ELBO
    >>> def model(x):
    ...     k = ember.sample("k", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    ...     ember.sample("x", dist.Normal(k * 50.0, 1.0), obs=x)
    ...     return k
    >>> elbo = TraceEnumSample_ELBO()
    >>> loss = elbo.loss(model, lambda x: None, torch.tensor(50.0))
    >>> elbo.sample_saved()
    tensor(1.)
    """

    def __post_init__(self, max_iarange_nesting: float | None) -> None:
        super().__post_init__(max_iarange_nesting)
        self.memory = self._last_run = LastRun()

    def sample_saved(self) -> Any:
        """Run the model with a posterior sample of its enumerated sites, given the guide's last sample.

        Returns:
            What the model returns.

        Raises:
            RuntimeError: if no loss has been computed.
        """
        if self._last_run.state is None:
            raise RuntimeError(
                "sample_saved() needs a loss computed before, such as elbo.loss(model, guide, ...)"
            )
        run, (model_trace, guide_trace) = self._last_run.state
        model = replay((run.sampled or run).model, trace=guide_trace)
        return replay_posterior_sample(
            model, model_trace, 1, self.strict_enumeration_warning, run.args, run.kwargs
        )
