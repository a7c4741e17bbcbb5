"""Families that hide that they can be reparameterised, so that tests reach the score function estimator."""

from __future__ import annotations

from ember.distributions.torch import Beta, Dirichlet, Gamma, Normal


class NonreparameterizedBeta(Beta):
    """A beta distribution without pathwise gradients."""

    has_rsample = False


class NonreparameterizedDirichlet(Dirichlet):
    """A Dirichlet distribution without pathwise gradients."""

    has_rsample = False


class NonreparameterizedGamma(Gamma):
    """A gamma distribution without pathwise gradients."""

    has_rsample = False


class NonreparameterizedNormal(Normal):
    """A normal distribution without pathwise gradients."""

    has_rsample = False
