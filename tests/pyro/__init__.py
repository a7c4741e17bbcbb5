"""Tests of the drop-in for Pyro programs."""
