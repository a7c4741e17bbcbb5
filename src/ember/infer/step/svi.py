"""Stochastic variational inference: one step, and the loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, Literal, SupportsIndex, Unpack, overload

from torch import Tensor

from ember.caller import stacklevel
from ember.capture.choice import BackendName, backend_of, check_backend
from ember.capture.recording.assumptions import Unforeseen
from ember.capture.report import Report
from ember.errors import CaptureError, ModelError, Reason
from ember.infer.autoguide.base.guide import AutoGuide
from ember.infer.objectives.elbo import ELBO
from ember.infer.objectives.losses.policy import BadLoss, Skip, active_policy
from ember.infer.objectives.rws import ReweightedWakeSleep
from ember.infer.step.compile_mode import CompileMode, Loss, Options, check_mode, effective_mode
from ember.infer.step.convergence.rule import StoppingRule
from ember.infer.step.function import Args, Kwargs, Step
from ember.infer.step.live import Taken, taken_or_undone
from ember.infer.step.loop import Callback, Run, SVIResult, run
from ember.infer.step.programs import Programs, Ready
from ember.infer.step.request import Request, Scheduled, Setup, schedule_of
from ember.infer.step.training.given_losses import backward_of, bound, warn_of_deprecated
from ember.infer.step.training.steps import Steps, eager_for
from ember.infer.step.training.trainable import Trainable
from ember.infer.step.training.until import (
    NOT_GIVEN,
    check_until,
    run_until_converged,
    steps_and_arguments,
)
from ember.infer.step.warm import Warm
from ember.infer.traces.program_checks import check_pair, check_program, number_of_steps, shown_kind
from ember.optim import PyroOptim
from ember.params.fits import note_fit
from ember.params.param_store import ParamStoreDict, get_param_store
from ember.poutine.messenger import unwrap
from ember.poutine.runtime import acting_handlers

Program = Callable[..., Any]
_OF_RUNTIME = ("programs", "_warm")


class SVI(Trainable, Generic[Loss]):
    """Fits the parameters of a model and a guide by stochastic gradient steps on a loss.

    Args:
        model: the program whose posterior you want.
        guide: the program that approximates the posterior. It takes the same arguments as the model.
        optim: an optimizer of :mod:`ember.optim`.
        loss: an objective such as :class:`Trace_ELBO`, or a callable ``(model, guide, *args, **kwargs)`` that
            returns a scalar tensor to differentiate.
        loss_and_grads: for a callable loss: a callable that computes the gradients too, and returns the loss.
        num_samples: deprecated.
        num_steps: deprecated.
        compile: True runs a step as one captured program. "auto" does so too, or runs it eagerly with one
            warning, if it cannot be captured. False runs it eagerly. None takes the setting ``compile``. If
            that is None too, it is False in :meth:`step`, and "auto" in :meth:`run` and :meth:`fit`.
        backend: what compiles captured programs: "native" (Ember's C programs), "inductor" (torch's
            compiler), "interpreter" (operator by operator, to find errors), or "auto": native if possible.
            None takes the setting ``backend``.
        param_store: a store for the parameters of this SVI alone, ``"own"`` for a new one. None takes the
            active store.

    Raises:
        ValueError: if ``optim`` is no :class:`PyroOptim`, if model, guide or loss cannot be called or is a
            class, or if ``compile``, ``backend`` or ``param_store`` is a value that there is not.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.infer import SVI
    >>> def model(data):
    ...     rate = ember.sample("rate", dist.Gamma(2.0, 2.0))
    ...     with ember.plate("data", len(data)):
    ...         ember.sample("count", dist.Poisson(rate), obs=data)
    >>> def guide(data):
    ...     ember.sample("rate", dist.Delta(ember.param("mode", torch.tensor(1.0))))
    >>> store, adam = ember.params.ParamStoreDict(), ember.optim.Adam({"lr": 0.05})
    >>> svi = SVI(model, guide, adam, ember.infer.Trace_ELBO(), param_store=store)
    >>> losses = [svi.step(torch.tensor([3.0, 5.0])) for _ in range(500)]
    >>> round(store["mode"].item(), 2)
    2.25
    """

    @overload
    def __init__(
        self: SVI[tuple[float, ...]],
        model: Program,
        guide: Program,
        optim: PyroOptim,
        loss: ReweightedWakeSleep,
        **options: Unpack[Options],
    ) -> None: ...
    @overload
    def __init__(
        self: SVI[float],
        model: Program,
        guide: Program,
        optim: PyroOptim,
        loss: ELBO | Callable[..., Tensor],
        loss_and_grads: Callable[..., float] | None = None,
        num_samples: int = 0,
        num_steps: int = 0,
        **options: Unpack[Options],
    ) -> None: ...
    def __init__(
        self,
        model: Program,
        guide: Program,
        optim: PyroOptim,
        loss: Any,
        loss_and_grads: Callable[..., Any] | None = None,
        num_samples: int = 0,
        num_steps: int = 0,
        *,
        compile: CompileMode = None,
        backend: BackendName | None = None,
        param_store: ParamStoreDict | Literal["own"] | None = None,
    ) -> None:
        warn_of_deprecated(num_steps, num_samples)
        check_program(model, "model")
        check_program(guide, "guide")
        inner = unwrap(model)
        check_pair(inner, unwrap(guide), inner.program() if isinstance(inner, AutoGuide) else None)
        if not isinstance(optim, PyroOptim):
            raise ValueError(
                "Optimizer should be an instance of pyro.optim.PyroOptim class. "
                f"Got {shown_kind(optim)}; write for example ember.optim.Adam({{'lr': 0.01}})."
            )
        check_program(loss, "loss")
        self.model = model
        self.guide = guide
        self.optim = optim
        self.num_steps = num_steps
        self.num_samples = num_samples
        if isinstance(param_store, str) and param_store != "own":
            raise ValueError(f'param_store must be a ParamStoreDict, "own" or None, got {param_store!r}')
        self.param_store = ParamStoreDict() if param_store == "own" else param_store
        for program in (model, guide):
            note_fit(unwrap(program), self.param_store)
        self.compile = check_mode(compile if compile is not None else getattr(loss, "compile", None))
        self.backend = None if backend is None else check_backend(backend)
        self.capture_report = Report()
        self._objective = loss
        self._warned_of_fallback = False
        if isinstance(loss, ELBO):
            self.loss: Callable[..., Any] = loss.loss
            self.loss_and_grads: Callable[..., Any] = loss.loss_and_grads
        else:
            self.loss = loss
            self._own_loss_and_grads = backward_of(loss)
            self.loss_and_grads = self._own_loss_and_grads if loss_and_grads is None else loss_and_grads
        self._start()

    def _start(self) -> None:
        self.programs = Programs(self.capture_report)
        self._warm: Warm | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # Whatever changes here, the next call looks at everything again.
        object.__setattr__(self, name, value)
        object.__setattr__(self, "_warm", None)

    def __getstate__(self) -> dict[str, Any]:
        # Programs hold addresses of this process; they are made again.
        return {name: value for name, value in vars(self).items() if name not in _OF_RUNTIME}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def step(self, *args: object, **kwargs: object) -> Loss:
        """Take one gradient step on the loss.

        Args:
            args: passed on to model and guide.
            kwargs: passed on to model and guide.

        Returns:
            The loss before the step in nats, a float; a tuple of floats for objectives with several losses.

        Raises:
            NonFiniteLossError: if the loss or a gradient is NaN or infinite (see the setting
                ``nonfinite_loss``).
            CaptureError: under ``compile=True``, if the step cannot be captured.

        An error leaves parameters and optimizer state as they were, and removes parameters that it made.
        """
        warm = self._warm
        try:
            if warm is not None:
                inputs = warm.inputs(args, kwargs)
                if inputs is not None:
                    return warm.program.step(inputs)  # type: ignore[no-any-return]
            mode = effective_mode(self.compile, False)
            found = self._found(self.request("step", active_policy(), args, kwargs), mode)
            if isinstance(found, Taken):
                return found.loss  # type: ignore[no-any-return]
            self._keep_warm(found, args, kwargs)
            program = found.state.program
            return program.step(program.inputs(found.tensors))  # type: ignore[no-any-return]
        except Unforeseen:
            if warm is not None and warm.program.is_left_often:
                object.__setattr__(self, "_warm", None)
        return self._by_python("step", args, kwargs)  # type: ignore[no-any-return]

    def evaluate_loss(self, *args: object, **kwargs: object) -> Loss:
        """Estimate the loss without gradients. Parameters and optimizer state stay as they are, bit for bit.

        Args:
            args: passed on to model and guide.
            kwargs: passed on to model and guide.

        Returns:
            A float in nats (a tuple of floats for objectives with several losses). Warns if it is NaN.
        """
        return self.evaluated(effective_mode(self.compile, False), args, kwargs)  # type: ignore[no-any-return]

    def evaluated(self, mode: CompileMode, args: Args, kwargs: Kwargs) -> Any:
        """Estimate the loss; ``mode`` says whether by a captured program."""
        found = self._found(self.request("evaluate_loss", active_policy(), args, kwargs), mode)
        if isinstance(found, Taken):
            return found.loss
        program = found.state.program
        try:
            return program.evaluate(program.inputs(found.tensors))
        except Unforeseen:
            pass
        return self._by_python("evaluate_loss", args, kwargs)

    @overload
    def run(
        self,
        num_steps: SupportsIndex,
        *args: object,
        until: None = None,
        max_steps: None = None,
        rule: None = None,
        progress: bool = True,
        callback: Callback | None = None,
        callback_interval: int = 100,
        stable: bool = False,
        scheduled: bool = False,
        **kwargs: object,
    ) -> SVIResult: ...
    @overload
    def run(
        self,
        *args: object,
        until: Literal["converged"],
        max_steps: int | None = None,
        rule: StoppingRule | None = None,
        progress: bool = True,
        callback: Callback | None = None,
        callback_interval: int = 100,
        stable: bool = False,
        scheduled: Literal[False] = False,
        **kwargs: object,
    ) -> SVIResult: ...
    def run(
        self,
        num_steps: Any = NOT_GIVEN,
        *args: object,
        until: Literal["converged"] | None = None,
        max_steps: int | None = None,
        rule: StoppingRule | None = None,
        progress: bool = True,
        callback: Callback | None = None,
        callback_interval: int = 100,
        stable: bool = False,
        scheduled: bool = False,
        **kwargs: object,
    ) -> SVIResult:
        """Take many steps, or as many as are needed.

        Under ``until="converged"`` steps are taken at a constant rate until the iterates are stationary
        (split R-hat of each parameter) and their average is known. Then the rate is halved until that moves
        no average any more (Welandawe et al., 2022). The averages are put into the store, and the rates back
        to where they were. ``result.convergence`` says what was seen.

        Args:
            num_steps: how many steps to take. Under ``until`` the most steps, if it is an int and
                ``max_steps`` is not given, else the model's first argument.
            args: passed on to model and guide, the same in every step.
            until: ``"converged"`` ends the run when it has converged; None takes ``num_steps`` steps.
            max_steps: the most steps under ``until``; 200,000 if None.
            rule: what convergence asks for, under ``until``; ``StoppingRule()`` if None.
            progress: show a progress bar.
            callback: called as ``callback(step, loss)`` after every ``callback_interval`` steps, with the
                number of steps taken so far and the last loss; a true result ends the run.
            callback_interval: see ``callback``.
            stable: leave out updates whose loss or gradients are not finite, and count them, instead of
                raising.
            scheduled: step the optimizer's scheduler after every step. A captured loop reads the rates from
                an array.
            kwargs: passed on to model and guide.

        Returns:
            The losses of all steps, as one tensor, the parameters at the end, and how it went. Ctrl-C ends a
                run early, with the losses so far.

        Raises:
            TypeError: if ``num_steps`` or ``max_steps`` is no whole number.
            ValueError: if ``num_steps`` is negative, ``max_steps`` or ``callback_interval`` below 1,
                ``until`` another word, or ``max_steps`` or ``rule`` is given without it.
            NonFiniteLossError: if a loss or a gradient is NaN or infinite, unless ``stable`` or the setting
                ``nonfinite_loss`` says otherwise.
            CaptureError: under ``compile=True``, if the step cannot be captured.
            OptimizerError: under ``scheduled``, if there is no scheduler, or its rates are not known in
                advance; under ``until``, without parameters, without a rate that stays as it is set, or with
                ``scheduled``.
        """
        mode = effective_mode(self.compile, "auto")
        if until is not None:
            check_until(until, scheduled)
            num_steps, args = steps_and_arguments(num_steps, args, max_steps)
        elif max_steps is not None or rule is not None:
            raise ModelError('max_steps and rule belong to until="converged"; give the number of steps first')
        else:
            num_steps = number_of_steps(None if num_steps is NOT_GIVEN else num_steps)
        schedule = schedule_of(self.optim, num_steps) if scheduled else None
        policy = Skip() if stable else active_policy()
        source = Steps(
            lambda: self.request("step", policy, args, kwargs, schedule), self.programs, self.refused, mode
        )
        shown = (num_steps, progress, callback, callback_interval)
        if until is None:
            result = run(Run(source, schedule), *shown)
        else:
            rule = StoppingRule() if rule is None else rule
            result = run_until_converged(self, Run(source), (args, kwargs), rule, *shown)
        params = self.fitted_params()
        return replace(result, params=params, fitted_programs=replace(self.fitted_programs, params=params))

    def request(
        self, kind: str, policy: BadLoss, args: Args, kwargs: Kwargs, scheduled: Scheduled | None = None
    ) -> Request:
        """Put together what a call asks for, with all that this SVI has at the moment."""
        own_gradients = (
            not isinstance(self._objective, ELBO) and self.loss_and_grads is not self._own_loss_and_grads
        )
        objective = bound(
            self._objective, self.model, self.guide, self.loss, self.loss_and_grads, own_gradients
        )
        roots = (
            ("the model", self.model),
            ("the guide", self.guide),
            ("the loss", self.loss),
            ("loss_and_grads", self.loss_and_grads),
            ("the objective", self._objective),
        )
        backend = self.programs.backend or backend_of(self.backend)
        setup = Setup(
            Step(objective, policy), roots, acting_handlers(), self.store(), self.optim, backend, scheduled
        )
        return Request(kind, setup, args, kwargs)

    def _found(self, request: Request, mode: CompileMode) -> Ready | Taken:
        """A program, or the call taken by Python; under "auto" that is what happens where there can be no program."""
        if mode is False:
            return request.take(None)
        return self.programs.find_or_take(request, lambda error: self.refused(error, eager_for(mode)))

    def _by_python(self, kind: str, args: Args, kwargs: Kwargs) -> Any:
        """The loss of a call that a program has left to Python."""
        request = self.request(kind, active_policy(), args, kwargs)
        return taken_or_undone(lambda: request.take(None)).loss

    def _keep_warm(self, found: Ready, args: Args, kwargs: Kwargs) -> None:
        program = found.state.program
        given = sum(isinstance(value, Tensor) for value in (*args, *kwargs.values()))
        # A program that takes any number has tensors in place of numbers: each call makes them.
        if given == len(found.tensors) and Warm.is_possible(program, found.world, args, kwargs):
            own = self.param_store is not None
            warm = Warm(program, found.world, self.optim, own_store=own, args=args, kwargs=kwargs)
            object.__setattr__(self, "_warm", warm)

    def refused(self, error: CaptureError, eager_for: frozenset[Reason]) -> None:
        """Go on eagerly, with one warning, where that is allowed.

        Args:
            error: why there is no program; it is raised where a step may not be eager.
            eager_for: the reasons for which steps may be eager.
        """
        if error.reason not in eager_for:
            raise error
        if not self._warned_of_fallback:
            self._warned_of_fallback = True
            warnings.warn(f"SVI runs eagerly: {error}", UserWarning, stacklevel=stacklevel())

    def store(self) -> ParamStoreDict:
        """Return the store of its parameters."""
        return get_param_store() if self.param_store is None else self.param_store
