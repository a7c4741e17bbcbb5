"""One row a flow: how to make it, the shape of an event, and what Pyro has after a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ember.distributions import transforms as T
from ember.nn import DenseNN

PERMUTATION = torch.tensor([2, 0, 1])


class Row(NamedTuple):
    name: str
    make: Callable[[], Any]
    shape: tuple[int, ...]
    inverse: bool = True
    conditional: bool = False


def _spline_coupling() -> Any:
    return T.SplineCoupling(5, 2, DenseNN(2, [10], [15, 15, 12]), 5, 3.0, "quadratic", identity=True)


ROWS = [
    Row("affine_autoregressive", lambda: T.affine_autoregressive(4), (4,)),
    Row("affine_autoregressive-stable", lambda: T.affine_autoregressive(4, [9, 8], stable=True), (4,)),
    Row("affine_coupling", lambda: T.affine_coupling(5), (5,)),
    Row("affine_coupling-2", lambda: T.affine_coupling([4, 3], dim=-2), (4, 3)),
    Row("block_autoregressive", lambda: T.block_autoregressive(3), (3,), inverse=False),
    Row(
        "block_autoregressive-normal",
        lambda: T.block_autoregressive(3, hidden_factors=[4], residual="normal", activation="ELU"),
        (3,),
        inverse=False,
    ),
    Row(
        "block_autoregressive-gated",
        lambda: T.block_autoregressive(3, residual="gated", activation="LeakyReLU"),
        (3,),
        inverse=False,
    ),
    Row("generalized_channel_permute", lambda: T.generalized_channel_permute(channels=3), (3, 2, 2)),
    Row(
        "generalized_channel_permute-given",
        lambda: T.GeneralizedChannelPermute(3, PERMUTATION),
        (3, 1, 2),
    ),
    Row("householder", lambda: T.householder(4), (4,)),
    Row("matrix_exponential", lambda: T.matrix_exponential(4, iterations=20), (4,)),
    Row("neural_autoregressive", lambda: T.neural_autoregressive(4), (4,), inverse=False),
    Row(
        "neural_autoregressive-ELU",
        lambda: T.neural_autoregressive(4, [7], activation="ELU", width=5),
        (4,),
        inverse=False,
    ),
    Row("planar", lambda: T.planar(4), (4,), inverse=False),
    Row("polynomial", lambda: T.polynomial(3), (3,), inverse=False),
    Row("radial", lambda: T.radial(4), (4,), inverse=False),
    Row("spline", lambda: T.spline(3), (3,)),
    Row("spline-quadratic", lambda: T.spline(3, order="quadratic", count_bins=5, bound=2.0), (3,)),
    Row("spline_autoregressive", lambda: T.spline_autoregressive(3), (3,)),
    Row(
        "spline_autoregressive-quadratic",
        lambda: T.spline_autoregressive(3, [10], order="quadratic", count_bins=4),
        (3,),
    ),
    Row("spline_coupling", lambda: T.spline_coupling(5), (5,)),
    Row("spline_coupling-quadratic", _spline_coupling, (5,)),
    Row("sylvester", lambda: T.sylvester(4), (4,), inverse=False),
    Row(
        "conditional_affine_autoregressive",
        lambda: T.conditional_affine_autoregressive(4, 2),
        (4,),
        conditional=True,
    ),
    Row("conditional_affine_coupling", lambda: T.conditional_affine_coupling(5, 2), (5,), conditional=True),
    Row(
        "conditional_generalized_channel_permute",
        lambda: T.conditional_generalized_channel_permute(2, channels=3),
        (3, 2, 2),
        conditional=True,
    ),
    Row(
        "conditional_householder",
        lambda: T.conditional_householder(4, 2, count_transforms=2),
        (4,),
        conditional=True,
    ),
    Row(
        "conditional_matrix_exponential",
        lambda: T.conditional_matrix_exponential(4, 2, iterations=25),
        (4,),
        conditional=True,
    ),
    Row(
        "conditional_neural_autoregressive",
        lambda: T.conditional_neural_autoregressive(4, 2, activation="tanh"),
        (4,),
        inverse=False,
        conditional=True,
    ),
    Row("conditional_planar", lambda: T.conditional_planar(4, 2), (4,), inverse=False, conditional=True),
    Row("conditional_radial", lambda: T.conditional_radial(4, 2), (4,), inverse=False, conditional=True),
    Row("conditional_spline", lambda: T.conditional_spline(3, 2), (3,), conditional=True),
    Row(
        "conditional_spline-quadratic",
        lambda: T.conditional_spline(3, 2, [7], order="quadratic"),
        (3,),
        conditional=True,
    ),
    Row(
        "conditional_spline_autoregressive",
        lambda: T.conditional_spline_autoregressive(3, 2),
        (3,),
        conditional=True,
    ),
]
BY_NAME = {row.name: row for row in ROWS}


#: Sums of images and of log determinants by pyro-ppl 1.9.2, for seed 3: the flow is made first, then a context, then six events.
SEEDED = {
    "affine_autoregressive": (4.1352, -1.1710),
    "affine_autoregressive-stable": (6.6452, -2.9187),
    "affine_coupling": (-3.6715, -3.9957),
    "affine_coupling-2": (-5.9569, 2.4203),
    "block_autoregressive": (-0.0685, -18.3855),
    "block_autoregressive-normal": (4.9391, 2.2110),
    "block_autoregressive-gated": (1.6177, -4.4334),
    "generalized_channel_permute": (-10.2830, 0.0000),
    "generalized_channel_permute-given": (-8.4380, 0.0000),
    "householder": (0.4920, 0.0000),
    "matrix_exponential": (-2.2466, -6.1511),
    "neural_autoregressive": (-2.6976, -8.3224),
    "neural_autoregressive-ELU": (5.0658, -9.7067),
    "planar": (4.8843, -1.6203),
    "polynomial": (-14.5803, -30.7091),
    "radial": (2.3084, 0.3792),
    "spline": (0.4081, -15.1903),
    "spline-quadratic": (7.1082, -6.5321),
    "spline_autoregressive": (3.2733, -1.8284),
    "spline_coupling": (16.1710, -12.1678),
    "spline_coupling-quadratic": (-9.4346, -6.2777),
    "sylvester": (1.7891, -0.0005),
    "conditional_affine_autoregressive": (-12.9922, -1.7461),
    "conditional_affine_coupling": (-4.1023, 0.3854),
    "conditional_generalized_channel_permute": (1.2609, -165.5649),
    "conditional_householder": (-5.5679, 0.0000),
    "conditional_matrix_exponential": (1.7475, 1.5612),
    "conditional_neural_autoregressive": (1.7084, -9.8836),
    "conditional_planar": (7.6779, -2.0419),
    "conditional_radial": (-0.2466, 1.4291),
    "conditional_spline": (-1.1215, -1.4806),
    "conditional_spline-quadratic": (0.6145, -9.5745),
    "conditional_spline_autoregressive": (-2.1767, 0.6804),
}
