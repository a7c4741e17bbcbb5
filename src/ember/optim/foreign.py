"""Torch optimizers as Ember runs them: one shell of a class, around the parameters, options and state that are given to it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Options = dict[str, Any]
"""Options of one parameter as torch has them in ``param_groups``."""

# Classes whose update of a parameter depends on that parameter alone. A foreign class says so by an attribute
# `parameterwise = True` of its own; without it, and with subclasses, every parameter's optimizer is stepped
# by itself.
PARAMETERWISE: frozenset[type[Optimizer]] = frozenset(
    {
        torch.optim.Adadelta,
        torch.optim.Adafactor,
        torch.optim.Adagrad,
        torch.optim.Adam,
        torch.optim.AdamW,
        torch.optim.Adamax,
        torch.optim.ASGD,
        torch.optim.Muon,
        torch.optim.NAdam,
        torch.optim.RAdam,
        torch.optim.RMSprop,
        torch.optim.Rprop,
        torch.optim.SGD,
        torch.optim.SparseAdam,
    }
)
_HOOKS = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


def updates_each_parameter(kind: type[Optimizer]) -> bool:
    """Whether the update of a parameter depends on that parameter alone.

    >>> updates_each_parameter(torch.optim.Adam)
    True
    """
    return kind in PARAMETERWISE or bool(vars(kind).get("parameterwise", False))


def has_hooks(rule: Optimizer) -> bool:
    """Whether functions are to be called around the step of an optimizer."""
    return bool(rule._optimizer_step_pre_hooks or rule._optimizer_step_post_hooks)


def shell(template: Optimizer, groups: list[Options], state: Mapping[Tensor, Any]) -> Optimizer:
    """An optimizer of the template's class and attributes, without its hooks, that works on these options and this state."""
    kind = type(template)
    made: Any = kind.__new__(kind)
    # A scheduler replaces the bound `step` of the optimizer that it watches.
    made.__dict__.update({key: value for key, value in vars(template).items() if key != "step"})
    made.__dict__.update({name: OrderedDict() for name in _HOOKS})
    made.param_groups = groups
    made.state = state
    optimizer: Optimizer = made
    return optimizer
