"""Time series as linear Gaussian state space models: O(log T) steps by parallel scans."""

from ember.contrib.timeseries.base import TimeSeriesModel as TimeSeriesModel
from ember.contrib.timeseries.gp import DependentMaternGP as DependentMaternGP
from ember.contrib.timeseries.gp import IndependentMaternGP as IndependentMaternGP
from ember.contrib.timeseries.gp import LinearlyCoupledMaternGP as LinearlyCoupledMaternGP
from ember.contrib.timeseries.lgssm import GenericLGSSM as GenericLGSSM
from ember.contrib.timeseries.lgssmgp import GenericLGSSMWithGPNoiseModel as GenericLGSSMWithGPNoiseModel

__all__ = [
    "DependentMaternGP",
    "GenericLGSSM",
    "GenericLGSSMWithGPNoiseModel",
    "IndependentMaternGP",
    "LinearlyCoupledMaternGP",
    "TimeSeriesModel",
]
