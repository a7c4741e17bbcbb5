"""Conjugate pairs of a latent and an observed variable."""
