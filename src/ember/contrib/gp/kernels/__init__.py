"""Covariance functions."""

from ember.contrib.gp.kernels.brownian import Brownian as Brownian
from ember.contrib.gp.kernels.coregionalize import Coregionalize as Coregionalize
from ember.contrib.gp.kernels.dot_product import DotProduct as DotProduct
from ember.contrib.gp.kernels.dot_product import Linear as Linear
from ember.contrib.gp.kernels.dot_product import Polynomial as Polynomial
from ember.contrib.gp.kernels.isotropic import RBF as RBF
from ember.contrib.gp.kernels.isotropic import Exponential as Exponential
from ember.contrib.gp.kernels.isotropic import Isotropy as Isotropy
from ember.contrib.gp.kernels.isotropic import Matern32 as Matern32
from ember.contrib.gp.kernels.isotropic import Matern52 as Matern52
from ember.contrib.gp.kernels.isotropic import RationalQuadratic as RationalQuadratic
from ember.contrib.gp.kernels.kernel import Combination as Combination
from ember.contrib.gp.kernels.kernel import Exponent as Exponent
from ember.contrib.gp.kernels.kernel import Kernel as Kernel
from ember.contrib.gp.kernels.kernel import Product as Product
from ember.contrib.gp.kernels.kernel import Sum as Sum
from ember.contrib.gp.kernels.kernel import Transforming as Transforming
from ember.contrib.gp.kernels.kernel import VerticalScaling as VerticalScaling
from ember.contrib.gp.kernels.kernel import Warping as Warping
from ember.contrib.gp.kernels.periodic import Cosine as Cosine
from ember.contrib.gp.kernels.periodic import Periodic as Periodic
from ember.contrib.gp.kernels.static import Constant as Constant
from ember.contrib.gp.kernels.static import WhiteNoise as WhiteNoise

__all__ = [
    "RBF",
    "Brownian",
    "Combination",
    "Constant",
    "Coregionalize",
    "Cosine",
    "DotProduct",
    "Exponent",
    "Exponential",
    "Isotropy",
    "Kernel",
    "Linear",
    "Matern32",
    "Matern52",
    "Periodic",
    "Polynomial",
    "Product",
    "RationalQuadratic",
    "Sum",
    "Transforming",
    "VerticalScaling",
    "Warping",
    "WhiteNoise",
]
