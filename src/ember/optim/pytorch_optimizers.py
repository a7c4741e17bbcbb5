"""A factory for every optimizer and scheduler of torch, under torch's own names."""

from __future__ import annotations

from typing import Any

import torch

from ember.optim.arguments import Options, options_in_a_dictionary
from ember.optim.lr_scheduler import PyroLRScheduler
from ember.optim.optim import PyroOptim


@options_in_a_dictionary
def ASGD(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make ASGD: averaged stochastic gradient descent (Polyak and Juditsky, 1992).

    ``optim_args``: options of :class:`torch.optim.ASGD`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.ASGD, optim_args, clip_args)


@options_in_a_dictionary
def Adadelta(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make Adadelta: an adaptive rate from averages of gradients and updates (Zeiler, 2012).

    ``optim_args``: options of :class:`torch.optim.Adadelta`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.Adadelta, optim_args, clip_args)


@options_in_a_dictionary
def Adafactor(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make Adafactor: Adam with factored second moments for matrices (Shazeer and Stern, 2018).

    ``optim_args``: options of :class:`torch.optim.Adafactor`; ``clip_args``: clipping. See
    :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.Adafactor, optim_args, clip_args)


@options_in_a_dictionary
def Adagrad(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make Adagrad: step sizes from accumulated squared gradients (Duchi, Hazan and Singer, 2011).

    ``optim_args``: options of :class:`torch.optim.Adagrad`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.Adagrad, optim_args, clip_args)


@options_in_a_dictionary
def Adam(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make Adam: adaptive moments (Kingma and Ba, 2015).

    ``optim_args``: options of :class:`torch.optim.Adam`; ``clip_args``: clipping. See :class:`PyroOptim`.

    >>> import ember
    >>> adam = ember.optim.Adam({"lr": 0.01}, clip_args={"clip_norm": 10.0})
    >>> by_name = ember.optim.Adam(lambda name: {"lr": 0.1 if name.endswith("scale") else 0.01})
    """
    return PyroOptim(torch.optim.Adam, optim_args, clip_args)


@options_in_a_dictionary
def AdamW(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    ``optim_args``: options of :class:`torch.optim.AdamW`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.AdamW, optim_args, clip_args)


@options_in_a_dictionary
def Adamax(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make Adamax: Adam with the infinity norm (Kingma and Ba, 2015).

    ``optim_args``: options of :class:`torch.optim.Adamax`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.Adamax, optim_args, clip_args)


@options_in_a_dictionary
def Muon(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make Muon: momentum orthogonalised by Newton-Schulz (Jordan, 2024); for matrices only.

    ``optim_args``: options of :class:`torch.optim.Muon`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.Muon, optim_args, clip_args)


@options_in_a_dictionary
def NAdam(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make NAdam: Adam with Nesterov momentum (Dozat, 2016).

    ``optim_args``: options of :class:`torch.optim.NAdam`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.NAdam, optim_args, clip_args)


@options_in_a_dictionary
def RAdam(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make RAdam: Adam with a rectified variance (Liu et al., 2020).

    ``optim_args``: options of :class:`torch.optim.RAdam`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.RAdam, optim_args, clip_args)


@options_in_a_dictionary
def RMSprop(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make RMSprop: gradients over their running root mean square (Hinton, 2012).

    ``optim_args``: options of :class:`torch.optim.RMSprop`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.RMSprop, optim_args, clip_args)


@options_in_a_dictionary
def Rprop(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make Rprop: steps from the signs of gradients (Riedmiller and Braun, 1993).

    ``optim_args``: options of :class:`torch.optim.Rprop`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.Rprop, optim_args, clip_args)


@options_in_a_dictionary
def SGD(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make SGD: gradient steps with optional momentum (Robbins and Monro, 1951).

    ``optim_args``: options of :class:`torch.optim.SGD`; ``clip_args``: clipping. See :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.SGD, optim_args, clip_args)


@options_in_a_dictionary
def SparseAdam(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Make SparseAdam: Adam for sparse gradients.

    ``optim_args``: options of :class:`torch.optim.SparseAdam`; ``clip_args``: clipping. See
    :class:`PyroOptim`.
    """
    return PyroOptim(torch.optim.SparseAdam, optim_args, clip_args)


@options_in_a_dictionary
def LBFGS(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Raises NotImplementedError, which says how to use :class:`torch.optim.LBFGS` with an objective."""
    return PyroOptim(torch.optim.LBFGS, optim_args, clip_args)


@options_in_a_dictionary
def ChainedScheduler(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with several schedules at once.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`. ``schedulers`` holds callables from an optimizer to a scheduler.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.ChainedScheduler, optim_args, clip_args)


@options_in_a_dictionary
def ConstantLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with a factor on the learning rate for the first steps.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.ConstantLR, optim_args, clip_args)


@options_in_a_dictionary
def CosineAnnealingLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with a cosine without restarts (Loshchilov and Hutter, 2017).

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.CosineAnnealingLR, optim_args, clip_args)


@options_in_a_dictionary
def CosineAnnealingWarmRestarts(
    optim_args: dict[str, Any], clip_args: Options | None = None
) -> PyroLRScheduler:
    """Make an optimizer with a cosine with restarts (Loshchilov and Hutter, 2017).

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, optim_args, clip_args)


@options_in_a_dictionary
def CyclicLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with a rate that goes up and down (Smith, 2017).

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.CyclicLR, optim_args, clip_args)


