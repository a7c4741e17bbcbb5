"""The path of :mod:`ember.distributions.random_variable` in ``contrib``."""

from ember.distributions.random_variable import RandomVariable as RandomVariable
from ember.distributions.random_variable import RVChainOps as RVChainOps
from ember.distributions.random_variable import RVMagicOps as RVMagicOps

__all__ = ["RVChainOps", "RVMagicOps", "RandomVariable"]
