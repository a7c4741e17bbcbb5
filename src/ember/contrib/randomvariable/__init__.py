"""Arithmetic with random variables."""

from ember.contrib.randomvariable.random_variable import RandomVariable as RandomVariable

__all__ = ["RandomVariable"]
