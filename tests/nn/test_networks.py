"""Dense and autoregressive networks."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ember.nn import AutoRegressiveNN, ConditionalAutoRegressiveNN, ConditionalDenseNN, DenseNN, MaskedLinear
from ember.nn.auto_reg_nn import create_mask, sample_mask_indices


def jacobian(net, x):
    return torch.autograd.functional.jacobian(net, x)


@pytest.mark.parametrize("input_dim", [2, 3, 5])
@pytest.mark.parametrize("hidden_dims", [[8], [8, 9], [6, 5, 6]])
@pytest.mark.parametrize("param_dims", [[1], [1, 1], [2], [2, 1, 3]])
@pytest.mark.parametrize("skip_connections", [False, True])
def test_outputs_depend_on_earlier_inputs_only(input_dim, hidden_dims, param_dims, skip_connections):
    net = AutoRegressiveNN(
        input_dim, hidden_dims, param_dims, skip_connections=skip_connections, nonlinearity=torch.nn.Tanh()
    )
    order = net.get_permutation()
    x = torch.randn(input_dim)
    result = net(x)
    parts = [result] if isinstance(result, torch.Tensor) else result
    assert len(parts) == len(param_dims)
    for index, part in enumerate(parts):
        size = param_dims[index]
        has_dim = size > 1 or (len(param_dims) > 1 and set(param_dims) != {1})
        assert part.shape == ((size, input_dim) if has_dim else (input_dim,))

        def one(x, index=index):
            result = net(x)
            return (result if isinstance(result, torch.Tensor) else result[index]).reshape(-1, input_dim)[0]

        # In the network's order, the Jacobian is strictly lower triangular.
        jac = jacobian(one, x)[order][:, order]
        assert (jac.triu() == 0).all()
        assert (jac.tril(-1) != 0).sum() >= input_dim - 1


def test_context_reaches_all_outputs():
    net = ConditionalAutoRegressiveNN(4, 2, [20, 20], nonlinearity=torch.nn.Tanh())
    x, context = torch.randn(3, 4), torch.randn(2)
    mean, _ = net(x, context=context)
    assert mean.shape == (3, 4)
    jac = jacobian(lambda c: net(x, context=c)[0], context)
    assert (jac != 0).any(-1).all()


def test_a_permutation_may_be_given():
    order = torch.tensor([2, 0, 1])
    net = AutoRegressiveNN(3, [9], [1], permutation=order, nonlinearity=torch.nn.Tanh())
    jac = jacobian(net, torch.randn(3))
    assert (jac[2] == 0).all() and jac[0, 2] != 0 and (jac[1, [0, 2]] != 0).all()


def test_refusals():
    with pytest.raises(ValueError, match="Hidden dimension must not be less than input dimension"):
        AutoRegressiveNN(4, [3])
    with pytest.warns(UserWarning, match="input_dim = 1"):
        AutoRegressiveNN(1, [3])


def test_mask_indices():
    assert sample_mask_indices(3, 5).tolist() == [1, 2, 2, 2, 3]
    torch.manual_seed(0)
    drawn = torch.stack([sample_mask_indices(3, 4, simple=False) for _ in range(500)])
    assert set(drawn.unique().tolist()) == {1, 2, 3}
    # Rounding at random keeps the mean: 5/3 has variance 2/9.
    assert abs(drawn[:, 1].mean().item() - 5 / 3) < 4 * (2 / 9 / 500) ** 0.5


@settings(max_examples=30, deadline=None)
@given(
    input_dim=st.integers(2, 6),
    context_dim=st.integers(0, 3),
    sizes=st.lists(st.integers(6, 9), min_size=1, max_size=3),
    multiplier=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_paths_through_masks_are_those_of_the_skip_mask(input_dim, context_dim, sizes, multiplier, seed):
    order = torch.randperm(input_dim, generator=torch.Generator().manual_seed(seed))
    masks, skip = create_mask(input_dim, context_dim, sizes, order, multiplier)
    assert [tuple(m.shape) for m in masks] == [
        (b, a) for a, b in itertools.pairwise([input_dim + context_dim, *sizes, input_dim * multiplier])
    ]
    paths = torch.linalg.multi_dot(list(reversed(masks))) if len(masks) > 1 else masks[0]
    if context_dim == 0:
        assert torch.equal(paths > 0, skip > 0)
    else:
        assert not ((paths > 0) & (skip == 0)).any()


def test_masked_linear():
    mask = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    layer = MaskedLinear(2, 2, mask, bias=False)
    x = torch.randn(5, 2)
    assert torch.allclose(layer(x), x * layer.weight.diagonal())
    layer(x).sum().backward()
    assert (layer.weight.grad[mask == 0] == 0).all()
    assert set(layer.state_dict()) == {"weight", "mask"}


def test_dense():
    net = DenseNN(4, [8, 8], [1, 3])
    first, second = net(torch.randn(5, 4))
    assert first.shape == (5, 1) and second.shape == (5, 3)
    assert DenseNN(4, [8], [2])(torch.randn(4)).shape == (2,)
    conditional = ConditionalDenseNN(4, 2, [8], [1, 1])
    x = torch.randn(5, 4)
    parts = conditional(x, context=torch.ones(2))
    assert [p.shape for p in parts] == [(5, 1), (5, 1)]
    everywhere = conditional(x, context=torch.ones(5, 2))
    assert all(torch.equal(a, b) for a, b in zip(parts, everywhere, strict=True))
