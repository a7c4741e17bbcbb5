"""Gaussian factors: one by one, as noisy affine functions, and in chains."""

from __future__ import annotations

from ember.ops.affine_normal import AffineNormal as AffineNormal
from ember.ops.affine_normal import matrix_and_mvn_to_gaussian as matrix_and_mvn_to_gaussian
from ember.ops.gaussian_chains import gaussian_tensordot as gaussian_tensordot
from ember.ops.gaussian_chains import sequential_gaussian_filter_sample as sequential_gaussian_filter_sample
from ember.ops.gaussian_chains import sequential_gaussian_tensordot as sequential_gaussian_tensordot
from ember.ops.information_form import Gaussian as Gaussian
from ember.ops.information_form import matrix_and_gaussian_to_gaussian as matrix_and_gaussian_to_gaussian
from ember.ops.information_form import mvn_to_gaussian as mvn_to_gaussian

__all__ = [
    "AffineNormal",
    "Gaussian",
    "gaussian_tensordot",
    "matrix_and_gaussian_to_gaussian",
    "matrix_and_mvn_to_gaussian",
    "mvn_to_gaussian",
    "sequential_gaussian_filter_sample",
    "sequential_gaussian_tensordot",
]
