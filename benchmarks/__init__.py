"""Benchmarks: what a step costs, beside Pyro, NumPyro and a training loop written by hand."""
