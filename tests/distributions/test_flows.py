"""Flows: round trips, log determinants against autograd, shapes, caches, copies, and the numbers that Pyro has."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

import ember.distributions as dist
from ember.distributions import conditional, transforms
from ember.distributions import transforms as T
from ember.distributions.transforms.generalized_channel_permute import ConditionedGeneralizedChannelPermute
from ember.nn import ConditionalDenseNN, DenseNN

from .flow_table import BY_NAME, ROWS, SEEDED, Row

pytestmark = pytest.mark.usefixtures("float64")

every_flow = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def made(row: Row, away: float = 0.3) -> tuple[Any, Any]:
    """A flow whose parameters are not those that it began with, and itself given a context."""
    flow = row.make()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(away * torch.randn_like(parameter))
    return flow, flow.condition(tensor([0.4, -1.1])) if row.conditional else flow


def log_det(flow: Any, x: Tensor, y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Of whole events, also where the event of the flow is one entry."""
    found: Tensor = flow.log_abs_det_jacobian(x, y)
    return found.flatten(-len(shape)).sum(-1) if flow.event_dim == 0 else found


@every_flow
def test_log_determinants_are_those_of_the_jacobian(row: Row) -> None:
    _, flow = made(row)
    x = 1.5 * torch.randn(4, *row.shape)
    size = x[0].numel()
    found = log_det(flow, x, flow(x), row.shape)
    jacobians = torch.stack([torch.autograd.functional.jacobian(flow._call, each) for each in x])
    assert_close(found, jacobians.reshape(4, size, size).slogdet().logabsdet)
    assert_close(log_det(flow, x.clone(), flow(x), row.shape), found)  # of tensors not seen before
    if getattr(flow, "autoregressive", False):
        network = getattr(flow, "arn", None)
        order = torch.arange(size) if network is None else getattr(network, "func", network).get_permutation()
        assert_close(jacobians[:, order][:, :, order].triu(1), torch.zeros(4, size, size))


@every_flow
def test_round_trips(row: Row) -> None:
    _, flow = made(row)
    x = 1.5 * torch.randn(3, *row.shape)
    y = flow(x)
    assert flow.bijective and flow.inv(y) is x  # the last image is remembered
    forward = log_det(flow, x, y, row.shape)
    if not row.inverse:
        with pytest.raises(KeyError, match=r"Planar|Radial|Autoregressive|Polynomial|Sylvester"):
            flow.inv(y.clone())
        return
    y = y.detach().clone()
    back = flow.inv(y)
    assert_close(back, x)
    assert_close(log_det(flow, back, y, row.shape), forward)
    assert_close(flow(back.clone()), y)


@every_flow
def test_shapes(row: Row) -> None:
    _, flow = made(row)
    assert flow.event_dim in (0, len(row.shape)) and flow.domain.event_dim == flow.codomain.event_dim
    for batch in [(), (4,), (2, 3)]:
        x = torch.randn(*batch, *row.shape)
        y = flow(x)
        assert y.shape == x.shape == flow.forward_shape(x.shape)
        assert flow.log_abs_det_jacobian(x, y).shape == x.shape[: x.dim() - flow.event_dim]
        base = dist.Normal(torch.zeros(x.shape), 1.0).to_event(len(row.shape))
        pushed = dist.TransformedDistribution(base, [flow])
        value = pushed.rsample()
        assert value.shape == x.shape and pushed.log_prob(value).shape == batch


@every_flow
def test_parameters_are_found_and_get_gradients(row: Row) -> None:
    flow, given = made(row)
    base = dist.Normal(torch.zeros(row.shape), 1.0).to_event(len(row.shape))
    pushed = dist.TransformedDistribution(base, [given])
    value = pushed.rsample((20,))
    (pushed.log_prob(value) + value.square().flatten(1).sum(-1)).sum().backward()
    for name, parameter in flow.named_parameters():
        if name.startswith("lower_spline") and flow.identity:
            continue
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # Rows of masks that nothing reaches have a zero gradient, but no whole parameter has.
        assert parameter.grad.abs().sum() > 0, name


@every_flow
def test_copies_and_caches(row: Row) -> None:
    flow, given = made(row)
    if isinstance(
        given, ConditionedGeneralizedChannelPermute
    ):  # has a tensor, where the others have a network
        given = ConditionedGeneralizedChannelPermute(given.permutation, given.LU.detach())
    x = torch.randn(2, *row.shape)
    y = given(x)
    given.log_abs_det_jacobian(x, y)
    for twin in (copy.deepcopy(given), pickle.loads(pickle.dumps(given))):
        assert_close(twin(x), y)
    twin = row.make()
    twin.load_state_dict(flow.state_dict())
    assert len({flow, twin}) == 2  # hashable, by identity
    assert_close((twin.condition(tensor([0.4, -1.1])) if row.conditional else twin)(x), y)
    given.clear_cache()
    assert given._cached_x_y == (None, None)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1)
    assert not torch.equal((flow.condition(tensor([0.4, -1.1])) if row.conditional else flow)(x), y)


