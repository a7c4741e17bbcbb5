"""What every distribution class promises, checked over the whole table."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import ember.distributions as dist
from ember.distributions import constraints
from ember.distributions.torch_distribution import TorchDistributionMixin

from .table import CASES, ROWS, Row, build_row

NAMES = sorted(CASES)
# The support of a component cannot be known before there is one.
ABSTRACT = {"Distribution", "TorchDistribution", "ExponentialFamily"}
# Nor do those that cannot be drawn from, have no batches, or no pickle (Rejector takes a function), and a deprecated name, which
# warns: they have tests of their own.
ELSEWHERE = {
    "AVFMultivariateNormal",
    "OMTMultivariateNormal",
    "CoalescentTimesWithRate",
    "DiscreteHMM",  # takes a distribution, and its events have a time
    "Empirical",
    "GaussianScaleMixture",
    "GaussianMRF",
    "GroupedNormalNormal",
    "ImproperUniform",
    "LKJCorrCholesky",
    "LinearHMM",
    "LogNormalNegativeBinomial",
    "OneOneMatching",
    "OneTwoMatching",
    "Rejector",
    "SpanningTree",
    "VonMises3D",
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def draw(d: Any, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
    with torch.no_grad():
        return d(torch.Size(sample_shape))


def test_every_torch_class_is_here() -> None:
    ours = set(dist.torch.__all__)
    theirs = {
        name
        for name, cls in vars(torch.distributions).items()
        if inspect.isclass(cls) and issubclass(cls, torch.distributions.Distribution)
    }
    assert ours == theirs - {"Distribution"}
    for name in ours:
        cls = getattr(dist, name)
        assert cls is getattr(dist.torch, name)
        assert issubclass(cls, getattr(torch.distributions, name))
        assert issubclass(cls, TorchDistributionMixin)
        assert cls.__module__.startswith("ember.distributions") and cls.__qualname__ == name


def test_every_class_has_a_row() -> None:
    classes = {
        name
        for name, cls in vars(dist).items()
        if inspect.isclass(cls) and issubclass(cls, dist.Distribution) and name not in ABSTRACT | ELSEWHERE
    }
    assert classes <= set(CASES)


@pytest.mark.parametrize("name", NAMES)
def test_shapes(name: str) -> None:
    d = CASES[name]()
    assert d.batch_shape == (3,)
    assert d.event_dim == len(d.event_shape)
    for sample_shape in [(), (2,), (4, 2)]:
        expected = torch.Size(sample_shape) + d.batch_shape + d.event_shape
        assert d.shape(sample_shape) == expected
        x = draw(d, sample_shape)
        assert x.shape == expected
        assert d.sample(torch.Size(sample_shape)).shape == expected
        if d.has_rsample:
            assert d.rsample(torch.Size(sample_shape)).shape == expected
        assert d.log_prob(x).shape == sample_shape + (3,)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["expand", "expand_by", "list"])
def test_expand(name: str, how: str) -> None:
    d = CASES[name]()
    x = draw(d, (5, 4))
    log_prob = d.log_prob(x)
    family, event_shape = type(d), d.event_shape
    if how == "expand":
        e = d.expand(torch.Size((4, 3)))
    elif how == "list":
        e = d.expand([4, 3])
    else:
        e = d.expand_by((4,))
    assert type(e) is family
    assert e.batch_shape == (4, 3) and e.event_shape == event_shape
    assert draw(e, (2,)).shape == (2, 4, 3) + event_shape
    assert_close(e.log_prob(x), log_prob)


@pytest.mark.parametrize("name", NAMES)
def test_expanded_draws_are_independent(name: str) -> None:
    if name in {"Delta", "Unit"}:
        pytest.skip("a constant")
    d = CASES[name]().expand((64, 3))
    x = draw(d)
    assert (x != x[:1]).flatten(1).any(-1).any()


@pytest.mark.parametrize("name", NAMES)
def test_to_event(name: str) -> None:
    d = CASES[name]()
    d = d.expand((4, 3))
    x = draw(d)
    for n in (1, 2):
        e = d.to_event(n)
        assert e.batch_shape == (4, 3)[: 2 - n] and e.event_dim == d.event_dim + n
        assert_close(e.log_prob(x), d.log_prob(x).sum(tuple(range(-n, 0))))
        assert draw(e).shape == x.shape
    assert d.to_event().batch_shape == ()
    inner = d.base_dist if isinstance(d, torch.distributions.Independent) else d
    assert d.to_event(1).to_event(-1 - (d is not inner)).__class__ is type(inner)


@pytest.mark.parametrize("name", NAMES)
def test_mask(name: str) -> None:
    d = CASES[name]()
    x = draw(d, (2,))
    log_prob = d.log_prob(x)
    mask = torch.tensor([False, True, True])
    assert_close(d.mask(mask).log_prob(x), log_prob * mask)
    assert_close(d.mask(True).log_prob(x), log_prob)
    assert_close(d.mask(False).log_prob(x), torch.zeros_like(log_prob))
    wide = torch.tensor([[True], [False]])
    e = CASES[name]().mask(wide)
    assert e.batch_shape == (2, 3)
    assert_close(e.log_prob(x), log_prob * wide)


@pytest.mark.parametrize("name", NAMES)
def test_copies(name: str) -> None:
    d = CASES[name]()
    x = draw(d)
    buffer = io.BytesIO()
    torch.save(d, buffer)
    buffer.seek(0)
    for e in (
        pickle.loads(pickle.dumps(d)),
        torch.load(buffer, weights_only=False),
        copy.copy(d),
        copy.deepcopy(d),
    ):
        assert type(e) is type(d)
        assert_close(e.log_prob(x), d.log_prob(x))
        torch.manual_seed(1)
        y = draw(e)
        torch.manual_seed(1)
        assert_close(y, draw(d))


@pytest.mark.parametrize("name", NAMES)
def test_score_parts(name: str) -> None:
    d = CASES[name]()
    x = draw(d)
    parts = d.score_parts(x)
    assert_close(parts.log_prob, d.log_prob(x))
    if d.has_rsample:
        assert parts.score_function == 0
        assert_close(parts.entropy_term, parts.log_prob)
    else:
        assert parts.entropy_term == 0
        if not name.startswith("Masked"):
            assert_close(parts.score_function, parts.log_prob)


@pytest.mark.parametrize("name", NAMES)
def test_has_rsample_survives(name: str) -> None:
    d = CASES[name]()
    kept = d.has_rsample
    for value in (not kept, kept):
        d = CASES[name]()
        assert d.has_rsample_(value) is d
        d = d.expand((4, 3))
        assert d.has_rsample is value
        d = copy.deepcopy(d.expand_by((5,)))
        assert d.has_rsample is value
        assert d.mask(True).has_rsample is value
        assert d.mask(torch.ones(3, dtype=torch.bool)).expand((2, 5, 4, 3)).has_rsample is value
        assert d.to_event(1).has_rsample is value
        assert d.to_event(1).expand((2, 5, 4)).to_event(1).to_event(-1).has_rsample is value
        wrapped = dist.ExpandedDistribution(d, d.batch_shape).has_rsample_(value)
        assert wrapped.expand((7, *d.batch_shape)).has_rsample is value
    assert CASES[name]().has_rsample is kept


@pytest.mark.parametrize("name", NAMES)
def test_detached_sampling(name: str) -> None:
    d = CASES[name]()
    if d.has_rsample and name != "Unit":
        d.has_rsample_(False)
        x = d()
        assert not x.requires_grad
        parts = d.score_parts(x)
        assert parts.entropy_term == 0
        assert isinstance(parts.score_function, torch.Tensor)


@pytest.mark.parametrize("name", NAMES)
def test_enumerate_support(name: str) -> None:
    d = CASES[name]()
    if not d.has_enumerate_support:
        with pytest.raises(NotImplementedError):
            d.enumerate_support()
        return
    if name == "Binomial":
        d = dist.Binomial(4, probs=d.probs)
    elif name == "Multinomial":
        pytest.skip("torch does not enumerate it")
    for e in (d, d.expand((4, 3)), dist.ExpandedDistribution(d, (4, 3))):
        full, lean = e.enumerate_support(), e.enumerate_support(expand=False)
        assert full.shape[1:] == e.shape()
        assert lean.shape == full.shape[:1] + (1,) * len(e.batch_shape) + e.event_shape
        assert_close(lean.expand(full.shape), full)
        assert_close(e.log_prob(full).exp().sum(0), torch.ones(e.batch_shape))
        assert_close(e.log_prob(lean), e.log_prob(full))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_log_prob_is_that_of_torch(row: Row) -> None:
    d = build_row(row)
    reference = getattr(torch.distributions, row.name)(**row.params)
    x = d.sample(torch.Size((20,)))
    assert_close(d.log_prob(x), reference.log_prob(x))
    for attribute in ("mean", "variance"):
        try:
            expected = getattr(reference, attribute)
        except NotImplementedError:
            continue
        assert_close(getattr(d, attribute), expected, equal_nan=True)


@pytest.mark.parametrize("row", [r for r in ROWS if r.scipy], ids=lambda row: row.name)
def test_log_prob_is_that_of_scipy(row: Row) -> None:
    params = {k: v.double() for k, v in row.params.items()}
    d = getattr(dist, row.name)(**params)
    x = draw(d, (20,))
    assert row.scipy is not None
    expected = row.scipy({k: v.numpy() for k, v in params.items()}, x.numpy())
    np.testing.assert_allclose(d.log_prob(x).numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_gradients_are_those_of_torch(row: Row) -> None:
    x = build_row(row).sample()
    gradients = []
    for module in (dist, torch.distributions):
        params = {
            k: v.clone().requires_grad_() if isinstance(v, torch.Tensor) and v.is_floating_point() else v
            for k, v in row.params.items()
        }
        getattr(module, row.name)(**params, validate_args=False).log_prob(x).sum().backward()
        gradients.append([p.grad for p in params.values() if isinstance(p, torch.Tensor) and p.requires_grad])
    assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_infer_shapes(row: Row) -> None:
    cls = getattr(dist, row.name)
    shapes = {k: tuple(v.shape) for k, v in row.params.items() if isinstance(v, torch.Tensor)}
    try:
        batch_shape, event_shape = cls.infer_shapes(**shapes)
    except NotImplementedError:
        assert row.name in {"LKJCholesky", "LogisticNormal", "RelaxedOneHotCategorical", "Wishart"}
        return
    d = build_row(row)
    assert (torch.Size(batch_shape), torch.Size(event_shape)) == (d.batch_shape, d.event_shape)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_signatures_are_those_of_torch(row: Row) -> None:
    ours = list(inspect.signature(getattr(dist, row.name)).parameters)
    theirs = list(inspect.signature(getattr(torch.distributions, row.name)).parameters)
    assert [p for p in ours if p != "is_sparse"] == theirs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_parameters(dtype: torch.dtype) -> None:
    for row in ROWS:
        params = {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in row.params.items()}
        d = getattr(dist, row.name)(**params)
        x = draw(d)
        assert d.log_prob(x).dtype == dtype, row.name
        if not constraints.is_dependent(d.support) and row.name != "Categorical":
            assert x.dtype == dtype, row.name
