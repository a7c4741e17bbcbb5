"""Traces of model and guide, matched, and checked against each other."""
