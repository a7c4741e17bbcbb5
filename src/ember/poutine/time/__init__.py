"""Loops over time whose sites are sites of the whole path."""
