"""Reparameterisers that use a guide that was fitted before."""
