"""Gaussian processes as linear models: the Hilbert-space approximation, whose cost grows with rows times basis functions."""

from ember.contrib.hsgp.approximation import hsgp_matern as hsgp_matern
from ember.contrib.hsgp.approximation import hsgp_periodic_non_centered as hsgp_periodic_non_centered
from ember.contrib.hsgp.approximation import hsgp_squared_exponential as hsgp_squared_exponential
from ember.contrib.hsgp.approximation import linear_approximation as linear_approximation
from ember.contrib.hsgp.laplacian import eigenfunctions as eigenfunctions
from ember.contrib.hsgp.laplacian import eigenfunctions_periodic as eigenfunctions_periodic
from ember.contrib.hsgp.laplacian import eigenindices as eigenindices
from ember.contrib.hsgp.laplacian import sqrt_eigenvalues as sqrt_eigenvalues
from ember.contrib.hsgp.spectral_densities import diag_spectral_density_matern as diag_spectral_density_matern
from ember.contrib.hsgp.spectral_densities import (
    diag_spectral_density_periodic as diag_spectral_density_periodic,
)
from ember.contrib.hsgp.spectral_densities import (
    diag_spectral_density_squared_exponential as diag_spectral_density_squared_exponential,
)
from ember.contrib.hsgp.spectral_densities import spectral_density_matern as spectral_density_matern
from ember.contrib.hsgp.spectral_densities import (
    spectral_density_squared_exponential as spectral_density_squared_exponential,
)

__all__ = [
    "diag_spectral_density_matern",
    "diag_spectral_density_periodic",
    "diag_spectral_density_squared_exponential",
    "eigenfunctions",
    "eigenfunctions_periodic",
    "eigenindices",
    "hsgp_matern",
    "hsgp_periodic_non_centered",
    "hsgp_squared_exponential",
    "linear_approximation",
    "spectral_density_matern",
    "spectral_density_squared_exponential",
    "sqrt_eigenvalues",
]
