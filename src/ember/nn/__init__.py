"""Modules whose attributes are parameters and random variables, and small networks."""

from ember.distributions.networks.auto_reg_nn import AutoRegressiveNN as AutoRegressiveNN
from ember.distributions.networks.auto_reg_nn import (
    ConditionalAutoRegressiveNN as ConditionalAutoRegressiveNN,
)
from ember.distributions.networks.auto_reg_nn import MaskedLinear as MaskedLinear
from ember.distributions.networks.dense_nn import ConditionalDenseNN as ConditionalDenseNN
from ember.distributions.networks.dense_nn import DenseNN as DenseNN
from ember.nn.module import PyroModule as PyroModule
from ember.nn.module import PyroModuleList as PyroModuleList
from ember.nn.module import PyroParam as PyroParam
from ember.nn.module import PyroSample as PyroSample
from ember.nn.module import pyro_method as pyro_method

__all__ = [
    "AutoRegressiveNN",
    "ConditionalAutoRegressiveNN",
    "ConditionalDenseNN",
    "DenseNN",
    "MaskedLinear",
    "PyroModule",
    "PyroModuleList",
    "PyroParam",
    "PyroSample",
    "pyro_method",
]
