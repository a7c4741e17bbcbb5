"""Models of sequences: one latent sequence for all, or one for each that depends on a few factors."""

from ember.contrib.mue.models.factor_mue import Encoder as Encoder
from ember.contrib.mue.models.factor_mue import FactorMuE as FactorMuE
from ember.contrib.mue.models.profile_hmm import ProfileHMM as ProfileHMM

__all__ = ["Encoder", "FactorMuE", "ProfileHMM"]
