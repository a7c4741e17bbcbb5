"""Training of variational estimates: captured steps where that is possible."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor

from ember import poutine
from ember.contrib.oed.eig.losses import DesignLoss, GivenLoss, Purpose
from ember.contrib.oed.eig.runs import mode_for
from ember.errors import NonFiniteLossError
from ember.infer import ELBO, SVI, Estimate
from ember.infer.objectives.composition import Composition
from ember.infer.objectives.losses.policy import Raise, applied
from ember.infer.terms.estimate import Combination, Terms, Worth
from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.run import Run, runner_of
from ember.infer.traces.settings import Settings
from ember.optim import PyroLRScheduler, PyroOptim
from ember.poutine.trace_struct import Trace

_EVALUATION = Purpose(trains=False, evaluates=True)


def opt_eig_ape_loss(
    design: Tensor,
    loss_fn: DesignLoss | Callable[..., tuple[Tensor, Tensor]],
    num_samples: Any,
    num_steps: int,
    optim: Any,
    return_history: bool = False,
    final_design: Tensor | None = None,
    final_num_samples: Any = None,
) -> Any:
    """Minimise a loss over designs, and evaluate it.

    Args:
        design: one or several, as the loss takes them.
        loss_fn: a function ``(design, num_samples, evaluation=)``, which returns a scalar to minimise and one value for each
            design. With a history it is minimised under ``evaluation=True``.
        num_samples: passed on.
        num_steps: steps of training. 200 or more are captured, where that is possible; the setting ``compile`` says otherwise.
        optim: an optimizer of :mod:`ember.optim`; its scheduler, if it has one, is stepped with it. Not used without steps.
        return_history: return the values of all steps, too.
        final_design: where the loss is evaluated; ``design`` if None.
        final_num_samples: as ``num_samples`` if None.

    Returns:
        The values at the end; with a history, that of shape ``(num_steps, ...)`` before them.

    Raises:
        ArithmeticError: if a loss or a gradient is not finite.
        TypeError: if ``num_steps`` is no whole number, or ``optim`` no optimizer.

    >>> import ember
    >>> def loss(design, num_samples, evaluation):
    ...     gap = (ember.param("x", torch.zeros(2)) - design) ** 2
    ...     return gap.sum(), gap
    >>> designs = torch.tensor([1.0, 2.0])
    >>> opt_eig_ape_loss(designs, loss, 1, 100, ember.optim.SGD({"lr": 0.1})).detach().round(decimals=4)
    tensor([0., 0.])
    """
    loss = loss_fn if isinstance(loss_fn, DesignLoss) else GivenLoss(loss_fn)
    num_steps = operator.index(num_steps)
    if num_steps > 0 and not (isinstance(optim, PyroOptim) or callable(optim)):
        raise TypeError(
            f"optim must be an optimizer of ember.optim, such as Adam({{'lr': 0.01}}), got {optim!r}"
        )
    train = _train if isinstance(optim, PyroOptim) else _train_by_hand
    history = train(loss, design, num_samples, num_steps, optim, return_history)
    where = design if final_design is None else final_design
    value = loss.judge(
        where, num_samples if final_num_samples is None else final_num_samples, _EVALUATION
    ).value
    return (history, value) if return_history else value


class _Nothing(Terms):
    """What a pair of traces is worth, of programs that do nothing."""

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        return Estimate(0.0, 0.0)


class _Trained(Combination):
    """A loss over designs as the combination of no particles: it makes its runs itself."""

    def __init__(self, loss: DesignLoss, num_samples: Any, evaluates: bool) -> None:
        self.loss = loss
        self.num_samples = num_samples
        self.purpose = Purpose(trains=True, evaluates=evaluates)
        self.shape = Size()
        """Of the values, once there was a step."""

    def estimates(
        self, pairs: Iterator[Traces], run: Run, settings: Settings, worth: Worth
    ) -> Iterator[tuple[tuple[()], Estimate]]:
        (design,) = run.args
        objective, value = self.loss.judge(design, self.num_samples, self.purpose)
        if not self.purpose.evaluates:
            yield (), Estimate(-objective, -objective)
            return
        if self.shape != value.shape:
            self.shape = value.shape
        yield (), Estimate(-value.reshape(-1), -objective)


@dataclass(eq=False, repr=False)
class _DesignObjective(ELBO):
    """For SVI: what is minimised, and the values of all designs as its losses."""

    trained: Any = None

    def composition(self) -> Composition:
        return Composition(runner_of(self.settings), _Nothing(), combination=self.trained)


def _no_program(design: Tensor) -> None:
    """In the place of model and guide, which the loss runs itself."""


def _train(
    loss: DesignLoss, design: Tensor, num_samples: Any, num_steps: int, optim: PyroOptim, evaluates: bool
) -> Tensor:
    trained = _Trained(loss, num_samples, evaluates)
    svi = SVI(_no_program, _no_program, optim, _DesignObjective(trained=trained))
    scheduled = isinstance(optim, PyroLRScheduler)
    losses = []
    # The first step finds the shape of the values: what changes as a step is taken cannot be captured.
    for count, mode in ((min(num_steps, 1), False), (num_steps - 1, mode_for(num_steps, design))):
        svi.compile = mode
        try:
            with applied(Raise()):
                done = svi.run(max(count, 0), design, progress=False, scheduled=scheduled)
        except NonFiniteLossError as error:
            raise ArithmeticError(f"Encountered NaN loss in opt_eig_ape_loss: {error}") from error
        if done.interrupted:
            raise KeyboardInterrupt
        losses += done.losses.tolist()
    return torch.tensor(losses).reshape(-1, *trained.shape)


def _train_by_hand(
    loss: DesignLoss, design: Tensor, num_samples: Any, num_steps: int, optim: Any, evaluates: bool
) -> Tensor:
    """With any callable that takes parameters and changes them, and has perhaps a method ``step`` for its schedule."""
    history = []
    purpose = Purpose(trains=True, evaluates=evaluates)
    for _ in range(num_steps):
        with poutine.trace(param_only=True) as recorded:
            objective, value = loss.judge(design, num_samples, purpose)
        params = {site.value.unconstrained() for site in recorded.trace.nodes.values()}
        for param in params:
            param.grad = None
        if torch.isnan(objective):
            raise ArithmeticError("Encountered NaN loss in opt_eig_ape_loss")
        objective.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        history.append(value.detach())
        optim(params)
        if hasattr(optim, "step"):
            optim.step()
    return torch.stack(history) if history else torch.empty(0)
