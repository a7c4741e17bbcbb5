"""Reparameterisers of one family of distributions each."""
