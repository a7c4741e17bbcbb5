"""Parts of Bayesian neural networks."""

from ember.contrib.bnn.hidden_layer import HiddenLayer as HiddenLayer

__all__ = ["HiddenLayer"]
