"""State of one parameter's optimizer as plain data: reading, checking, writing."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.errors import OptimizerError
from ember.optim.changes import States, Watched
from ember.optim.records import Record
from ember.optim.saved_values import Expected
from ember.optim.single_values import alike


def plain_copy(value: Any) -> Any:
    """A copy that shares no tensor and no container with the original.

    >>> plain_copy({"step": torch.tensor(1.0), "params": [0]})
    {'step': tensor(1.), 'params': [0]}
    """
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in (dict, Watched, States):
        return {key: plain_copy(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain_copy, value))
    return copy.deepcopy(value)


def read(record: Record) -> dict[str, Any]:
    """The state of a parameter: a torch ``state_dict``, or two under ``scheduler`` and ``optimizer``."""
    state: dict[str, Any] = record.rule.state_dict()
    if record.scheduler is not None:
        state = {"scheduler": record.scheduler.state_dict(), "optimizer": state}
    copied: dict[str, Any] = plain_copy(state)
    return copied


def checked(states: Any, expected: Expected, scheduled: bool | None) -> dict[str, dict[str, Any]]:
    """A copy of saved states by parameter name.

    Args:
        states: what :meth:`PyroOptim.get_state` returned.
        expected: what the optimizer takes.
        scheduled: whether the states must hold a scheduler's state too; None if either is possible.

    Raises:
        OptimizerError: if the states are not of that form.
    """
    if not isinstance(states, dict):
        raise OptimizerError(
            f"optimizer state must be a dictionary by parameter name, not {type(states).__name__}"
        )
    # Pyro files the state of parameters that have left the store under None.
    named = {name: state for name, state in states.items() if name is not None}
    for name, state in named.items():
        if not isinstance(name, str) or not isinstance(state, dict):
            raise OptimizerError(
                f"optimizer state must map parameter names to dictionaries; {name!r} does not"
            )
        has_scheduler = isinstance(state.get("scheduler"), dict) and isinstance(state.get("optimizer"), dict)
        if scheduled is False and "scheduler" in state:
            raise OptimizerError(
                f"the state of {name!r} was saved by an optimizer with a scheduler; load it into one "
                "(such as optim.ExponentialLR), or set_state({name: state['optimizer'], ...})"
            )
        if scheduled and not has_scheduler:
            raise OptimizerError(
                f"the state of {name!r} has no scheduler's part; it was saved by a plain optimizer"
            )
        _check_torch_state(name, state["optimizer"] if has_scheduler else state)
        expected.check(name, state["optimizer"] if has_scheduler else state)
    copied: dict[str, dict[str, Any]] = plain_copy(named)
    return copied


def _check_torch_state(name: str, state: dict[str, Any]) -> None:
    groups = state.get("param_groups")
    if not isinstance(state.get("state"), dict) or not isinstance(groups, list):
        raise OptimizerError(
            f"the state of {name!r} is no torch optimizer's: it lacks 'state' or 'param_groups'"
        )
    params = groups[0].get("params") if len(groups) == 1 and isinstance(groups[0], dict) else None
    if not isinstance(params, (list, tuple)) or len(params) != 1:
        raise OptimizerError(f"the state of {name!r} is not that of one parameter")


def fits(record: Record, expected: Expected, state: dict[str, Any]) -> None:
    """Compare a state with the parameter that it is for.

    Raises:
        OptimizerError: if the state does not fit.
    """
    optimizer = state if record.scheduler is None else state.get("optimizer")
    if isinstance(optimizer, dict) and record.name is not None:
        expected.check(record.name, optimizer, record.param)


def write(record: Record, state: dict[str, Any]) -> None:
    """Load a state into a parameter's record; on an error it is as it was.

    Raises:
        OptimizerError: if the state does not fit the optimizer or the parameter.
    """
    old_state, old_groups = record.rule.state, record.rule.param_groups
    old_scheduler = None if record.scheduler is None else plain_copy(record.scheduler.state_dict())
    loaded = plain_copy(state)
    try:
        if record.scheduler is not None:
            _check_scheduler(record, loaded["scheduler"])
            record.scheduler.load_state_dict(loaded["scheduler"])
            # Schedulers warn if they are stepped before that; in the process that saved, the optimizer has been.
            record.scheduler.optimizer._opt_called = True
            loaded = loaded["optimizer"]
        record.rule.load_state_dict(loaded)
        _keep_scalars(record, loaded)
        _check_options(record, old_groups[0])
        _check_shapes(record)
        record.follow()
    except Exception as error:
        record.rule.state, record.rule.param_groups = old_state, old_groups
        if record.scheduler is not None:
            record.scheduler.load_state_dict(old_scheduler)
        if isinstance(error, OptimizerError):
            raise
        kind = type(record.rule).__name__
        raise OptimizerError(
            f"the saved state of parameter {record.name!r} cannot be loaded into {kind}: {error}"
        ) from error


def _keep_scalars(record: Record, saved: dict[str, Any]) -> None:
    # torch casts all but `step` to the parameter's dtype, which changes the bits of these counts.
    if type(record.rule) in (torch.optim.ASGD, torch.optim.NAdam):
        state: dict[str, Tensor] = record.rule.state.get(record.param, {})
        for key, value in next(iter(saved["state"].values()), {}).items():
            if key in ("eta", "mu", "mu_product") and isinstance(value, Tensor):
                state[key] = value.to(state[key].device)


def _check_scheduler(record: Record, saved: dict[str, Any]) -> None:
    for key, now in record.scheduler.state_dict().items():
        if key in saved and not alike(saved[key], now):
            raise OptimizerError(
                f"the saved state of parameter {record.name!r} has {key}={saved[key]!r} for "
                f"{type(record.scheduler).__name__}, which keeps {now!r} there. Mend it, or take {record.name!r} "
                "out of the dictionary: its schedule then starts anew"
            )
    missing = [key for key in record.scheduler.state_dict() if not key.startswith("_") and key not in saved]
    if missing:
        kind = type(record.scheduler).__name__
        raise OptimizerError(
            f"the saved state of parameter {record.name!r} is not of {kind}: it lacks {', '.join(missing)}"
        )


def _check_options(record: Record, old_group: dict[str, Any]) -> None:
    group = record.rule.param_groups[0]
    missing = [key for key in record.rule.defaults if key in old_group and key not in group]
    if missing:
        kind = type(record.rule).__name__
        raise OptimizerError(
            f"the saved state of parameter {record.name!r} is of another optimizer than {kind}: "
            f"it lacks {', '.join(missing)}"
        )


def _keeps_shapes(rule: Optimizer) -> bool:
    # Adafactor stores factors of a matrix; foreign classes may store what they like.
    return type(rule).__module__.startswith("torch.optim") and not isinstance(rule, torch.optim.Adafactor)


def _check_shapes(record: Record) -> None:
    if not _keeps_shapes(record.rule):
        return
    for key, value in record.rule.state.get(record.param, {}).items():
        if isinstance(value, Tensor) and value.dim() and value.shape != record.param.shape:
            raise OptimizerError(
                f"the saved state of parameter {record.name!r} has {key} of shape {tuple(value.shape)}, "
                f"but the parameter has shape {tuple(record.param.shape)}"
            )
