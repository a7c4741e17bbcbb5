"""Temporary."""


def log_binomial(n, k, tol=0.0):
    return (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
