"""What forecasts are made with, under the path that programs know: handlers, and distributions laid out otherwise."""

from ember.contrib.forecast.batches import UNIVARIATE_DISTS as UNIVARIATE_DISTS
from ember.contrib.forecast.batches import reshape_batch as reshape_batch
from ember.contrib.forecast.coefficients import MarkDCTParamMessenger as MarkDCTParamMessenger
from ember.contrib.forecast.coefficients import time_reparam_dct as time_reparam_dct
from ember.contrib.forecast.coefficients import time_reparam_haar as time_reparam_haar
from ember.contrib.forecast.elementwise import UNIVARIATE_TRANSFORMS as UNIVARIATE_TRANSFORMS
from ember.contrib.forecast.elementwise import reshape_transform_batch as reshape_transform_batch
from ember.contrib.forecast.prefix_condition import prefix_condition as prefix_condition
from ember.contrib.forecast.prefixes import PrefixConditionMessenger as PrefixConditionMessenger
from ember.contrib.forecast.prefixes import PrefixReplayMessenger as PrefixReplayMessenger
from ember.contrib.forecast.prefixes import PrefixWarmStartMessenger as PrefixWarmStartMessenger

__all__ = [
    "UNIVARIATE_DISTS",
    "UNIVARIATE_TRANSFORMS",
    "MarkDCTParamMessenger",
    "PrefixConditionMessenger",
    "PrefixReplayMessenger",
    "PrefixWarmStartMessenger",
    "prefix_condition",
    "reshape_batch",
    "reshape_transform_batch",
    "time_reparam_dct",
    "time_reparam_haar",
]
