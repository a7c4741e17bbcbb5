"""Guides that draw each site in the run of the model itself."""
