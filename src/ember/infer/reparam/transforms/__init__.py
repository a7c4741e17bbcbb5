"""Reparameterisers that change coordinates by a transform, whatever the family."""
