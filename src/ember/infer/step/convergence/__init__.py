"""Have stochastic iterates become stationary, and how well is their average known? Pure functions of arrays of iterates."""
