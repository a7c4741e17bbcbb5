"""The optimizer of SVI: parameters come into being while the program runs, each with its own options.

Options and state are kept by parameter; a step is taken by one torch optimizer for all parameters touched, so
that torch's batched kernels do the work. A torch optimizer for one parameter is made where somebody asks for
it, or a scheduler needs it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.errors import OptimizerError, SaveFileError
from ember.optim import saved_state
from ember.optim.adagrad_rmsprop import AdagradRMSProp as pt_AdagradRMSProp
from ember.optim.arguments import (
    Options,
    check_values,
    checked_clip,
    checked_options,
    options_for,
    options_in_a_dictionary,
)
from ember.optim.clipped_adam import ClippedAdam as pt_ClippedAdam
from ember.optim.dct_adam import DCTAdam as pt_DCTAdam
from ember.optim.plan import StepPlan
from ember.optim.records import Record, Records
from ember.optim.records import is_scheduler as is_scheduler
from ember.optim.rule_table import RULES
from ember.optim.saved_values import Expected
from ember.optim.view import OptimizerView
from ember.params import ParamStoreDict, get_param_store
from ember.serialization import atomic_save, safe_load

# Plans kept for sets of parameters that are stepped in turn.
_MAX_PLANS = 8
_RUNTIME = ("exchange", "records", "_plans", "_templates", "_expected", "optim_objs")
# Optimizers of sets of options that are tried out once, instead of once for every parameter.
_MAX_TEMPLATES = 16


Exchange = Callable[[Any, list[Tensor | None]], Any]


def _is_torch_class(constructor: object) -> bool:
    return isinstance(constructor, type) and issubclass(constructor, Optimizer)


class PyroOptim:
    """Steps parameters that appear while a program runs, by an optimizer of torch.

    Args:
        optim_constructor: a class of :mod:`torch.optim`, any other subclass of
            :class:`torch.optim.Optimizer`, or a callable ``(params, **options)`` that returns one.
        optim_args: options of the optimizer: a dictionary (which is copied), or a function that returns one,
            given the parameter's full name, such as ``net.layer.weight``. With two arguments, module name and
            parameter name, it is deprecated.
        clip_args: gradient clipping: a dictionary with ``clip_norm`` or ``clip_value`` (for each parameter by
            itself) or ``clip_global_norm`` (over all parameters of a step), or a function of the name that
            returns one.

    Raises:
        AssertionError: if ``optim_args`` or ``clip_args`` is neither a dictionary nor callable.
        NotImplementedError: for LBFGS.

    >>> import torch
    >>> from ember.optim import PyroOptim
    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = PyroOptim(torch.optim.SGD, {"lr": 0.1})
    >>> w.grad = torch.ones(2)
    >>> optimizer([w])
    >>> w
    tensor([0.9000, 1.9000], requires_grad=True)
    >>> optimizer.optim_objs[w].param_groups[0]["lr"] = 0.5
    >>> optimizer([w])
    >>> w
    tensor([0.4000, 1.4000], requires_grad=True)
    """

    counts_by_identity = True
    """What it holds does not decide whether a captured program is still right."""

    def __init__(
        self,
        optim_constructor: Callable[..., Any],
        optim_args: Options,
        clip_args: Options | None = None,
    ) -> None:
        if isinstance(optim_constructor, type) and issubclass(optim_constructor, torch.optim.LBFGS):
            raise NotImplementedError(
                "LBFGS evaluates the loss several times in a step, through a closure, which SVI does not give it. "
                "Use torch.optim.LBFGS directly: loss_fn = ELBO(...)(model, guide), call it once to make the "
                "parameters, pass loss_fn.parameters() to LBFGS and a closure over loss_fn(*args) to its step."
            )
        self.pt_optim_constructor: Callable[..., Any] = optim_constructor
        self.pt_optim_args = checked_options(optim_args, "optim_args")
        self.pt_clip_args = checked_options({} if clip_args is None else clip_args, "clip_args")
        self._state_waiting_to_be_consumed: dict[str, dict[str, Any]] = {}
        self._start()

    def _start(self) -> None:
        self.exchange: Exchange | None = None
        """What :meth:`exchange_by` was given."""
        self.records = Records()
        self._plans: dict[tuple[int, ...], StepPlan] = {}
        self._templates: list[tuple[dict[str, Any], Optimizer]] = []
        self.optim_objs = OptimizerView(self.records, self._plans.clear)

    def __getstate__(self) -> dict[str, Any]:
        config = {key: value for key, value in vars(self).items() if key not in _RUNTIME}
        return {**config, "_state_waiting_to_be_consumed": self.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __call__(self, params: Iterable[Tensor], *args: object, **kwargs: object) -> None:
        """Take one step of the given parameters; those without a gradient stay as they are.

        Args:
            params: unconstrained leaf tensors. An optimizer is made for each that is seen for the first time;
                if that fails for one of them, nothing has changed.
            *args: passed to the ``step`` of the torch optimizer, as are keyword arguments.

        Raises:
            TypeError, ValueError: from torch, for options that the optimizer does not take.
            OptimizerError: if a saved state that waited for a parameter does not fit it.
        """
        plan = self.plan(params)
        plan.step(*args, **kwargs)
        if self._state_waiting_to_be_consumed:
            for record in plan.slots:
                if record.name is not None:
                    self._state_waiting_to_be_consumed.pop(record.name, None)

    def plan(self, params: Iterable[Tensor]) -> StepPlan:
        """What a step of these parameters does; makes optimizers for new ones, but changes no parameter."""
        params = list(params)
        key = tuple(map(id, params))
        plan = self._plans.get(key)
        if plan is None or not plan.is_current():
            slots = self._records_for(params)
            self._plans.pop(key, None)
            while len(self._plans) >= _MAX_PLANS:
                del self._plans[next(iter(self._plans))]
            plan = self._plans[key] = StepPlan(slots, self.records, self._steps_itself)
        return plan

    @property
    def _steps_itself(self) -> type | None:
        alone = self.exchange is None and type(self).__call__ is PyroOptim.__call__
        return None if alone else type(self)

    def _records_for(self, params: list[Tensor]) -> list[Record]:
        self.records.follow()
        new = {id(param): param for param in params if self.records.get(param) is None}
        if new:
            store = get_param_store()
            made = [self._new_record(param, store) for param in new.values()]
            if self.records.park_departed():
                self._plans.clear()
            for record in made:
                self.records.add(record)
        return [found for param in params if (found := self.records.get(param)) is not None]

    def _new_record(self, param: Tensor, store: ParamStoreDict) -> Record:
        name = store.param_name(param)
        try:
            shown = self._template(param)
            is_template = shown is not None
            shown = self._get_optim(param) if shown is None else shown
            clip = checked_clip(self._get_grad_clip_args(param))
        except Exception as error:
            error.add_note(f"while making the optimizer of parameter {name!r}")
            raise
        rule = getattr(shown, "optimizer", shown)
        if not isinstance(rule, Optimizer):
            raise OptimizerError(
                f"{self.pt_optim_constructor!r} returned {type(shown).__name__}, which is no "
                "torch.optim.Optimizer; give PyroOptim a class such as torch.optim.Adam"
            )
        record = Record(param, name, store, clip, rule, self.records.changes)
        if is_template:
            self._start_state(record)
        else:
            record.show(shown)
            record.handed_out = not self._keeps_optimizers
        waiting = None if name is None else self._state_waiting_to_be_consumed.get(name)
        if waiting is not None:
            saved_state.fits(record, self._expected, waiting)
            saved_state.write(record, waiting)
        return record

    @property
    def _keeps_optimizers(self) -> bool:
        """Whether nobody else sees a torch optimizer being made, and may keep it."""
        return self._makes_templates

    @property
    def _makes_templates(self) -> bool:
        return type(self)._get_optim is PyroOptim._get_optim and self.pt_optim_constructor in RULES

    def _template(self, param: Tensor) -> Optimizer | None:
        """An optimizer with the options of this parameter, for another parameter; None if there must be a real one."""
        if not self._makes_templates:
            return None
        options = self._get_optim_args(param)
        if any(isinstance(value, Tensor) for value in options.values()) or options.get("fused"):
            return None
        for known, template in self._templates:
            if known == options:
                return template
        made: Optimizer = self.pt_optim_constructor([torch.zeros((), requires_grad=True)], **options)
        del self._templates[: len(self._templates) - _MAX_TEMPLATES + 1]
        self._templates.append((dict(options), made))
        return made

    @staticmethod
    def _start_state(record: Record) -> None:
        # Some classes make the state with the optimizer, others with the first step.
        if record.template.state:
            rule = RULES[record.kind]
            state = rule.init(record.param.detach(), rule.options_of(record.options))
            values = zip(rule.fields, state, strict=True)
            record.state[record.param] = {key: value for key, value in values if value is not None}

    def _get_optim(self, param: Tensor) -> Any:
        """A torch optimizer, or a scheduler around one, for one new parameter; subclasses may override it."""
        return self.pt_optim_constructor([param], **self._get_optim_args(param))

    def _get_optim_args(self, param: Tensor) -> dict[str, Any]:
        options = options_for(self.pt_optim_args, get_param_store().param_name(param), "optim")
        check_values(self.pt_optim_constructor, options)
        return options

    def _get_grad_clip_args(self, param: Tensor) -> dict[str, Any]:
        clip = options_for(self.pt_clip_args, get_param_store().param_name(param), "clip")
        if callable(self.pt_clip_args) and "clip_global_norm" in clip:
            raise OptimizerError(
                "clip_global_norm is one limit for all parameters: give clip_args as a dictionary"
            )
        return clip

    def _named_records(self) -> dict[str, Record]:
        """Records by name, of the active parameter store, or of the only store that has been used."""
        self.records.follow()
        if self.records.park_departed():
            self._plans.clear()
        active = get_param_store()
        by_store: dict[int, dict[str, Record]] = {}
        for record in self.records:
            if record.name is None and (name := active.param_name(record.param)) is not None:
                record.adopt(name, active)
            if (name := record.current_name()) is not None:
                by_store.setdefault(id(record.store()), {})[name] = record
        if id(active) in by_store:
            return by_store[id(active)]
        if len(by_store) > 1:
            raise OptimizerError(
                "this optimizer has been used with several parameter stores, none of which is active now; "
                "ask inside `with store.active():`"
            )
        return next(iter(by_store.values()), {})

    def stepped_names(self) -> frozenset[str]:
        """Return names of parameters of the active store that have been stepped, or are in a loaded state."""
        store = get_param_store()
        names = {record.current_name() for record in self.records if record.store() is store}
        return frozenset(
            {name for name in names if name is not None} | set(self._state_waiting_to_be_consumed)
        )

    def forget_others(self, names: Collection[str]) -> None:
        """Let the parameters of the active store begin anew, but for these."""
        for name, record in self._named_records().items():
            if name not in names:
                self.records.remove(record.param)
        for name in self._state_waiting_to_be_consumed.keys() - set(names):
            del self._state_waiting_to_be_consumed[name]
        self._plans.clear()

    def exchange_by(self, exchange: Exchange | None) -> None:
        """Let processes that train together average their gradients: updates are not captured then.

        Args:
            exchange: called with the loss and the gradients of each step, before they are looked at; it may
                change gradients in place, and returns the loss that must be finite. None for a step of one's
                own.
        """
        self.exchange = exchange
        self._plans.clear()

    def get_lr(self) -> dict[str, float]:
        """Return the learning rates of the next step by name, of parameters that have been stepped."""
        return {name: record.rate for name, record in self._named_records().items()}

    def get_state(self) -> dict[str, dict[str, Any]]:
        """A copy of the state of all named parameters, and of what waits for those not seen yet, by name.

        Each is ``{"state": {0: ...}, "param_groups": [...]}`` as in torch; with a scheduler there are two,
        under ``"scheduler"`` and ``"optimizer"``.
        """
        states = {name: saved_state.read(record) for name, record in self._named_records().items()}
        for name, waiting in self._state_waiting_to_be_consumed.items():
            if name not in states:
                states[name] = saved_state.plain_copy(waiting)
        return states

    def set_state(self, state_dict: dict[str, dict[str, Any]]) -> None:
        """Take up a state from :meth:`get_state`; it waits for parameters that have not been seen yet.

        Raises:
            OptimizerError: if the state is malformed or does not fit; nothing has changed then.
        """
        states = saved_state.checked(state_dict, self._expected, self._expects_scheduler())
        records = self._named_records()
        for name in states.keys() & records.keys():
            saved_state.fits(records[name], self._expected, states[name])
        undo: list[tuple[Record, dict[str, Any]]] = []
        try:
            for name, state in states.items():
                if name in records:
                    before = saved_state.read(records[name])
                    saved_state.write(records[name], state)
                    undo.append((records[name], before))
        except OptimizerError:
            for record, before in undo:
                saved_state.write(record, before)
            raise
        # It goes on waiting until the next step: the parameter may be replaced by a loaded one before.
        self._state_waiting_to_be_consumed.update(states)

    @functools.cached_property
    def _expected(self) -> Expected:
        return Expected(self.pt_optim_constructor)

    def _expects_scheduler(self) -> bool | None:
        return False if _is_torch_class(self.pt_optim_constructor) else None

    def save(self, filename: str | os.PathLike[str]) -> None:
        """Write the state to a file, which is at any time either the old one or the whole new one."""
        atomic_save(self.get_state(), filename)

    def load(
        self, filename: str | os.PathLike[str], map_location: Any = None, allow_pickle: bool = False
    ) -> None:
        """Read the state from a file written by :meth:`save` or by Pyro.

        Args:
            filename: the file.
            map_location: as in :func:`torch.load`.
            allow_pickle: accept pickled objects; only for files you trust.

        Raises:
            SaveFileError: if the file is corrupt or foreign; nothing has changed then.
        """
        states = safe_load(filename, map_location, allow_pickle)
        try:
            self.set_state(states)
        except OptimizerError as error:
            raise SaveFileError(
                f"{os.fspath(filename)!r} holds no state for this optimizer: {error}"
            ) from error


@options_in_a_dictionary
def AdagradRMSProp(optim_args: Options) -> PyroOptim:
    """Make the optimizer of Kucukelbir et al. (2017), equations 10 and 11.

    ``optim_args``: ``eta``, ``delta``, ``t``; see :class:`ember.optim.adagrad_rmsprop.AdagradRMSProp`.
    """
    return PyroOptim(pt_AdagradRMSProp, optim_args)


@options_in_a_dictionary
def ClippedAdam(optim_args: Options) -> PyroOptim:
    """Make Adam with clamped gradients and a rate that shrinks at every step.

    ``optim_args``: see :class:`ember.optim.clipped_adam.ClippedAdam`. Each entry of a gradient is clamped to
    ``clip_norm``; the rate is multiplied by ``lrd`` at every step.

    >>> import ember
    >>> adam = ember.optim.ClippedAdam({"lr": 0.01, "clip_norm": 10.0, "lrd": 0.1 ** (1 / 1000)})
    """
    return PyroOptim(pt_ClippedAdam, optim_args)


@options_in_a_dictionary
def DCTAdam(optim_args: Options) -> PyroOptim:
    """Make Adam for time series: it also takes steps in the frequency domain.

    ``optim_args``: those of :class:`ember.optim.dct_adam.DCTAdam`.
    """
    return PyroOptim(pt_DCTAdam, optim_args)
