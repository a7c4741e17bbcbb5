"""A factory for every optimizer and scheduler of torch, under torch's own names."""

from __future__ import annotations

from typing import Any

import torch

from ember.optim.arguments import Options, options_in_a_dictionary
from ember.optim.lr_scheduler import PyroLRScheduler
from ember.optim.optim import PyroOptim


@options_in_a_dictionary
def ASGD(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Polyak and Juditsky (1992), averaged stochastic gradient descent."""
    return PyroOptim(torch.optim.ASGD, optim_args, clip_args)


@options_in_a_dictionary
def Adadelta(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Zeiler (2012), an adaptive learning rate from running averages of gradients and updates."""
    return PyroOptim(torch.optim.Adadelta, optim_args, clip_args)


@options_in_a_dictionary
def Adafactor(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Shazeer and Stern (2018), Adam with factored second moments for matrices."""
    return PyroOptim(torch.optim.Adafactor, optim_args, clip_args)


@options_in_a_dictionary
def Adagrad(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Duchi, Hazan and Singer (2011), step sizes from accumulated squared gradients."""
    return PyroOptim(torch.optim.Adagrad, optim_args, clip_args)


@options_in_a_dictionary
def Adam(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Kingma and Ba (2015), adaptive moments."""
    return PyroOptim(torch.optim.Adam, optim_args, clip_args)


@options_in_a_dictionary
def AdamW(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Loshchilov and Hutter (2019), Adam with decoupled weight decay."""
    return PyroOptim(torch.optim.AdamW, optim_args, clip_args)


@options_in_a_dictionary
def Adamax(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Kingma and Ba (2015), Adam with the infinity norm."""
    return PyroOptim(torch.optim.Adamax, optim_args, clip_args)


@options_in_a_dictionary
def Muon(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Jordan (2024), momentum orthogonalised by Newton-Schulz; for matrices only."""
    return PyroOptim(torch.optim.Muon, optim_args, clip_args)


@options_in_a_dictionary
def NAdam(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Dozat (2016), Adam with Nesterov momentum."""
    return PyroOptim(torch.optim.NAdam, optim_args, clip_args)


@options_in_a_dictionary
def RAdam(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Liu et al. (2020), Adam with a rectified variance."""
    return PyroOptim(torch.optim.RAdam, optim_args, clip_args)


@options_in_a_dictionary
def RMSprop(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Hinton (2012), gradients over their running root mean square."""
    return PyroOptim(torch.optim.RMSprop, optim_args, clip_args)


@options_in_a_dictionary
def Rprop(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Riedmiller and Braun (1993), steps from the signs of gradients."""
    return PyroOptim(torch.optim.Rprop, optim_args, clip_args)


@options_in_a_dictionary
def SGD(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Robbins and Monro (1951), gradient steps with optional momentum."""
    return PyroOptim(torch.optim.SGD, optim_args, clip_args)


@options_in_a_dictionary
def SparseAdam(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Adam for sparse gradients."""
    return PyroOptim(torch.optim.SparseAdam, optim_args, clip_args)


@options_in_a_dictionary
def LBFGS(optim_args: Options, clip_args: Options | None = None) -> PyroOptim:
    """Raises NotImplementedError, which says how to use :class:`torch.optim.LBFGS` with an objective."""
    return PyroOptim(torch.optim.LBFGS, optim_args, clip_args)


@options_in_a_dictionary
def ChainedScheduler(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Several schedules at once; ``schedulers`` holds callables from an optimizer to a scheduler."""
    return PyroLRScheduler(torch.optim.lr_scheduler.ChainedScheduler, optim_args, clip_args)


@options_in_a_dictionary
def ConstantLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """A factor on the learning rate for the first steps."""
    return PyroLRScheduler(torch.optim.lr_scheduler.ConstantLR, optim_args, clip_args)


@options_in_a_dictionary
def CosineAnnealingLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Loshchilov and Hutter (2017), a cosine without restarts."""
    return PyroLRScheduler(torch.optim.lr_scheduler.CosineAnnealingLR, optim_args, clip_args)


@options_in_a_dictionary
def CosineAnnealingWarmRestarts(
    optim_args: dict[str, Any], clip_args: Options | None = None
) -> PyroLRScheduler:
    """Loshchilov and Hutter (2017), a cosine with restarts."""
    return PyroLRScheduler(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, optim_args, clip_args)


@options_in_a_dictionary
def CyclicLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Smith (2017), a rate that goes up and down."""
    return PyroLRScheduler(torch.optim.lr_scheduler.CyclicLR, optim_args, clip_args)


@options_in_a_dictionary
def ExponentialLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """The rate shrinks by a factor every step."""
    return PyroLRScheduler(torch.optim.lr_scheduler.ExponentialLR, optim_args, clip_args)


@options_in_a_dictionary
def LRScheduler(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """The abstract base, for subclasses; it has no schedule of its own."""
    return PyroLRScheduler(torch.optim.lr_scheduler.LRScheduler, optim_args, clip_args)


@options_in_a_dictionary
def LambdaLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """The initial rate times a function of the step."""
    return PyroLRScheduler(torch.optim.lr_scheduler.LambdaLR, optim_args, clip_args)


@options_in_a_dictionary
def LinearLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """A factor that changes linearly."""
    return PyroLRScheduler(torch.optim.lr_scheduler.LinearLR, optim_args, clip_args)


@options_in_a_dictionary
def MultiStepLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """The rate shrinks at given steps."""
    return PyroLRScheduler(torch.optim.lr_scheduler.MultiStepLR, optim_args, clip_args)


@options_in_a_dictionary
def MultiplicativeLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """The rate times a function of the step, at every step."""
    return PyroLRScheduler(torch.optim.lr_scheduler.MultiplicativeLR, optim_args, clip_args)


@options_in_a_dictionary
def OneCycleLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """Smith and Topin (2019), one rise and one fall."""
    return PyroLRScheduler(torch.optim.lr_scheduler.OneCycleLR, optim_args, clip_args)


@options_in_a_dictionary
def PolynomialLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """A polynomial decay to zero."""
    return PyroLRScheduler(torch.optim.lr_scheduler.PolynomialLR, optim_args, clip_args)


@options_in_a_dictionary
def ReduceLROnPlateau(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """The rate shrinks when the metric given to ``step`` stops improving."""
    return PyroLRScheduler(torch.optim.lr_scheduler.ReduceLROnPlateau, optim_args, clip_args)


@options_in_a_dictionary
def SequentialLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """One schedule after another; ``schedulers`` holds callables from an optimizer to a scheduler."""
    return PyroLRScheduler(torch.optim.lr_scheduler.SequentialLR, optim_args, clip_args)


@options_in_a_dictionary
def StepLR(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """The rate shrinks every so many steps."""
    return PyroLRScheduler(torch.optim.lr_scheduler.StepLR, optim_args, clip_args)


@options_in_a_dictionary
def _LRScheduler(optim_args: dict[str, Any], clip_args: Options | None = None) -> PyroLRScheduler:
    """The abstract base under its old name."""
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
