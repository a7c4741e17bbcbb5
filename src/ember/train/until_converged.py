"""End a fit over batches when it has converged, with averaged parameters."""

from __future__ import annotations

from ember.infer.step.convergence.record import Convergence
from ember.infer.step.convergence.rule import StoppingRule
from ember.infer.step.training.callback import Callback, Training
from ember.infer.step.training.converger import Converger


class UntilConverged(Callback):
    """Ends :meth:`ember.infer.SVI.fit` when it has converged, as ``svi.run(until="converged")`` does.

    Steps have a constant rate until the iterates are stationary and their average is known well. Then the
    rate is halved, until that moves no average any more (Welandawe et al., 2022). At the end the store holds
    the averages, and the rates are what they were before. In a resumed fit it begins again.

    Args:
        rule: how small the errors must be; ``StoppingRule()`` if None.

    Raises:
        OptimizerError: during a fit, if there are no parameters, or the optimizer has no rate that stays as
            it is set (Adagrad, a ClippedAdam whose rate decays).

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.train import UntilConverged
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> adam = ember.optim.Adam({"lr": 0.02})
    >>> svi = ember.infer.SVI(model, guide, adam, ember.infer.Trace_ELBO(), param_store="own")
    >>> until, x = UntilConverged(), torch.arange(100) / 10
    >>> result = svi.fit(x, epochs=20_000, batch_size=20, callbacks=[until], progress=False)
    >>> until.convergence.converged, result.stopped
    (True, 'converged')
    """

    def __init__(self, rule: StoppingRule | None = None) -> None:
        self.rule = StoppingRule() if rule is None else rule
        self.every = self.rule.every
        self.convergence: Convergence | None = None
        """Whether the fit has converged, and what was seen; None before its end."""
        self._converger: Converger | None = None

    def begin(self, training: Training) -> None:
        self.convergence = None
        self._converger = Converger(training.fitted, training.arguments, self.rule)

    def after_steps(self, training: Training) -> None:
        if self._converger is not None and self._converger.after(training.step):
            training.stop("converged")

    def end(self, training: Training) -> None:
        if self._converger is not None:
            self.convergence = self._converger.finish(training.step)

    def close(self) -> None:
        if self._converger is not None:
            self._converger.put_rates_back()


__all__ = ["UntilConverged"]
