"""The data of the benchmark's models, the same for every contender: made from fixed seeds or published."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What the eager benchmark runs; the compiled one takes all that have a title.
MODELS = ("beta_bernoulli", "eight_schools", "logistic_regression", "scalar_sites", "vae")

TITLES = {
    "beta_bernoulli": "Beta-Bernoulli",
    "eight_schools": "eight schools",
    "logistic_regression": "logistic regression 10,000 x 50",
    "scalar_sites": "100 scalar sites",
    "vae": "small VAE (batch of 128)",
    "logistic_batches": "the same, batches of 256",
    "linear_mixed": "linear mixed model, 1,000 groups, 20,000 rows",
    "scalar_sites_300": "300 scalar sites",
    "scalar_sites_1000": "1,000 scalar sites",
    "many_parameters": "1,000 parameters under Adam",
    "mixture": "Gaussian mixture, enumerated, 10 components, 10,000 rows",
    "hidden_markov": "hidden Markov model, enumerated, 16 states, 200 steps, 50 sequences",
    "belief_net": "sigmoid belief net, TraceGraph_ELBO",
    "vae_importance": "small VAE, 10 importance samples",
    "eight_schools_auto_normal": "eight schools, AutoNormal",
    "eight_schools_auto_mvn": "eight schools, AutoMultivariateNormal",
    "hierarchical_module": "hierarchical regression, PyroModule, 100 groups, 2,000 rows",
    "bayesian_network": "Bayesian neural network, two layers, PyroSample",
    "scalar_sites_auto": "100 scalar sites, AutoNormal",
    "scalar_sites_auto_1000": "1,000 scalar sites, AutoNormal",
    "gamma_poisson": "gamma-Poisson, 200 x 40 counts",
    "robust_regression": "robust regression, Student t, 500 x 8",
    "logistic_1_000": "logistic regression 1,000 x 20",
    "logistic_10_000": "logistic regression 10,000 x 20",
    "logistic_100_000": "logistic regression 100,000 x 20",
    "logistic_1_000_000": "logistic regression 1,000,000 x 20",
    "item_response": "item response, 500 people x 40 items",
    "correlated": "LKJ and multivariate normal, 500 x 6",
    "gaussian_process": "Gaussian process, 200 points",
    "subsample_of_million": "logistic regression, 1,000 of 1,000,000 rows",
    "negative_binomial": "negative binomial regression, 2,000 x 5",
    "bayesian_network_50": "Bayesian neural network, 1,000 x 50",
    "random_walk_100": "random walk, T = 100",
    "random_walk_1_000": "random walk, T = 1,000",
    "random_walk_10_000": "random walk, T = 10,000",
    "full_rank_50": "AutoMultivariateNormal, D = 50",
    "full_rank_200": "AutoMultivariateNormal, D = 200",
    "varying_slopes": "varying slopes, 50 groups, 2,000 rows",
    "scalar_sites_auto_10": "10 scalar sites, AutoNormal",
    "scalar_sites_auto_60": "60 scalar sites, AutoNormal",
}

RATES = dict.fromkeys(TITLES, 1e-2) | {"beta_bernoulli": 5e-4, "vae": 1e-3, "vae_importance": 1e-3}

# Models whose steps cost little more than what surrounds the maths, as the goals name them.
SMALL = ("beta_bernoulli", "eight_schools", "eight_schools_auto_normal", "eight_schools_auto_mvn")
# Models that are written in C too, and one whose objective Pyro has no Jit of.
IN_C = (
    *("eight_schools", "logistic_regression", "linear_mixed"),
    *("gamma_poisson", "logistic_100_000", "random_walk_1_000"),
)
NO_JIT = ("vae_importance",)
# The same model at growing sizes.
GROWING = (
    ("scalar_sites", "scalar_sites_300", "scalar_sites_1000"),
    ("scalar_sites_auto_10", "scalar_sites_auto", "scalar_sites_auto_1000"),
    ("logistic_1_000", "logistic_10_000", "logistic_100_000", "logistic_1_000_000"),
    ("random_walk_100", "random_walk_1_000", "random_walk_10_000"),
)

FLIPS = [1.0] * 6 + [0.0] * 4

# Rubin (1981): estimated effects of coaching in eight schools and their standard errors.
EFFECTS = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]
ERRORS = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]

SITES, MANY_SITES, MOST_SITES, PARAMETERS = 100, 300, 1000, 1000
ROWS_IN_BATCH = 256
PIXELS, HIDDEN, LATENT, BATCH = 64, 32, 8, 128
COMPONENTS, STATES, BELIEFS, UNITS, SAMPLES = 10, 16, (32, 16), 20, 10
PEOPLE, ITEMS, GROUPS, MILLION, ROWS_OF_MILLION = 500, 40, 50, 1_000_000, 1_000


def covariates(rows: int = 10_000, columns: int = 50) -> tuple[list[list[float]], list[float]]:
    """Standard normal covariates, and labels from a logistic regression on the first five of them."""
    draw = random.Random(1)
    x = [[draw.gauss(0, 1) for _ in range(columns)] for _ in range(rows)]
    y = [float(sum(row[:5]) + draw.gauss(0, 1) > 0) for row in x]
    return x, y


def observations(sites: int = SITES) -> list[float]:
    """One number for each scalar site."""
    draw = random.Random(2)
    return [draw.gauss(0, 1) for _ in range(sites)]


def grouped(groups: int = 1_000, rows: int = 20_000) -> tuple[list[float], list[int], list[float]]:
    """A covariate, the group of each row, and outcomes from a line with an offset for each group."""
    draw = random.Random(4)
    offsets = [draw.gauss(0, 0.7) for _ in range(groups)]
    x = [draw.gauss(0, 1) for _ in range(rows)]
    group = [row % groups for row in range(rows)]
    return x, group, [1.0 + 0.5 * a + offsets[g] + draw.gauss(0, 0.4) for a, g in zip(x, group, strict=True)]


def images() -> list[list[float]]:
    """A batch of binary images."""
    draw = random.Random(3)
    return [[float(draw.random() < 0.3) for _ in range(PIXELS)] for _ in range(BATCH)]


def mixed(rows: int = 10_000) -> list[float]:
    """Numbers from a mixture of ten normals."""
    draw = random.Random(5)
    return [draw.gauss(2.0 * draw.randrange(COMPONENTS) - COMPONENTS, 0.5) for _ in range(rows)]


def sequences(count: int = 50, steps: int = 200) -> list[list[float]]:
    """Sequences of a state that stays or moves on to the next, each with noise around the state's mean."""
    draw = random.Random(6)
    rows = []
    for _ in range(count):
        state, row = 0, []
        for _ in range(steps):
            state = (state + (draw.random() < 0.3)) % STATES
            row.append(draw.gauss(state - STATES / 2, 0.5))
        rows.append(row)
    return rows