@pytest.mark.parametrize("name", SEEDED)
def test_one_seed_gives_the_numbers_of_pyro(name: str) -> None:
    torch.set_default_dtype(torch.float32)  # the fixture sets it back
    row = BY_NAME[name]
    torch.manual_seed(3)
    flow = row.make()
    if row.conditional:
        flow = flow.condition(torch.randn(2))
    x = torch.randn(6, *row.shape)
    y = flow(x)
    sums = y.double().sum().item(), flow.log_abs_det_jacobian(x, y).double().sum().item()
    assert sums == pytest.approx(SEEDED[name], abs=2e-3)


@pytest.mark.parametrize("row", [row for row in ROWS if row.conditional], ids=lambda row: row.name)
def test_a_batch_of_contexts(row: Row) -> None:
    flow, _ = made(row)
    contexts, x = torch.randn(5, 2), torch.randn(5, *row.shape)
    y = flow.condition(contexts)(x)
    alone = torch.stack([flow.condition(c)(each) for c, each in zip(contexts, x, strict=True)])
    assert_close(y, alone)
    given = flow.condition(contexts)
    log_dets = log_det(given, x, given(x), row.shape)
    each = flow.condition(contexts[2])
    assert_close(log_dets[2], log_det(each, x[2], each(x[2]), row.shape))
    if row.inverse:
        assert_close(flow.inv.condition(contexts)(y.detach()), x)
    assert flow.inv.inv is flow and set(flow.inv.parameters()) == set(flow.parameters())


# ---- conditional families


def test_a_conditional_distribution() -> None:
    base = dist.Normal(torch.zeros(3), 1.0).to_event(1)
    flows = [T.conditional_affine_coupling(3, 2), T.permute(3, tensor([2, 0, 1])), T.spline(3)]
    family = dist.ConditionalTransformedDistribution(base, flows)
    context = tensor([0.5, -0.5])
    given = family.condition(context)
    x = given.rsample((4,))
    by_hand = dist.TransformedDistribution(base, [flows[0].condition(context), *flows[1:]])
    assert_close(given.log_prob(x), by_hand.log_prob(x.clone()))
    assert isinstance(family, dist.ConditionalDistribution)
    assert flows[2]._cached_x_y[0] is not None
    family.clear_cache()
    assert flows[2]._cached_x_y == (None, None)
    with pytest.raises(TypeError, match="abstract"):
        dist.ConditionalTransform()  # type: ignore[abstract]


def test_a_base_may_be_conditional_and_others_constant() -> None:
    class Shifted(dist.ConditionalDistribution):
        def condition(self, context: Tensor) -> Any:
            return dist.Normal(context, 1.0)

    family = dist.ConditionalTransformedDistribution(Shifted(), [T.ExpTransform()])
    assert_close(
        family.condition(tensor(2.0)).log_prob(tensor(3.0)), dist.LogNormal(2.0, 1.0).log_prob(tensor(3.0))
    )
    same = conditional.ConstantConditionalTransform(T.ExpTransform().inv)
    twin = pickle.loads(pickle.dumps(same))
    assert_close(twin.condition(None)(tensor(1.0)), tensor(0.0))


def test_conditional_chains() -> None:
    parts = [T.conditional_spline(3, 2), T.ExpTransform(), T.planar(3)]
    chain = conditional.ConditionalComposeTransformModule(parts, cache_size=1)
    assert len(list(chain.parameters())) == len(list(parts[0].parameters())) + 3
    context, x = tensor([0.5, -0.5]), torch.randn(4, 3)
    given = chain.condition(context)
    assert isinstance(given, dist.ComposeTransformModule) and given._cache_size == 1
    y = given(x)
    assert_close(y, parts[2](parts[1](parts[0].condition(context)(x))))
    assert_close(chain.inv.condition(context).inv(x), y)
    with pytest.raises(ValueError, match="cache_size must be 0 or 1"):
        conditional.ConditionalComposeTransformModule(parts, cache_size=2)


# ---- one by one


def test_batch_normalisation() -> None:
    layer = transforms.batchnorm(2, momentum=0.5, epsilon=1e-3)
    y = torch.randn(50, 2) * tensor([1.0, 3.0]) + 2
    x = layer.inv(y)
    assert_close(x.mean(0), torch.zeros(2), atol=1e-9, rtol=0)
    assert_close(x.var(0), y.var(0) / (y.var(0) + 1e-3) * layer.constrained_gamma**2)
    assert_close(layer.moving_mean, 0.5 * y.mean(0))
    assert_close(layer.moving_variance, 0.5 + 0.5 * y.var(0))
    assert_close(
        layer.log_abs_det_jacobian(x, y)[0], 0.5 * (y.var(0) + 1e-3).log() - layer.constrained_gamma.log()
    )
    layer.eval()
    assert_close(layer(layer.inv(y)), y)
    jacobian = torch.autograd.functional.jacobian(layer, x[0])
    assert_close(layer.log_abs_det_jacobian(x, y)[0].sum(), jacobian.slogdet().logabsdet)
    assert layer.inv(torch.randn(4, 5, 2)).shape == (4, 5, 2)
    layer.train()
    assert layer.inv(torch.randn(4, 5, 2)).shape == (4, 5, 2) and layer.moving_mean.shape == (2,)


