"""Families of densities, as values to draw from and to evaluate."""

from ember.infer.vi.families.couplings import Couplings as Couplings
from ember.infer.vi.families.family import Family as Family
from ember.infer.vi.families.low_rank import LowRankNormal as LowRankNormal
from ember.infer.vi.families.mixture import Mixture as Mixture
from ember.infer.vi.families.normal import Normal as Normal
from ember.infer.vi.families.normal import StudentT as StudentT
from ember.infer.vi.families.skewed import SinhArcsinh as SinhArcsinh
from ember.infer.vi.families.warped import Warped as Warped
