"""Stochastic variational inference: one step, and the loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ember.capture.choice import BackendName, check_backend
from ember.capture.report import Report
from ember.capture.signature import callable_key, take_apart
from ember.errors import CaptureError, CaptureMismatchError
from ember.infer.losses.policy import raises_on_nonfinite
from ember.infer.losses.values import check as check_loss
from ember.infer.losses.values import is_finite, to_floats
from ember.infer.objectives.elbo import ELBO
from ember.infer.step.compile_mode import CompileMode, check_mode, effective_mode
from ember.infer.step.function import Guarding
from ember.infer.step.loop import Callback, SVIResult, run
from ember.infer.step.programs import CapturedStep
from ember.ops.scalars import zero_grads
from ember.optim import PyroOptim
from ember.params.param_store import ParamStoreDict, get_param_store
from ember.poutine.trace_messenger import TraceMessenger

Program = Callable[..., Any]


class SVI:
    """Fits the parameters of a model and a guide by stochastic gradient steps on a loss.

    Args:
        model: the program whose posterior is sought.
        guide: the program that approximates it; it takes the same arguments.
        optim: an optimizer of :mod:`ember.optim`.
        loss: an objective such as :class:`Trace_ELBO`, or a callable ``(model, guide, *args, **kwargs)`` that returns a scalar
            tensor to differentiate.
        loss_and_grads: for a callable loss: computes gradients too, and returns the loss.
        num_samples: deprecated.
        num_steps: deprecated.
        compile: whether steps run as one captured program: True, False, or "auto", which runs eagerly with one warning where
            that is not possible. None means what the setting ``compile`` says, and if that is None too, False for
            :meth:`step` and "auto" for :meth:`run`.
        backend: what compiles captured programs: "native" (a C program of our own), "inductor" (torch's compiler),
            "interpreter" (operator by operator, for finding errors), or "auto": native where it can. None means what
            the setting ``backend`` says.
        param_store: a store for the parameters of this SVI alone; by default the active one.

    Raises:
        ValueError: if ``optim`` is no :class:`PyroOptim`.

    >>> import torch, ember
    >>> from ember import distributions as dist
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
        param_store: ParamStoreDict | None = None,
    ) -> None:
        if num_steps:
            warnings.warn(
                "The `num_steps` argument to SVI is deprecated and will be removed in a future release. "
                "Use `SVI.step` directly to control the number of iterations.",
                FutureWarning,
                stacklevel=2,
            )
        if num_samples:
            warnings.warn(
                "The `num_samples` argument to SVI is deprecated and will be removed in a future release. "
                "Use `pyro.infer.Predictive` class to draw samples from the posterior.",
                FutureWarning,
                stacklevel=2,
            )
        if not isinstance(optim, PyroOptim):
            raise ValueError(
                "Optimizer should be an instance of pyro.optim.PyroOptim class. "
                f"Got {type(optim).__name__}; write for example ember.optim.Adam({{'lr': 0.01}})."
            )
        self.model = model
        self.guide = guide
        self.optim = optim
        self.num_steps = num_steps
        self.num_samples = num_samples
        self.param_store = param_store
        self.compile = check_mode(compile if compile is not None else getattr(loss, "compile", None))
        self.backend = None if backend is None else check_backend(backend)
        self.capture_report = Report()
        self._objective = loss
        self._captured = CapturedStep(self, self.capture_report)
        self._warned_of_fallback = False
        if isinstance(loss, ELBO):
            self.loss: Callable[..., Any] = loss.loss
            self.loss_and_grads: Callable[..., Any] = loss.loss_and_grads
        else:
            self.loss = loss
            self._own_loss_and_grads = _backward_of(loss)
            self.loss_and_grads = self._own_loss_and_grads if loss_and_grads is None else loss_and_grads

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Take one gradient step on the loss.

        Args:
            args: passed on to model and guide.
            kwargs: passed on to model and guide.

        Returns:
            The loss before the step, a float (a tuple of floats for objectives with several losses).

        Raises:
            NonFiniteLossError: if the loss is NaN or infinite (see the setting ``nonfinite_loss``).

        An error leaves parameters and optimizer state as they were; parameters that the failed step made are removed again.
        """
        mode = effective_mode(self.compile, False)
        if mode is False:
            return self._eager_step(args, kwargs)[1]
        guarding: Guarding = "halt" if raises_on_nonfinite() else "off"
        return self._captured_or_eager(
            mode,
            lambda: self._captured.step(args, kwargs, guarding),
            lambda: self._eager_step(args, kwargs)[1],
        )

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The loss, without gradients: existing parameters and optimizer state stay as they are, bit for bit.

        Args:
            args: passed on to model and guide.
            kwargs: passed on to model and guide.

        Returns:
            A float (a tuple of floats for objectives with several losses).
        """
        mode = effective_mode(self.compile, False)
        if mode is False:
            return self._eager_loss(args, kwargs)[1]
        return self._captured_or_eager(
            mode, lambda: self._captured.evaluate(args, kwargs), lambda: self._eager_loss(args, kwargs)[1]
        )

    def run(
        self,
        num_steps: int,
        *args: Any,
        progress: bool = True,
        callback: Callback | None = None,
        callback_interval: int = 100,
        stable: bool = False,
        **kwargs: Any,
    ) -> SVIResult:
        """Take many steps.

        Args:
            num_steps: how many.
            args: passed on to model and guide, the same in every step.
            progress: show a progress bar.
            callback: called as ``callback(step, loss)`` after every ``callback_interval`` steps, with the number of steps
                taken so far and the last loss; a true result ends the run.
            callback_interval: see ``callback``.
            stable: leave out updates whose loss or gradients are not finite, and count them, instead of raising.
            kwargs: passed on to model and guide.

        Returns:
            The losses of all steps, as one tensor, and how it went. Ctrl-C ends a run early, with the losses so far.

        Raises:
            NonFiniteLossError: if a loss is NaN or infinite, unless ``stable`` or the setting ``nonfinite_loss`` says otherwise.
            CaptureError: under ``compile=True``, if the step cannot be captured.
        """
        return run(self, num_steps, args, kwargs, progress, callback, callback_interval, stable)

    def _eager_step(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        observe: Callable[[list[Tensor]], bool | None] | None = None,
    ) -> tuple[list[str], Any]:
        """One step by Python: the names of the touched parameters and the loss.

        ``observe`` sees the parameters with their gradients before they are updated; if it returns False, they are not.
        """
        with self._active_store():
            recorder = TraceMessenger(param_only=True)
            with _undone_on_error(recorder):
                with recorder:
                    loss = self.loss_and_grads(self.model, self.guide, *args, **kwargs)
                params = _leaves(recorder)
                result = to_floats(loss)
                if not isinstance(loss, float):
                    check_loss(result)
                if observe is None or observe(params) is not False:
                    self.optim(params)
            zero_grads(params)
        return list(recorder.trace.nodes), result

    def _eager_loss(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[str], Any]:
        with self._active_store(), torch.no_grad(), TraceMessenger(param_only=True) as recorder:
            loss = to_floats(self.loss(self.model, self.guide, *args, **kwargs))
        return list(recorder.trace.nodes), loss

    def _captured_or_eager(
        self, mode: CompileMode, captured: Callable[[], Any], eager: Callable[[], Any]
    ) -> Any:
        """The result of ``captured``; under "auto", that of ``eager`` where it is not possible."""
        try:
            return captured()
        except CaptureError as error:
            if mode is True:
                raise
            self._warn_of_fallback(error)
            if isinstance(error, CaptureMismatchError):
                # The step has been taken, eagerly, for the comparison.
                return error.eager_result
            self.capture_report.eager_calls += 1
            return eager()

    def _warn_of_fallback(self, error: CaptureError) -> None:
        if not self._warned_of_fallback:
            self._warned_of_fallback = True
            warnings.warn(f"SVI runs eagerly: {error}", UserWarning, stacklevel=5)

    def _loss_terms(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """The loss and the scalar to differentiate, as tensors."""
        if isinstance(self._objective, ELBO):
            elbo, surrogate = self._objective.estimate(self.model, self.guide, args, kwargs)
            return -elbo, -surrogate
        if self.loss_and_grads is not self._own_loss_and_grads:
            raise CaptureError(
                "the step cannot be captured: loss_and_grads computes gradients by itself\n"
                "The way out: give SVI a loss that returns a tensor to differentiate, or run eagerly (compile=False)."
            )
        loss = self.loss(self.model, self.guide, *args, **kwargs)
        if not isinstance(loss, Tensor):
            raise CaptureError(
                f"the step cannot be captured: the loss is a {type(loss).__name__}, no tensor\n"
                "The way out: return one scalar tensor, or run eagerly (compile=False)."
            )
        return loss, loss

    def _loss_key(self) -> Any:
        """What tells this loss, and its settings, from another."""
        if isinstance(self._objective, ELBO):
            return (type(self._objective), take_apart(vars(self._objective), []))
        return callable_key(self._objective)

    def _store(self) -> ParamStoreDict:
        return get_param_store() if self.param_store is None else self.param_store

    @property
    def _has_value(self) -> bool:
        return not isinstance(self._objective, ELBO) or self._objective.has_value

    def _check_captured_loss(self, loss: Any, bad_steps: Tensor) -> None:
        if type(loss) is float and math.isfinite(loss):
            return
        if not (is_finite(loss) if self._has_value else bad_steps.item() == 0):
            bad_steps.zero_()
            check_loss(loss)

    def _active_store(self) -> Any:
        return nullcontext() if self.param_store is None else self.param_store.active()


def _backward_of(loss: Callable[..., Any]) -> Callable[..., Any]:
    def loss_and_grads(*args: Any, **kwargs: Any) -> Any:
        value = loss(*args, **kwargs)
        if getattr(value, "requires_grad", False):
            value.backward()
        return value

    return loss_and_grads


def _leaves(recorder: TraceMessenger) -> list[Tensor]:
    """The unconstrained leaves of the recorded parameters, each once, in order."""
    leaves = (site["value"].unconstrained() for site in recorder.trace.nodes.values())
    return list({id(leaf): leaf for leaf in leaves}.values())


@contextmanager
def _undone_on_error(recorder: TraceMessenger) -> Iterator[None]:
    store = get_param_store()
    known = set(store.keys())
    try:
        yield
    except BaseException:
        zero_grads(_leaves(recorder))
        for name in [name for name in store if name not in known]:
            del store[name]
        raise
