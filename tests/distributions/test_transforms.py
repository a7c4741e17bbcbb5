"""The transforms that Ember adds, and what is done to torch's from outside."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

import ember.distributions as dist
from ember.distributions import constraints, transforms
from ember.distributions.transforms import clear_cache, picklable

LOC, TRIL = tensor([1.0, 2.0, 3.0]), tensor([[1.0, 0, 0], [0.5, 2.0, 0], [0.1, 0.2, 0.5]])

BIJECTIONS: list[tuple[Any, Tensor]] = [
    (transforms.ELUTransform(), torch.linspace(-3, 3, 7)),
    (transforms.LeakyReLUTransform(), torch.linspace(-3, 3, 6)),
    (transforms.OrderedTransform(), tensor([0.5, -1.0, 1.0])),
    (transforms.PositivePowerTransform(2), torch.linspace(-3, 3, 6)),
    (transforms.PositivePowerTransform(tensor([0.5, 3.0])), torch.linspace(-3, 3, 6)[:, None]),
    (transforms.Permute(tensor([2, 0, 1])), tensor([0.5, -1.0, 1.0])),
    (transforms.DiscreteCosineTransform(), torch.linspace(-3, 3, 7).sin()),
    (transforms.DiscreteCosineTransform(-2, smooth=1.5), torch.linspace(-3, 3, 10).sin().reshape(5, 2)),
    (transforms.HaarTransform(), torch.linspace(-3, 3, 7).sin()),
    (transforms.HaarTransform(-2, flip=True), torch.linspace(-3, 3, 10).sin().reshape(5, 2)),
    (transforms.LowerCholeskyAffine(LOC, TRIL), tensor([0.5, -1.0, 1.0])),
    (transforms.SoftplusTransform(), torch.linspace(-3, 3, 7)),
]


@pytest.mark.parametrize(("transform", "x"), BIJECTIONS, ids=lambda v: type(v).__name__)
def test_bijections(transform: Any, x: Tensor) -> None:
    x = x.double()
    for field, value in vars(transform).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            setattr(transform, field, value.double())
    y = transform(x)
    assert transform.bijective
    assert transform.codomain.check(y).all()
    assert transform.forward_shape(x.shape) == y.shape
    event_dim = transform.domain.event_dim
    assert_close(transform.inv(y.clone()).expand_as(y), x.expand_as(y))
    assert transform.log_abs_det_jacobian(x, y).shape == y.shape[: y.dim() - event_dim]
    jacobian = torch.autograd.functional.jacobian(transform, x.expand_as(y).contiguous())
    expected = jacobian.reshape(y.numel(), y.numel()).slogdet().logabsdet
    assert_close(transform.log_abs_det_jacobian(x, y).sum(), expected)
    for twin in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform), transform.with_cache(1)):
        assert_close(twin(x), y)


def test_all_of_torchs_transforms_are_here() -> None:
    for name in torch.distributions.transforms.__all__:
        assert name in transforms.__all__
        assert getattr(transforms, name) is getattr(torch.distributions.transforms, name)


@pytest.mark.parametrize("inverse", [False, True])
def test_inverse_elu_and_relu_have_finite_gradients(inverse: bool) -> None:
    for transform in (transforms.elu(), transforms.leaky_relu(), transforms.TanhTransform()):
        x = tensor([-0.5, 0.0, 0.5], requires_grad=True)
        (transform.inv if inverse else transform)(x).sum().backward()
        assert x.grad is not None and x.grad.isfinite().all()


def test_equality() -> None:
    assert transforms.OrderedTransform() == transforms.OrderedTransform()
    assert transforms.CholeskyTransform() != transforms.CorrMatrixCholeskyTransform()
    assert transforms.PositivePowerTransform(2.0) != transforms.PositivePowerTransform(3.0)
    assert transforms.Normalize(2) == transforms.Normalize(2) != transforms.Normalize(1)
    assert transforms.SimplexToOrderedTransform() == transforms.SimplexToOrderedTransform(tensor(0.0))
    assert transforms.SimplexToOrderedTransform() != transforms.SimplexToOrderedTransform(tensor(1.0))
    assert transforms.ELUTransform() != transforms.LeakyReLUTransform()


def test_simplex_to_ordered() -> None:
    x = tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], dtype=torch.double)
    for anchor in (None, tensor([1.0, -1.0], dtype=torch.double)):
        transform = transforms.SimplexToOrderedTransform(anchor)
        y = transform(x)
        assert constraints.ordered_vector.check(y).all()
        assert_close(transform.inv(y), x)
        assert transform.forward_shape(x.shape) == y.shape and transform.inverse_shape(y.shape) == x.shape
    free = transforms.SimplexToOrderedTransform(tensor(0.5, dtype=torch.double))
    jacobian = torch.autograd.functional.jacobian(
        lambda z: free(torch.cat([z, 1 - z.sum(-1, keepdim=True)], -1)), x[0, :2]
    )
    assert_close(free.log_abs_det_jacobian(x[0], free(x[0])), jacobian.slogdet().logabsdet)


@pytest.mark.parametrize("p", [1, 2, 3.0])
def test_normalize(p: float) -> None:
    x = torch.randn(5, 3)
    y = transforms.Normalize(p)(x)
    assert_close(torch.linalg.vector_norm(y, ord=p, dim=-1), torch.ones(5))
    assert transforms.Normalize(p).with_cache().p == p
    with pytest.raises(AssertionError, match="nonnegative number"):
        transforms.Normalize(-1)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="Expected exponent > 0"):
        transforms.PositivePowerTransform(-1.0)
    with pytest.raises(ValueError, match="must be negative"):
        transforms.Permute(tensor([0, 1]), dim=0)
    with pytest.raises(ValueError, match="must have same length as event_dim 2"):
        transforms.permute([3], dim=-2)
    with pytest.raises(AssertionError, match="D x D"):
        transforms.LowerCholeskyAffine(torch.zeros(2), torch.eye(3))
    with pytest.raises(AssertionError, match="positive number of repeats"):
        transforms.iterated(0, transforms.ExpTransform)
    with pytest.warns(FutureWarning, match="CorrCholeskyTransform"):
        transforms.CorrLCholeskyTransform()


def test_permute_along_other_dims() -> None:
    torch.manual_seed(0)
    transform = transforms.permute([4, 3], dim=-2)
    x = torch.randn(2, 4, 3)
    y = transform(x)
    assert transform.event_dim == 2 and transform.with_cache(0).dim == -2
    assert_close(y[:, transform.inv_permutation], x)
    assert transform.log_abs_det_jacobian(x, y).shape == (2,)
    assert transforms.permute(5).permutation.sort().values.tolist() == list(range(5))


def test_batched_lower_cholesky_affine() -> None:
    x = torch.randn(4, 3)
    transform = transforms.LowerCholeskyAffine(torch.zeros(2, 1, 3), TRIL.expand(2, 1, 3, 3))
    assert transform(x).shape == (2, 4, 3)
    assert transform.log_abs_det_jacobian(x, transform(x)).shape == (2, 4)


# ---- state of transforms


@pytest.mark.parametrize(
    "make",
    [
        lambda: transforms.ExpTransform().inv,
        lambda: transforms.ComposeTransform([transforms.ExpTransform().inv, transforms.TanhTransform()]),
        lambda: transforms.IndependentTransform(transforms.ExpTransform().inv, 1),
        lambda: transforms.StackTransform([transforms.ExpTransform().inv, transforms.ExpTransform()], -1),
        lambda: transforms.ComposeTransform([transforms.ExpTransform()]).inv,
        lambda: transforms.ComposeTransform([transforms.ExpTransform(), transforms.ExpTransform().inv]).inv,
    ],
)
def test_inverses_can_be_pickled(make: Any) -> None:
    transform, x = make(), tensor([0.5, 0.6])
    for twin in (pickle.loads(pickle.dumps(picklable(transform))), copy.deepcopy(picklable(transform))):
        assert_close(twin(x), transform(x))
        assert_close(twin.inv(transform(x)), x)
    assert picklable(transforms.ExpTransform.__new__(transforms.ExpTransform)) is not None


def test_picklable_leaves_others_alone() -> None:
    for transform in (transforms.ExpTransform(), transforms.ComposeTransform([transforms.ExpTransform()])):
        assert picklable(transform) is transform


class Shift(dist.TransformModule):
    """A flow of one parameter."""

    domain = constraints.real
    codomain = constraints.real
    bijective = True

    def __init__(self) -> None:
        super().__init__(cache_size=1)
        self.shift = torch.nn.Parameter(tensor(2.0))

    def _call(self, x: Tensor) -> Tensor:
        return x + self.shift

    def _inverse(self, y: Tensor) -> Tensor:
        return y - self.shift

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.zeros_like(x)


def test_transform_modules() -> None:
    flow = transforms.iterated(3, Shift)
    assert isinstance(flow, dist.ComposeTransformModule) and len(list(flow.parameters())) == 3
    assert len({flow, Shift()}) == 2  # hashable, by identity
    x = tensor([1.0])
    assert_close(flow(x), tensor([7.0]))
    for twin in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert_close(twin(x), tensor([7.0]))
    mixed = dist.ComposeTransformModule([Shift(), transforms.ExpTransform().inv, Shift()])
    for other in (copy.deepcopy(mixed), pickle.loads(pickle.dumps(mixed))):
        assert_close(other(x), mixed(x))
        assert other.parts[0] is other[0] and len(list(other.parameters())) == 2
    assert flow.with_cache(0) is flow
    assert isinstance(flow.with_cache(1), dist.ComposeTransformModule)


def test_caches_are_cleared() -> None:
    shift = Shift()
    exp = transforms.ExpTransform(cache_size=1)
    flow = dist.TransformedDistribution(
        dist.Normal(torch.zeros(2), 1.0),
        [shift, transforms.ComposeTransform([exp]), dist.ComposeTransformModule([Shift()]), exp.inv],
    )
    x = flow.rsample()
    assert shift._cached_x_y[1] is not None and exp._cached_x_y[1] is not None
    copy.deepcopy(shift)  # the cached values are part of a graph and are left behind
    flow.clear_cache()
    assert shift._cached_x_y == (None, None) and exp._cached_x_y == (None, None)
    assert flow.log_prob(x).shape == (2,)
    clear_cache(transforms.identity_transform)
