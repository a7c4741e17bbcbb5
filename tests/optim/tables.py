"""Every optimizer and scheduler, with options that exercise it; the contract tests run over these tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.optim import lr_scheduler as sched

from ember.optim import adagrad_rmsprop, clipped_adam, dct_adam


class Rule(NamedTuple):
    """A torch optimizer class, options, and the gradients that it takes."""

    kind: Callable[..., Any]
    options: dict[str, Any]
    gradient: str = "dense"

    @property
    def label(self) -> str:
        return "-".join([self.kind.__name__, *self.options])


RULES = [
    Rule(torch.optim.Adadelta, {"lr": 0.5}),
    Rule(torch.optim.Adafactor, {"lr": 0.05}),
    Rule(torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.01}),
    Rule(torch.optim.Adam, {"lr": 0.05}),
    Rule(torch.optim.Adam, {"lr": 0.05, "amsgrad": True, "weight_decay": 0.01}),
    Rule(torch.optim.Adam, {"lr": 0.05, "foreach": False}),
    Rule(torch.optim.Adam, {"lr": torch.tensor(0.05)}),
    Rule(torch.optim.AdamW, {"lr": 0.05, "maximize": True}),
    Rule(torch.optim.Adamax, {"lr": 0.05}),
    Rule(torch.optim.ASGD, {"lr": 0.05, "t0": 10.0}),
    Rule(torch.optim.Muon, {"lr": 0.05}, "matrix"),
    Rule(torch.optim.NAdam, {"lr": 0.05}),
    Rule(torch.optim.RAdam, {"lr": 0.05}),
    Rule(torch.optim.RMSprop, {"lr": 0.05, "momentum": 0.5, "centered": True}),
    Rule(torch.optim.Rprop, {"lr": 0.05}),
    Rule(torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    Rule(torch.optim.SGD, {"lr": 0.05}, "sparse"),
    Rule(torch.optim.Adagrad, {"lr": 0.05}, "sparse"),
    Rule(torch.optim.SparseAdam, {"lr": 0.05}, "sparse"),
    Rule(clipped_adam.ClippedAdam, {"lr": 0.05, "lrd": 0.99, "clip_norm": 0.5, "weight_decay": 0.01}),
    Rule(clipped_adam.ClippedAdam, {"lr": 0.05, "centered_variance": True}),
    Rule(adagrad_rmsprop.AdagradRMSProp, {"eta": 0.2}),
    Rule(dct_adam.DCTAdam, {"lr": 0.05, "lrd": 0.99}),
]


class Schedule(NamedTuple):
    """A torch scheduler class, options, and what its step is given."""

    kind: Callable[..., Any]
    options: dict[str, Any]
    metric: bool = False


SCHEDULES = [
    Schedule(sched.ConstantLR, {"total_iters": 3}),
    Schedule(sched.CosineAnnealingLR, {"T_max": 5}),
    Schedule(sched.CosineAnnealingWarmRestarts, {"T_0": 3}),
    Schedule(sched.CyclicLR, {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}),
    Schedule(sched.ExponentialLR, {"gamma": 0.8}),
    Schedule(sched.LambdaLR, {"lr_lambda": lambda epoch: 0.9**epoch}),
    Schedule(sched.LinearLR, {"total_iters": 4}),
    Schedule(sched.MultiStepLR, {"milestones": [2, 4]}),
    Schedule(sched.MultiplicativeLR, {"lr_lambda": lambda epoch: 0.9}),
    Schedule(sched.OneCycleLR, {"max_lr": 0.2, "total_steps": 20}),
    Schedule(sched.PolynomialLR, {"total_iters": 10}),
    Schedule(sched.ReduceLROnPlateau, {"patience": 1}, metric=True),
    Schedule(sched.StepLR, {"step_size": 2}),
    Schedule(
        sched.SequentialLR,
        {
            "schedulers": [
                partial(sched.ConstantLR, factor=0.5, total_iters=2),
                partial(sched.ExponentialLR, gamma=0.9),
            ],
            "milestones": [3],
        },
    ),
    Schedule(
        sched.ChainedScheduler,
        {"schedulers": [partial(sched.LinearLR, total_iters=4), partial(sched.ExponentialLR, gamma=0.9)]},
    ),
]
