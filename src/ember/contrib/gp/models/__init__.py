"""Gaussian process models: exact, sparse, variational, and of latent inputs."""

from ember.contrib.gp.models.gplvm import GPLVM as GPLVM
from ember.contrib.gp.models.gpr import GPRegression as GPRegression
from ember.contrib.gp.models.model import GPModel as GPModel
from ember.contrib.gp.models.sgpr import SparseGPRegression as SparseGPRegression
from ember.contrib.gp.models.vgp import VariationalGP as VariationalGP
from ember.contrib.gp.models.vsgp import VariationalSparseGP as VariationalSparseGP

__all__ = ["GPLVM", "GPModel", "GPRegression", "SparseGPRegression", "VariationalGP", "VariationalSparseGP"]
