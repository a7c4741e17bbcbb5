"""Guides with parameters of their own for each site, independent of the others."""
