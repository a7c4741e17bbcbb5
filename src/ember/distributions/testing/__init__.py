"""Distributions and checks for tests."""
