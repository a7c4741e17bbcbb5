"""The log joint density of a model and its score, at rows of unconstrained coordinates."""
