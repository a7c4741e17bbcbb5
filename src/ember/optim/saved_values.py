"""What a saved state holds, against what its optimizer takes: a crafted or damaged one is told apart before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.errors import OptimizerError
from ember.optim.arguments import parameters_of
from ember.optim.rule_table import RULES
from ember.optim.rules.rule import Rule
from ember.optim.single_values import (
    WAY_OUT,
    Constructor,
    check_kind,
    check_number,
    has,
    short,
    wrong_number,
    wrong_tensor,
)

# Written into torch's groups by torch itself: by named parameters, and by schedulers.
_NO_OPTIONS = frozenset(
    {"params", "param_names", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum", "swa_lr"}
)
# They say how torch computes, which depends on the device; a trial would fail for another one.
_OF_THE_DEVICE = frozenset({"foreach", "fused", "capturable", "differentiable"})


class Expected:
    """What an optimizer's class takes.

    Args:
        kind: the class, or another callable that returns an optimizer, of which less is known.
    """

    def __init__(self, kind: Constructor) -> None:
        self.kind = kind
        self.name = getattr(kind, "__name__", type(kind).__name__)
        self.rule: Rule[Any, Any] | None = None
        self.defaults: Mapping[str, Any] = {}
        self.starts_with_state = False
        self._known_good: list[dict[str, Any]] = []
        if isinstance(kind, type) and (kind in RULES or vars(torch.optim).get(self.name) is kind):
            self.rule = RULES.get(kind)
            fresh = self._try({})
            self.defaults, self.starts_with_state = fresh.defaults, bool(fresh.state)

    def _try(self, options: Mapping[str, Any]) -> Optimizer:
        made: Optimizer = self.kind([torch.zeros((1, 1), requires_grad=True)], **options)
        return made

    def check(self, name: str, state: Mapping[str, Any], param: Tensor | None = None) -> None:
        """Compare a parameter's state, in torch's form, with what is expected.

        Args:
            name: the parameter's, for messages.
            state: a torch ``state_dict`` of one parameter.
            param: the parameter; without it, shapes are only compared with each other.

        Raises:
            OptimizerError: it names the parameter, the option or entry, its value, and the way out.
        """
        (group,) = state["param_groups"]
        options = {key: value for key, value in group.items() if key not in _NO_OPTIONS}
        if not any(_is_same(options, known) for known in self._known_good):
            self._check_options(name, options)
            self._known_good = [*self._known_good[-7:], options]
        check_number(name, "initial_lr", group.get("initial_lr", 0.0))
        self._check_entries(name, state["state"], group, param)

    def _check_options(self, name: str, options: Mapping[str, Any]) -> None:
        for key, value in options.items():
            if self.defaults and key not in self.defaults:
                raise OptimizerError(
                    f"{has(name, key, value)}. {self.name} has no such option: it takes {', '.join(self.defaults)}. "
                    "Load it into the optimizer that it was saved from"
                )
            check_number(name, key, value)
        if not self.defaults:
            return
        taken = {key: value for key, value in options.items() if key in parameters_of(self.kind)}
        for key, value in options.items():
            check_kind(name, self.kind, key, value, self.defaults[key])
            if key in taken:
                self._check_trial(name, {key: value})
        self._check_trial(name, taken)

    def _check_trial(self, name: str, options: Mapping[str, Any]) -> None:
        options = {key: value for key, value in options.items() if key not in _OF_THE_DEVICE}
        try:
            self._try(options)
        except (TypeError, ValueError, IndexError) as error:
            if len(options) == 1 and "requires" in str(error):
                return  # It needs another option, which the trial of all of them has.
            shown = ", ".join(f"{key}={value!r}" for key, value in options.items())
            raise OptimizerError(
                f"the saved state of parameter {name!r} has {shown}, which {self.name} does not take: {error}. "
                f"{WAY_OUT.format(name=name)}"
            ) from error

    def _check_entries(
        self, name: str, states: Mapping[Any, Any], group: Mapping[str, Any], param: Tensor | None
    ) -> None:
        foreign = [key for key in states if key not in group["params"]]
        if foreign:
            raise OptimizerError(
                f"the saved state of parameter {name!r} is of {foreign[0]!r} in 'state', but of "
                f"{group['params'][0]!r} in 'param_groups': its entries would be lost. {WAY_OUT.format(name=name)}"
            )
        values: Any = next(iter(states.values()), {})
        if not isinstance(values, dict):
            raise OptimizerError(
                f"{has(name, 'state', values)}. It must be a dictionary. {WAY_OUT.format(name=name)}"
            )
        if self.rule is None:
            return
        like = _stand_in(self.rule, values) if param is None else param.detach().to("meta")
        facts = {} if param is None else self.rule.facts_of(param, group)
        wanted = dict(
            zip(self.rule.fields, self.rule.init(like, self.rule.options_of(group, **facts)), strict=True)
        )
        shape = _entry_shape(self.rule, wanted, like)
        for problem in self._problems(
            wanted, values, shape, "the parameter" if param is not None else "another"
        ):
            raise OptimizerError(
                f"the saved state of parameter {name!r} {problem}. {WAY_OUT.format(name=name)}"
            )

    def _problems(
        self, wanted: Mapping[str, Tensor | None], values: Mapping[str, Any], shape: torch.Size, of: str
    ) -> Iterator[str]:
        assert self.rule is not None
        if values or self.starts_with_state:
            for key, example in wanted.items():
                if example is not None and values.get(key) is None:
                    yield f"lacks {key}, which every step of {self.name} reads: it has {', '.join(values) or 'nothing'}"
        for key, value in values.items():
            if key not in self.rule.fields:
                yield f"has {key}={short(value)}, which {self.name} does not keep: it keeps {', '.join(self.rule.fields)}"
            elif key in self.rule.numbers:
                yield from wrong_number(key, value, shape if self.rule.facts is not None else None)
            elif value is not None:
                yield from wrong_tensor(key, value, shape, of)


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    # A tensor of several numbers has no truth, a NaN is no NaN: such options are looked at again.
    values = [*one.values(), *other.values()]
    return not any(isinstance(value, Tensor) for value in values) and one == other


def _stand_in(rule: Rule[Any, Any], values: Mapping[str, Any]) -> Tensor:
    """For a parameter that has not been seen: what has the shape of the entries of its state."""
    for key in rule.fields:
        value = values.get(key)
        if key not in rule.numbers and isinstance(value, Tensor):
            return value.detach().to("meta")
    return torch.zeros((), device="meta")


def _entry_shape(rule: Rule[Any, Any], wanted: Mapping[str, Tensor | None], like: Tensor) -> torch.Size:
    # A time series may be kept as something longer than itself.
    for key, example in wanted.items():
        if example is not None and key not in rule.numbers:
            return example.shape
    return like.shape
