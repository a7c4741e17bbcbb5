"""Families of densities, as values to draw from and to evaluate."""

from ember.infer.vi.families.family import Family as Family
from ember.infer.vi.families.mixture import Mixture as Mixture
from ember.infer.vi.families.normal import Normal as Normal
from ember.infer.vi.families.normal import StudentT as StudentT
