r"""Optimal experimental design: how much an experiment is expected to tell.

A model takes a design and says what may be observed. Its *targets* are the latent sites of interest. The expected
information gain of a design is the expected fall of their entropy, which is the mutual information of targets and
observations (D. Lindley, 1956):

.. math:: \mathrm{EIG}(d) = \mathbb{E}_{p(y \mid d)}\big[H[p(\theta)] - H[p(\theta \mid y, d)]\big].

The best design has the largest. Models take batches of designs, and plates make their rows independent:

>>> import torch, ember
>>> from ember import distributions as dist
>>> from ember.contrib.oed.eig import nmc_eig
>>> def model(design):
...     with ember.plate_stack("designs", design.shape[:-1]):
...         theta = ember.sample("theta", dist.Normal(0.0, 1.0))
...         y = ember.sample("y", dist.Normal(theta.unsqueeze(-1) * design, 1.0).to_event(1))
>>> _ = torch.manual_seed(0)
>>> designs = torch.tensor([[0.0], [3.0]])  # says nothing of theta; says log(10) / 2 = 1.15 nats
>>> eig = nmc_eig(model, designs, "y", "theta", N=2000, M=2000)
>>> bool(eig[0].abs() < 0.01), bool((eig[1] - 1.15).abs() < 0.1)
(True, True)

Estimators are in :mod:`ember.contrib.oed.eig`, linear models with their guides in :mod:`ember.contrib.oed.glmm`.

K. Chaloner, I. Verdinelli (1995), *Bayesian experimental design: a review*.
A. Foster and others (2019), *Variational Bayesian optimal experimental design*.
"""

from ember.contrib.oed import eig as eig
from ember.contrib.oed import search as search

__all__ = ["eig", "search"]
