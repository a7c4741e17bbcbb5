"""Twelve compartmental models, to be used as they are or as examples for one's own."""

from ember.contrib.epidemiology.models.regional import (
    HeterogeneousRegionalSIRModel as HeterogeneousRegionalSIRModel,
)
from ember.contrib.epidemiology.models.regional import RegionalSIRModel as RegionalSIRModel
from ember.contrib.epidemiology.models.seir import OverdispersedSEIRModel as OverdispersedSEIRModel
from ember.contrib.epidemiology.models.seir import SimpleSEIRDModel as SimpleSEIRDModel
from ember.contrib.epidemiology.models.seir import SimpleSEIRModel as SimpleSEIRModel
from ember.contrib.epidemiology.models.seir import SuperspreadingSEIRModel as SuperspreadingSEIRModel
from ember.contrib.epidemiology.models.sir import HeterogeneousSIRModel as HeterogeneousSIRModel
from ember.contrib.epidemiology.models.sir import OverdispersedSIRModel as OverdispersedSIRModel
from ember.contrib.epidemiology.models.sir import SimpleSIRModel as SimpleSIRModel
from ember.contrib.epidemiology.models.sir import SparseSIRModel as SparseSIRModel
from ember.contrib.epidemiology.models.sir import SuperspreadingSIRModel as SuperspreadingSIRModel
from ember.contrib.epidemiology.models.sir import UnknownStartSIRModel as UnknownStartSIRModel

__all__ = [
    "HeterogeneousRegionalSIRModel",
    "HeterogeneousSIRModel",
    "OverdispersedSEIRModel",
    "OverdispersedSIRModel",
    "RegionalSIRModel",
    "SimpleSEIRDModel",
    "SimpleSEIRModel",
    "SimpleSIRModel",
    "SparseSIRModel",
    "SuperspreadingSEIRModel",
    "SuperspreadingSIRModel",
    "UnknownStartSIRModel",
]
