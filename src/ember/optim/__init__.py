"""Optimizers: one torch optimizer behind named parameters, with schedules and clipping."""

from ember.optim import multi as multi
from ember.optim.lr_scheduler import PyroLRScheduler as PyroLRScheduler
from ember.optim.optim import AdagradRMSProp as AdagradRMSProp
from ember.optim.optim import ClippedAdam as ClippedAdam
from ember.optim.optim import DCTAdam as DCTAdam
from ember.optim.optim import PyroOptim as PyroOptim
from ember.optim.optim import is_scheduler as is_scheduler
from ember.optim.pytorch_optimizers import ASGD as ASGD
from ember.optim.pytorch_optimizers import LBFGS as LBFGS
from ember.optim.pytorch_optimizers import SGD as SGD
from ember.optim.pytorch_optimizers import Adadelta as Adadelta
from ember.optim.pytorch_optimizers import Adafactor as Adafactor
from ember.optim.pytorch_optimizers import Adagrad as Adagrad
from ember.optim.pytorch_optimizers import Adam as Adam
from ember.optim.pytorch_optimizers import Adamax as Adamax
from ember.optim.pytorch_optimizers import AdamW as AdamW
from ember.optim.pytorch_optimizers import ChainedScheduler as ChainedScheduler
from ember.optim.pytorch_optimizers import ConstantLR as ConstantLR
from ember.optim.pytorch_optimizers import CosineAnnealingLR as CosineAnnealingLR
from ember.optim.pytorch_optimizers import CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts
from ember.optim.pytorch_optimizers import CyclicLR as CyclicLR
from ember.optim.pytorch_optimizers import ExponentialLR as ExponentialLR
from ember.optim.pytorch_optimizers import LambdaLR as LambdaLR
from ember.optim.pytorch_optimizers import LinearLR as LinearLR
from ember.optim.pytorch_optimizers import LRScheduler as LRScheduler
from ember.optim.pytorch_optimizers import MultiplicativeLR as MultiplicativeLR
from ember.optim.pytorch_optimizers import MultiStepLR as MultiStepLR
from ember.optim.pytorch_optimizers import Muon as Muon
from ember.optim.pytorch_optimizers import NAdam as NAdam
from ember.optim.pytorch_optimizers import OneCycleLR as OneCycleLR
from ember.optim.pytorch_optimizers import PolynomialLR as PolynomialLR
from ember.optim.pytorch_optimizers import RAdam as RAdam
from ember.optim.pytorch_optimizers import ReduceLROnPlateau as ReduceLROnPlateau
from ember.optim.pytorch_optimizers import RMSprop as RMSprop
from ember.optim.pytorch_optimizers import Rprop as Rprop
from ember.optim.pytorch_optimizers import SequentialLR as SequentialLR
from ember.optim.pytorch_optimizers import SparseAdam as SparseAdam
from ember.optim.pytorch_optimizers import StepLR as StepLR
from ember.optim.pytorch_optimizers import _LRScheduler as _LRScheduler

__all__ = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "AdagradRMSProp",
    "Adam",
    "AdamW",
    "Adamax",
    "ChainedScheduler",
    "ClippedAdam",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "DCTAdam",
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
    "PyroLRScheduler",
    "PyroOptim",
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
