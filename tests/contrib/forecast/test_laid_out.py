"""Distributions over time, laid out along other dims and conditioned on their first times."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import transforms as T

import ember.distributions as dist
from ember.contrib.forecast.util import (
    UNIVARIATE_DISTS,
    UNIVARIATE_TRANSFORMS,
    prefix_condition,
    reshape_batch,
    reshape_transform_batch,
)

BATCH, TIME, SERIES = 3, 5, 2
PARAMETERS = {
    "logits": lambda x: x,
    "loc": lambda x: x,
    "low": lambda x: x - 5.0,
    "high": lambda x: x + 5.0,
    "stability": lambda x: 1.1 + 0.8 * x.sigmoid(),
    "skew": lambda x: x.tanh(),
    "gate": lambda x: x.sigmoid(),
    "total_count": lambda x: (4 * x.sigmoid()).ceil(),
    "coords": lambda x: "S",
}


def number(shape=(BATCH, TIME, SERIES)) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def family(kind: type):
    """One of the table, with parameters over all dims."""
    names = UNIVARIATE_DISTS[kind]
    given = {name: PARAMETERS.get(name, lambda x: x.exp() + 0.1)(number()) for name in names}
    if kind is dist.DirichletMultinomial:
        given["total_count"] = 4
    return kind(**given)


def hmm(batch=(BATCH,), time=TIME, series=SERIES):
    def noise(n, *shape):
        return dist.MultivariateNormal(number((*shape, n)), torch.eye(n, dtype=torch.float64) * 0.7)

    return dist.GaussianHMM(
        noise(2, *batch), number((time, 2, 2)) * 0.5, noise(2, *batch, time), number((2, series)), noise(series, time)
    )  # fmt: skip


NUMBER = dist.Normal(torch.zeros((), dtype=torch.float64), 1.0)
OTHERS = {
    "half normal": lambda: dist.HalfNormal(number().exp()),
    "vectors": lambda: dist.MultivariateNormal(number(), torch.eye(SERIES, dtype=torch.float64)),
    "masked": lambda: dist.Normal(number(), 1.0).mask(number() > 0),
    "masked by a bool": lambda: dist.Normal(number(), 1.0).mask(False),
    "masked vectors": lambda: dist.Normal(number(), 1.0).to_event(1).mask(number()[..., 0] > 0),
    "one scale for all": lambda: dist.Laplace(number((TIME, 1)), 1.0).expand([BATCH, TIME, SERIES]),
    "folded": lambda: dist.FoldedDistribution(dist.Cauchy(number(), 1.0)),
    "moved": lambda: dist.TransformedDistribution(
        dist.StudentT(4.0, number(), 1.0),
        [
            T.AffineTransform(number(), number((TIME, 1)).exp()),
            T.ComposeTransform([T.ExpTransform(), T.PowerTransform(number().exp())]),
        ],
    ),
    "back": lambda: dist.TransformedDistribution(dist.Normal(number(), 1.0), [T.SigmoidTransform(), T.ExpTransform().inv]),
}  # fmt: skip


def check_reshaped(d) -> None:
    flat = d.batch_shape.numel()
    for shape in ((*d.batch_shape, 1), (1, flat)):
        new = reshape_batch(d, shape)
        assert new.batch_shape == shape and new.event_shape == d.event_shape
        x = d.sample()
        assert new.sample().shape == new.shape()
        wanted = d.log_prob(x).reshape(shape)
        torch.testing.assert_close(new.log_prob(x.reshape(new.shape())), wanted, equal_nan=True)


def check_conditioned(d) -> None:
    """The density of all is that of the first times and that of the others given them."""
    x = d.sample()
    first, later = x[..., :2, :], x[..., 2:, :]
    rest = prefix_condition(d, first)
    assert rest.event_shape == d.event_shape[:-2] + (d.event_shape[-2] - 2, d.event_shape[-1])
    assert rest.sample().shape == rest.shape() == later.shape
    split = d.base_dist if isinstance(d, dist.Independent) else None
    if split is not None:
        # Without memory: the log densities of the single times.
        ahead = split.log_prob(x)
        left = d.reinterpreted_batch_ndims - 2
        wanted = ahead[..., 2:, :].sum((-2, -1)) if not left else ahead[..., 2:].sum(-1)
        torch.testing.assert_close(rest.log_prob(later), wanted)


@pytest.mark.parametrize("kind", UNIVARIATE_DISTS, ids=lambda kind: kind.__name__)
def test_families(kind: type) -> None:
    torch.manual_seed(0)
    d = family(kind)
    check_reshaped(d.to_event(2 - d.event_dim))
    check_conditioned(d.to_event(2 - d.event_dim))
    new = reshape_batch(d, (*d.batch_shape, 1))
    assert type(new) is kind
    for name in UNIVARIATE_DISTS[kind]:
        mine, theirs = getattr(new, name), getattr(d, name)
        if isinstance(mine, torch.Tensor):
            assert (mine.flatten() == torch.as_tensor(theirs).flatten()).all()
        else:
            assert mine == theirs


@pytest.mark.parametrize("name", OTHERS)
def test_others(name: str) -> None:
    torch.manual_seed(0)
    d = OTHERS[name]()
    check_reshaped(d.to_event(2 - d.event_dim))
    check_conditioned(d.to_event(2 - d.event_dim))
    if name == "half normal":
        assert type(reshape_batch(d, (BATCH, TIME, SERIES, 1))) is dist.HalfNormal


HIDDEN = {
    "batch": hmm,
    "one": lambda: hmm(()),
    "homogeneous": lambda: dist.GaussianHMM(
        NUMBER.expand([BATCH, 1]).to_event(1), torch.eye(1, dtype=torch.float64), NUMBER.expand([1]).to_event(1),
        torch.eye(1, dtype=torch.float64), NUMBER.expand([1]).to_event(1), duration=TIME,
    ),
    "side by side": lambda: dist.IndependentHMM(hmm((BATCH, SERIES), series=1)),
    "mapped": lambda: dist.TransformedDistribution(hmm(), [T.ExpTransform(), T.AffineTransform(number((TIME, 1)), 2.0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_markov_models(name: str) -> None:
    torch.manual_seed(0)
    d = HIDDEN[name]()
    check_reshaped(d)
    x = d.sample()
    rest = prefix_condition(d, x[..., :2, :])
    # Of the first times alone: what is left of them after those that are not looked at are integrated out.
    shorter = {"batch": (BATCH,), "one": ()}
    if name in shorter:
        torch.manual_seed(0)
        first = hmm(shorter[name])
        first._trans, first._obs = (
            part.expand((*shorter[name], TIME))[..., :2] for part in (first._trans, first._obs)
        )
        first.last_for(2)
        joint = first.log_prob(x[..., :2, :]) + rest.log_prob(x[..., 2:, :])
        torch.testing.assert_close(joint, d.log_prob(x))
    assert rest.shape() == x[..., 2:, :].shape and torch.isfinite(rest.log_prob(rest.sample())).all()


def test_a_linear_model_keeps_its_noise_and_transforms() -> None:
    torch.manual_seed(0)
    heavy = dist.StudentT(4.0, torch.zeros(BATCH, TIME, 2), 1.0).to_event(1)
    seen = dist.TransformedDistribution(dist.Laplace(torch.zeros(TIME, 2), 1.0), T.ExpTransform()).to_event(1)
    start = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    d = dist.LinearHMM(start, torch.eye(2), heavy, torch.randn(BATCH, TIME, 2, 2), seen)
    new = reshape_batch(d, (BATCH, 1))
    assert new.batch_shape == (BATCH, 1) and new.event_shape == (TIME, 2) and len(new.transforms) == 1
    torch.manual_seed(1)
    x = d.sample()
    torch.manual_seed(1)
    torch.testing.assert_close(new.sample().reshape(x.shape), x)
    with pytest.raises(NotImplementedError, match="LinearHMM"):
        prefix_condition(new, x[:, None, :2])


@pytest.mark.parametrize("kind", UNIVARIATE_TRANSFORMS, ids=lambda kind: kind.__name__)
def test_transforms(kind: type) -> None:
    torch.manual_seed(0)
    given = {name: number((TIME, 1)).exp() for name in UNIVARIATE_TRANSFORMS[kind] if name != "event_dim"}
    t = kind(**given)
    x = number().sigmoid()
    for old in (t, T.ComposeTransform([t]), t.inv):
        new = reshape_transform_batch(old, x.shape, (BATCH, 1, TIME, SERIES))
        y = old(x)
        torch.testing.assert_close(new(x.unsqueeze(1)).squeeze(1), y)
        if kind is not T.AbsTransform:
            jacobian = new.log_abs_det_jacobian(x.unsqueeze(1), y.unsqueeze(1)).squeeze(1)
            torch.testing.assert_close(jacobian, old.log_abs_det_jacobian(x, y))


@pytest.mark.parametrize("kind", [dist.transforms.HaarTransform, dist.transforms.DiscreteCosineTransform])
def test_transforms_that_mix_dims(kind: type) -> None:
    assert reshape_transform_batch(kind(dim=-1), (3, 4), (1, 3, 4)) == kind(dim=-1)
    with pytest.raises(NotImplementedError, match=r"mixes the last 2 dims, .* from \(3, 4\) to \(1, 4\)"):
        reshape_transform_batch(kind(dim=-2), (3, 4), (3, 1, 4))
    d = dist.TransformedDistribution(dist.Normal(torch.zeros(5, 2), 1.0), kind(dim=-2))
    with pytest.raises(NotImplementedError, match="mixes times"):
        prefix_condition(d, torch.zeros(2, 2))


def test_what_cannot_be_laid_out_is_named() -> None:
    odd = dist.Empirical(torch.zeros(3, 4), torch.ones(3, 4))
    with pytest.raises(NotImplementedError, match=r"Empirical.*register\(Empirical\)"):
        reshape_batch(odd, (3, 1))
    with pytest.raises(NotImplementedError, match="not support Permute; there are"):
        reshape_transform_batch(dist.transforms.Permute(torch.tensor([1, 0])), (2,), (1, 2))
    with pytest.raises(AssertionError, match="no dims of time and series"):
        prefix_condition(dist.Normal(0.0, 1.0), torch.zeros(1, 1))
