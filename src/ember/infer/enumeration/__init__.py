"""Exact sums over discrete variables: enumerating, factors, the objectives over them, discrete inference."""