def test_channels_are_mixed_as_by_a_convolution() -> None:
    flow = transforms.generalized_channel_permute(channels=3)
    x = torch.randn(5, 3, 4, 6)
    matrix = flow.permutation @ flow.L @ flow.U
    assert_close(flow(x), torch.nn.functional.conv2d(x, matrix[:, :, None, None]))
    assert_close(matrix @ matrix.mT, torch.eye(3))  # it begins as a rotation
    assert_close(flow.log_abs_det_jacobian(x, flow(x)), torch.zeros(5), atol=1e-9, rtol=0)


def test_splines_are_the_identity_outside_and_meet_it() -> None:
    for order in ("linear", "quadratic"):
        flow = transforms.spline(1, count_bins=4, bound=2.0, order=order)
        out = tensor([[-5.0], [-2.0], [2.0], [2.5]])
        assert_close(flow(out), out)
        grid = torch.linspace(-3, 3, 2001)[:, None]
        y = flow(grid).detach()
        assert (y.diff(dim=0) > 0).all()
        grid.requires_grad_()
        slopes = torch.autograd.grad(flow._call(grid).sum(), grid)[0].squeeze()
        assert_close(flow.log_abs_det_jacobian(grid, y).squeeze().exp(), slopes)


def test_a_context_changes_couplings_of_images() -> None:
    network = ConditionalDenseNN(6, 2, [20], [6, 6])
    flow = transforms.ConditionalAffineCoupling(2, network, dim=-2)
    x = torch.randn(7, 4, 3)
    given = flow.condition(tensor([1.0, 0.0]))
    assert given(x).shape == (7, 4, 3) and not torch.equal(given(x), flow.condition(tensor([0.0, 1.0]))(x))
    assert given.log_abs_det_jacobian(x, given(x)).shape == (7,)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: T.affine_coupling([4, 3]), ValueError, "must have same length as event_dim 1"),
        (lambda: T.affine_coupling(5, dim=0), ValueError, "must be negative"),
        (lambda: T.AffineCoupling(2, DenseNN(2, [3], [1, 1]), dim=1), ValueError, "must be negative"),
        (lambda: T.affine_coupling(5, split_dim=9), ValueError, "split_dim 9 must be less than the size 5"),
        (lambda: T.Householder(3, 0), ValueError, "transforms, 0, is less than 1"),
        (lambda: T.conditional_householder(3, 2, count_transforms=0), ValueError, "is less than 1"),
        (lambda: T.matrix_exponential(3, iterations=0), AssertionError, "iterations=0"),
        (
            lambda: T.matrix_exponential(3, normalization="foo"),
            ValueError,
            "Unknown normalization method: foo",
        ),
        (lambda: T.matrix_exponential(3, normalization="weight"), NotImplementedError, "more iterations"),
        (lambda: T.block_autoregressive(3, residual="foo"), ValueError, "Invalid value foo"),
        (
            lambda: T.neural_autoregressive(3, activation="foo"),
            ValueError,
            'Invalid activation function "foo"',
        ),
        (lambda: T.spline(3, order="cubic"), ValueError, "'order' must be one of"),
        (lambda: T.GeneralizedChannelPermute(3, tensor([0, 1])), ValueError, "3 elements but 2 found"),
        (
            lambda: T.ConditionalSpline(DenseNN(2, [3], [4, 4, 3]), 1, 4).condition(torch.zeros(2))(
                torch.zeros(1)
            ),
            ValueError,
            "returns 4 parameters, got 3",
        ),
    ],
)
def test_refusals(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_too_many_reflections_give_a_warning() -> None:
    with pytest.warns(UserWarning, match="4, is greater than input dimension 3"):
        transforms.householder(3, 4)


def test_an_autoregressive_network_takes_another_order() -> None:
    one, other = T.affine_autoregressive(4), T.affine_autoregressive(4)
    other.load_state_dict(
        {k: v for k, v in one.state_dict().items() if "weight" in k or "bias" in k}, strict=False
    )
    x = torch.randn(3, 4)
    other.arn.reorder(one.arn.permutation)
    assert_close(other(x), one(x))
    with pytest.raises(ValueError, match="no order of 4 inputs"):
        other.arn.reorder(tensor([0, 1, 1, 2]))
