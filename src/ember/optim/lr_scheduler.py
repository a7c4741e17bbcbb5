"""Learning-rate schedulers for parameters that appear while a program runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.optim.arguments import Options
from ember.optim.optim import PyroOptim
from ember.optim.rule_table import RULES


class PyroLRScheduler(PyroOptim):
    """Steps parameters by a torch optimizer with a scheduler for each, which starts when it is first seen.

    Args:
        scheduler_constructor: a class of :mod:`torch.optim.lr_scheduler`, or a callable ``(optimizer,
            **options)``.
        optim_args: a dictionary with ``optimizer`` (a torch optimizer class) and ``optim_args`` (its options,
            or a function of the parameter's name); the rest are options of the scheduler. It is not changed.
            For schedulers made of schedulers, ``schedulers`` holds callables from an optimizer to a
            scheduler.
        clip_args: gradient clipping, as in :class:`PyroOptim`.

    Raises:
        KeyError: if ``optimizer`` or ``optim_args`` is missing.
        TypeError: if ``optimizer`` is an object instead of a class.

    Example:
        >>> import torch
        >>> from ember.optim import PyroLRScheduler
        >>> scheduler = PyroLRScheduler(
        ...     torch.optim.lr_scheduler.ExponentialLR,
        ...     {"optimizer": torch.optim.SGD, "optim_args": {"lr": 1.0}, "gamma": 0.5},
        ... )
        >>> w = torch.tensor(1.0, requires_grad=True)
        >>> w.grad = torch.tensor(1.0)
        >>> scheduler([w])
        >>> scheduler.step()
        >>> scheduler([w])
        >>> w
        tensor(-0.5000, requires_grad=True)
    """

    def __init__(
        self,
        scheduler_constructor: Callable[..., Any],
        optim_args: dict[str, Any],
        clip_args: Options | None = None,
    ) -> None:
        kwargs = dict(optim_args)
        for key in ("optimizer", "optim_args"):
            if key not in kwargs:
                raise KeyError(
                    f"optim_args of a scheduler needs {key!r}, for example "
                    "{'optimizer': torch.optim.Adam, 'optim_args': {'lr': 0.01}, ...}"
                )
        self.pt_scheduler_constructor = scheduler_constructor
        optim_constructor, inner_args = kwargs.pop("optimizer"), kwargs.pop("optim_args")
        _check_constructor(optim_constructor)
        self.kwargs = kwargs
        super().__init__(optim_constructor, inner_args, clip_args)

    def _get_optim_args(self, param: Tensor) -> dict[str, Any]:
        # A scheduler changes a learning rate that is a tensor in place: each parameter needs its own.
        args = super()._get_optim_args(param)
        return {key: value.clone() if isinstance(value, Tensor) else value for key, value in args.items()}

    def _get_optim(self, param: Tensor) -> Any:
        return self.schedule_of(super()._get_optim(param))

    def schedule_of(self, optimizer: Optimizer) -> Any:
        """Return a torch scheduler for a torch optimizer, with the options of this one."""
        kwargs = dict(self.kwargs)
        if "schedulers" in kwargs:
            kwargs["schedulers"] = [make(optimizer) for make in kwargs["schedulers"]]
            return self.pt_scheduler_constructor(optimizer=optimizer, **kwargs)
        return self.pt_scheduler_constructor(optimizer, **kwargs)

    @property
    def _keeps_optimizers(self) -> bool:
        kind = self.pt_scheduler_constructor
        of_torch = vars(torch.optim.lr_scheduler).get(getattr(kind, "__name__", "")) is kind
        overridden = type(self)._get_optim is not PyroLRScheduler._get_optim
        return (
            of_torch
            and not overridden
            and "schedulers" not in self.kwargs
            and self.pt_optim_constructor in RULES
        )

    def _expects_scheduler(self) -> bool | None:
        return True

    def step(self, *args: object, **kwargs: object) -> None:
        """Step the schedule of every parameter; arguments go to the torch scheduler.

        Args:
            *args: for example the loss, for ``ReduceLROnPlateau``.
        """
        for record in self.records:
            record.scheduler.step(*args, **kwargs)


def _check_constructor(constructor: object) -> None:
    if isinstance(constructor, (Optimizer, PyroOptim)) or not callable(constructor):
        raise TypeError(
            "'optimizer' of a scheduler is a class of torch.optim, since each parameter gets its own; got "
            f"an object of {type(constructor).__name__}: write "
            "{'optimizer': torch.optim.Adam, 'optim_args': {'lr': 0.01}, ...}"
        )
