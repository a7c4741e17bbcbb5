"""Guides over one vector of all latent sites, in unconstrained space."""
