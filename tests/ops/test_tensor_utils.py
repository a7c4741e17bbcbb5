"""Tensor functions against scipy, numpy and their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import ember
from ember.ops import tensor_utils as ops

DOUBLE = torch.float64
sizes = st.integers(1, 24)


def signal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(sum(shape)))


@settings(max_examples=24, deadline=None)
@given(sizes | st.sampled_from([128, 129, 200]))
def test_cosine_transform_is_scipys_and_has_an_inverse(n):
    x = signal(3, n, 2)
    for dim in (1, -2):
        y = ops.dct(x, dim)
        np.testing.assert_allclose(y.numpy(), scipy.fft.dct(x.numpy(), axis=1, norm="ortho"), atol=1e-12)
        assert_close(ops.idct(y, dim), x)
        np.testing.assert_allclose(
            ops.idct(x, dim).numpy(), scipy.fft.idct(x.numpy(), axis=1, norm="ortho"), atol=1e-12
        )


@settings(max_examples=24, deadline=None)
@given(sizes)
def test_haar_transform_is_orthonormal_and_has_an_inverse(n):
    x = signal(2, n)
    assert_close(ops.inverse_haar_transform(ops.haar_transform(x)), x)
    matrix = ops.haar_transform(torch.eye(n, dtype=DOUBLE))
    assert_close(matrix @ matrix.T, torch.eye(n, dtype=DOUBLE))
    if n & (n - 1) == 0:
        # The first coefficient is the scaled sum.
        assert_close(ops.haar_transform(x)[:, 0], x.sum(-1) / math.sqrt(n))


def test_transforms_have_right_gradients():
    for f in (ops.dct, ops.idct, ops.haar_transform, ops.inverse_haar_transform):
        assert torch.autograd.gradcheck(f, signal(2, 7).requires_grad_())


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, st.sampled_from(["full", "valid", "same"]))
def test_convolution_is_numpys(m, n, mode):
    x, kernel = signal(m), signal(n + 1)
    result = ops.convolve(x, kernel, mode)
    expected = np.convolve(x.numpy(), kernel.numpy(), mode)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)


def test_convolution_broadcasts_and_checks_its_mode():
    assert ops.convolve(signal(4, 1, 5), signal(3, 2)).shape == (4, 3, 6)
    with pytest.raises(ValueError, match="Unknown mode: wide"):
        ops.convolve(signal(3), signal(2), "wide")


@given(st.integers(1, 5000))
def test_next_fast_length_is_scipys(n):
    assert ops.next_fast_len(n) == scipy.fft.next_fast_len(n, real=True)


def test_periods():
    x = signal(2, 5)
    for dim in (1, -1):
        assert_close(ops.periodic_repeat(x, 12, dim), torch.cat([x, x, x[:, :2]], 1))
        y = ops.periodic_cumsum(x, 2, dim)
        expected = x.clone()
        for i in range(2, 5):
            expected[:, i] += expected[:, i - 2]
        assert_close(y, expected)
    assert ops.periodic_repeat(x, 0, 1).shape == (2, 0)
    features = ops.periodic_features(12, 6.0, 2.0, dtype=DOUBLE)
    time, frequency = (
        torch.arange(12.0, dtype=DOUBLE)[:, None],
        2 * math.pi / 6 * torch.arange(1, 3, dtype=DOUBLE),
    )
    assert_close(features, torch.cat([(time * frequency).cos(), -(time * frequency).sin()], 1))
    with pytest.raises(AssertionError, match="Nyquist"):
        ops.periodic_features(12, 6, 1)


def test_blocks():
    blocks = signal(2, 3, 2, 4)
    embedded = ops.block_diag_embed(blocks)
    for i in range(2):
        np.testing.assert_allclose(embedded[i].numpy(), scipy.linalg.block_diag(*blocks[i].numpy()))
    assert_close(ops.block_diagonal(embedded, 3), blocks)
    with pytest.raises(AssertionError):
        ops.block_diag_embed(blocks[0, 0])
    with pytest.raises(AssertionError):
        ops.block_diagonal(signal(4, 6), 4)


@pytest.mark.parametrize("n", range(1, 10))
def test_repeated_products(n):
    matrix = signal(2, 3, 3)
    expected = torch.stack([torch.linalg.matrix_power(matrix, k) for k in range(1, n + 1)])
    assert_close(ops.repeated_matmul(matrix, n), expected)


@pytest.mark.parametrize("n", [1, 3])
def test_small_linear_algebra(n):
    root = signal(n, n).tril() + 3 * torch.eye(n, dtype=DOUBLE)
    matrix, x, vector = root @ root.T, signal(n, 2), signal(n)
    assert_close(ops.safe_cholesky(matrix), torch.linalg.cholesky(matrix))
    assert_close(ops.cholesky_solve(x, root), torch.linalg.solve(matrix, x))
    assert_close(ops.matmul(matrix, x), matrix @ x)
    assert_close(ops.matvecmul(matrix, vector), matrix @ vector)
    assert_close(ops.triangular_solve(x, root), torch.linalg.solve(root, x))
    assert_close(ops.triangular_solve(x, root, transpose=True), torch.linalg.solve(root.T, x))
    assert_close(ops.triangular_solve(x, root.T, upper=True), torch.linalg.solve(root.T, x))
    assert_close(ops.precision_to_scale_tril(matrix), torch.linalg.cholesky(matrix.inverse()))


def test_safe_cholesky_saves_singular_matrices():
    singular = torch.ones(3, 3)
    assert ops.safe_cholesky(singular).isfinite().all()
    with ember.settings.context(cholesky_relative_jitter=0.0), pytest.raises(RuntimeError):
        ops.safe_cholesky(singular)
    for wrong in (-1.0, "much"):
        with pytest.raises((AssertionError, TypeError)):
            ember.settings.set(cholesky_relative_jitter=wrong)
    assert ember.settings.get("cholesky_relative_jitter") == 4.0
    assert ops.safe_cholesky(torch.zeros(1, 1)).isfinite().all()


def test_safe_normalize():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    y = ops.safe_normalize(x)
    assert_close(y, torch.tensor([[0.6, 0.8], [1.0, 0.0]]))
    y.sum().backward()
    assert x.grad.isfinite().all()
    assert_close(ops.safe_normalize(torch.tensor([3.0, 4.0]), p=1), torch.tensor([3 / 7, 4 / 7]))


def test_as_complex_takes_any_strides():
    pairs = signal(3, 5, 2)
    expected = torch.view_as_complex(pairs)
    for x in (
        pairs,
        pairs.transpose(0, 1).contiguous().transpose(0, 1),
        signal(3, 5, 3)[..., :2].copy_(pairs),
    ):
        assert_close(ops.as_complex(x), expected)


def test_broadcasting_all_but_one_dim():
    parts = ops.broadcast_tensors_without_dim([signal(4, 1, 2), signal(3, 5)], -1)
    assert [p.shape for p in parts] == [(4, 3, 2), (4, 3, 5)]
    with pytest.raises(ValueError, match="must be negative"):
        ops.broadcast_tensors_without_dim([signal(4, 1, 2), signal(3, 5)], 0)
