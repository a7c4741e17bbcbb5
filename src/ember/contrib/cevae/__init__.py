"""The causal effect variational autoencoder: effects of a treatment where what confounds it is hidden.

C. Louizos, U. Shalit, J. Mooij, D. Sontag, R. Zemel and M. Welling (2017), *Causal effect inference with deep
latent-variable models*.
"""

from ember.contrib.cevae.effects import CEVAE as CEVAE
from ember.contrib.cevae.effects import logger as logger
from ember.contrib.cevae.elbo import TraceCausalEffect_ELBO as TraceCausalEffect_ELBO
from ember.contrib.cevae.nets import BernoulliNet as BernoulliNet
from ember.contrib.cevae.nets import DiagNormalNet as DiagNormalNet
from ember.contrib.cevae.nets import DistributionNet as DistributionNet
from ember.contrib.cevae.nets import ExponentialNet as ExponentialNet
from ember.contrib.cevae.nets import FullyConnected as FullyConnected
from ember.contrib.cevae.nets import LaplaceNet as LaplaceNet
from ember.contrib.cevae.nets import NormalNet as NormalNet
from ember.contrib.cevae.nets import PreWhitener as PreWhitener
from ember.contrib.cevae.nets import StudentTNet as StudentTNet
from ember.contrib.cevae.programs import Guide as Guide
from ember.contrib.cevae.programs import Model as Model

__all__ = [
    "BernoulliNet",
    "CEVAE",
    "DiagNormalNet",
    "DistributionNet",
    "ExponentialNet",
    "FullyConnected",
    "Guide",
    "LaplaceNet",
    "Model",
    "NormalNet",
    "PreWhitener",
    "StudentTNet",
    "TraceCausalEffect_ELBO",
    "logger",
]
