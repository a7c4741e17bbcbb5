"""Mutational emission: models of biological sequences of any length, without an alignment.

A latent sequence is copied letter by letter, with substitutions, insertions and deletions, and the copy is what is
seen. All copies are summed out by a hidden Markov model.

E. N. Weinstein, D. S. Marks (2021), *A structured observation distribution for generative biological sequence prediction
and forecasting*.
"""