def curve(rows: int = 200) -> tuple[list[list[float]], list[float]]:
    """A noisy sine of one covariate."""
    draw = random.Random(7)
    x = [[draw.uniform(-3, 3)] for _ in range(rows)]
    return x, [math.sin(2 * a) + draw.gauss(0, 0.1) for [a] in x]


Floats = NDArray[np.float32]


def _single(x: NDArray[Any], y: NDArray[Any]) -> tuple[Floats, Floats]:
    return x.astype(np.float32), y.astype(np.float32)


def counts(rows: int = 200, columns: int = 40) -> Floats:
    """Counts with a rate for each column."""
    draw = np.random.default_rng(11)
    return draw.poisson(draw.gamma(2.0, 2.0, columns), (rows, columns)).astype(np.float32)


def labelled(rows: int, columns: int = 20) -> tuple[Floats, Floats]:
    """Standard normal covariates, and labels from a logistic regression on the first five of them."""
    draw = np.random.default_rng(12)
    x = draw.standard_normal((rows, columns), dtype=np.float32)
    return x, (x[:, :5].sum(1) + draw.standard_normal(rows, dtype=np.float32) > 0).astype(np.float32)


def linear(rows: int, columns: int) -> tuple[Floats, Floats]:
    """Standard normal covariates, and outcomes from a line in them with standard normal noise."""
    draw = np.random.default_rng(13)
    x = draw.standard_normal((rows, columns))
    return _single(x, x @ draw.standard_normal(columns) + draw.standard_normal(rows))


def with_outliers(rows: int = 500, columns: int = 8) -> tuple[Floats, Floats]:
    """As ``linear``, with noise of heavy tails."""
    draw = np.random.default_rng(14)
    x = draw.standard_normal((rows, columns))
    return _single(x, x @ draw.standard_normal(columns) + 0.5 * draw.standard_t(3, rows))


def answers() -> Floats:
    """Right and wrong answers of people to items that differ in difficulty and discrimination."""
    draw = np.random.default_rng(15)
    ability, difficulty = draw.standard_normal((PEOPLE, 1)), draw.standard_normal(ITEMS)
    logits = draw.lognormal(0.0, 0.5, ITEMS) * (ability - difficulty)
    return (draw.random((PEOPLE, ITEMS)) < 1 / (1 + np.exp(-logits))).astype(np.float32)


def correlated(rows: int = 500, columns: int = 6) -> Floats:
    """Rows of correlated normals."""
    draw = np.random.default_rng(16)
    mixing = np.eye(columns) + 0.3 * draw.standard_normal((columns, columns))
    return (draw.standard_normal((rows, columns)) @ mixing).astype(np.float32)


def smooth(points: int = 200) -> tuple[Floats, Floats]:
    """A noisy sine at evenly spaced points."""
    draw, x = np.random.default_rng(17), np.linspace(-5, 5, points)
    return _single(x, np.sin(x) + 0.3 * draw.standard_normal(points))


def overdispersed(rows: int = 2_000, columns: int = 5) -> tuple[Floats, Floats]:
    """Covariates, and counts whose variance is larger than their mean."""
    draw = np.random.default_rng(18)
    x = draw.standard_normal((rows, columns))
    mean = np.exp(0.5 + x @ draw.normal(0, 0.4, columns))
    return _single(x, draw.poisson(mean * draw.gamma(3.0, 1 / 3.0, rows)))


def walk(steps: int) -> Floats:
    """A random walk, seen through noise."""
    draw = np.random.default_rng(19)
    return (0.3 * draw.standard_normal(steps).cumsum() + draw.standard_normal(steps)).astype(np.float32)


def sloped(rows: int = 2_000) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """A covariate, outcomes from a line of its own for each group, and the group of each row."""
    draw = np.random.default_rng(20)
    x, group = draw.standard_normal(rows), draw.integers(GROUPS, size=rows)
    intercept, slope = draw.normal(1.0, 0.5, GROUPS), draw.normal(-0.5, 0.5, GROUPS)
    return *_single(x, intercept[group] + slope[group] * x + draw.normal(0, 0.4, rows)), group