@options_in_a_dictionary
def ExponentialLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with a rate that shrinks by the factor ``gamma`` at every step.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.ExponentialLR, optim_args, clip_args)


@options_in_a_dictionary
def LRScheduler(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make the abstract base, for subclasses; it has no schedule of its own."""
    return PyroLRScheduler(torch.optim.lr_scheduler.LRScheduler, optim_args, clip_args)


@options_in_a_dictionary
def LambdaLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with the initial rate times a function of the step.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.LambdaLR, optim_args, clip_args)


@options_in_a_dictionary
def LinearLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with a factor that changes linearly.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.LinearLR, optim_args, clip_args)


@options_in_a_dictionary
def MultiStepLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with a rate that shrinks at given steps.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.MultiStepLR, optim_args, clip_args)


@options_in_a_dictionary
def MultiplicativeLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with the rate times a function of the step, at every step.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.MultiplicativeLR, optim_args, clip_args)


@options_in_a_dictionary
def OneCycleLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with one rise and one fall (Smith and Topin, 2019).

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.OneCycleLR, optim_args, clip_args)


@options_in_a_dictionary
def PolynomialLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with a polynomial decay to zero.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.PolynomialLR, optim_args, clip_args)


@options_in_a_dictionary
def ReduceLROnPlateau(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with a rate that shrinks when the metric given to ``step`` gets no better.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.ReduceLROnPlateau, optim_args, clip_args)


@options_in_a_dictionary
def SequentialLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with one schedule after another.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`. ``schedulers`` holds callables from an optimizer to a scheduler.
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.SequentialLR, optim_args, clip_args)


@options_in_a_dictionary
def StepLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make an optimizer with a rate that shrinks every ``step_size`` steps.

    ``optim_args``: ``optimizer``, its ``optim_args`` and options of torch's schedule. ``clip_args``:
    clipping. See :class:`PyroLRScheduler`.

    >>> import torch, ember
    >>> options = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.01}, "step_size": 100, "gamma": 0.5}
    >>> scheduler = ember.optim.StepLR(options)  # half the rate after each hundredth call of scheduler.step()
    """
    return PyroLRScheduler(torch.optim.lr_scheduler.StepLR, optim_args, clip_args)


@options_in_a_dictionary
def _LRScheduler(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Make the abstract base under its old name."""
    return PyroLRScheduler(torch.optim.lr_scheduler._LRScheduler, optim_args, clip_args)


# LBFGS is left out, as in Pyro: it cannot be used with SVI.
__all__ = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "Muon",
    "NAdam",
    "OneCycleLR",
    "PolynomialLR",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "Rprop",
    "SGD",
    "SequentialLR",
    "SparseAdam",
    "StepLR",
    "_LRScheduler",
]
