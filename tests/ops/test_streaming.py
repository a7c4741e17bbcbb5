"""Statistics of samples one by one, arrow heads, motion, averaging, and processes as state spaces."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

import ember  # noqa: F401  (old paths)
from ember.nn.matern_kernel import MaternKernel
from ember.ops import arrowhead, dual_averaging, integrator, streaming, welford

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---- covariances


@pytest.mark.parametrize("diagonal", [True, False])
def test_covariances(diagonal: bool) -> None:
    samples = torch.randn(9, 3) @ torch.randn(3, 3) + 100
    stats = welford.WelfordCovariance(diagonal)
    with pytest.raises(RuntimeError, match="Insufficient samples"):
        stats.get_covariance()
    for x in samples:
        stats.update(x)
    cov = samples.mT.cov()
    expected = cov.diagonal() if diagonal else cov
    assert_close(stats.get_covariance(regularize=False), expected)
    eye = torch.ones(3) if diagonal else torch.eye(3)
    assert_close(stats.get_covariance(), (9 * expected + 5e-3 * eye) / 14)
    stats.reset()
    assert stats.n_samples == 0


@pytest.mark.parametrize("head", [0, 2, 4])
def test_covariances_in_the_shape_of_an_arrow_head(head: int) -> None:
    samples = torch.randn(9, 4)
    stats = welford.WelfordArrowheadCovariance(head)
    for x in samples:
        stats.update(x)
    top, bottom = stats.get_covariance(regularize=False)
    cov = samples.mT.cov()
    assert_close(top, cov[:head])
    assert_close(bottom, cov.diagonal()[head:])
    weighed, rest = stats.get_covariance()
    assert_close(weighed, (9 * cov[:head] + 5e-3 * torch.eye(4)[:head]) / 14)
    assert_close(rest, (9 * cov.diagonal()[head:] + 5e-3) / 14)


def full(x: Any) -> Tensor:
    head, n = x.top.shape
    whole = torch.zeros(n, n)
    whole[:head] = x.top
    return whole + torch.nn.functional.pad(x.bottom_diag, (head, 0)).diag()


@pytest.mark.parametrize("head", [0, 2, 5])
def test_arrow_heads(head: int) -> None:
    root = torch.randn(5, 5)
    top = torch.cat([root[:head, :head] @ root[:head, :head].mT, 0.1 * root[:head, head:]], -1)
    x = arrowhead.SymmArrowhead(top + 2 * torch.eye(5)[:head], torch.rand(5 - head) + 1)
    whole = full(x)
    whole[head:, :head] = x.top[:, head:].mT
    u = arrowhead.sqrt(x)
    assert_close(full(u) @ full(u).mT, whole)
    assert_close(full(u).tril(-1), torch.zeros(5, 5))
    assert_close(full(arrowhead.triu_inverse(u)) @ full(u), torch.eye(5))
    y = torch.randn(5)
    assert_close(arrowhead.triu_matvecmul(u, y), full(u) @ y)
    assert_close(arrowhead.triu_matvecmul(u, y, transpose=True), full(u).mT @ y)
    gram = arrowhead.triu_gram(u)
    assert_close(gram if head else gram.diag(), full(u).mT @ full(u))


# ---- streams


SAMPLES = torch.arange(14.0).reshape(7, 2).sin()


def seen(kind: Any, samples: Tensor) -> Any:
    stats = kind()
    for x in samples:
        stats.update(x)
    return stats


@pytest.mark.parametrize("split", [0, 1, 3, 7])
@pytest.mark.parametrize(
    "kind",
    [streaming.CountStats, streaming.StackStats, streaming.CountMeanStats, streaming.CountMeanVarianceStats],
)
def test_streams_in_two_parts_are_one(kind: Any, split: int) -> None:
    whole = seen(kind, SAMPLES).get()
    first, second = seen(kind, SAMPLES[:split]), seen(kind, SAMPLES[split:])
    merged = first.merge(second)
    assert type(merged) is kind and merged.get().keys() == whole.keys()
    for key, value in whole.items():
        assert_close(merged.get()[key], value)
    assert (
        first.get()["count"] == split if split != 1 or kind is not streaming.CountMeanVarianceStats else True
    )
    if "mean" in whole:
        assert_close(whole["mean"], SAMPLES.mean(0))
    if "variance" in whole:
        assert_close(whole["variance"], SAMPLES.var(0))
    assert kind().get() == {"count": 0}
    with pytest.raises(AssertionError, match="cannot merge"):
        first.merge(streaming.StatsOfDict())


def test_streams_of_dicts() -> None:
    def stats(samples: Tensor) -> Any:
        result = streaming.StatsOfDict({"x": streaming.CountMeanVarianceStats}, streaming.CountMeanStats)
        for x in samples:
            result.update({"x": x, "y": x + 1})
        return result

    first, second = stats(SAMPLES[:3]), stats(SAMPLES[3:])
    second.update({"z": SAMPLES[0]})
    merged = first.merge(second).get()
    assert_close(merged["x"]["variance"], SAMPLES.var(0))
    assert_close(merged["y"]["mean"], SAMPLES.mean(0) + 1)
    assert merged["z"]["count"] == 1 and "z" not in first.get()
    with pytest.raises(RuntimeError, match="there is 1"):
        seen(streaming.CountMeanVarianceStats, SAMPLES[:1]).get()


# ---- motion and averaging


def test_motion_keeps_energy_and_goes_back() -> None:
    def potential(z: Any) -> Tensor:
        return 0.5 * (z["x"] ** 2).sum() + z["y"] ** 4

    def energy(z: Any, r: Any) -> float:
        return float(potential(z) + 0.5 * sum((value**2).sum() for value in r.values()))

    z, r = {"x": tensor([0.3, -0.2]), "y": tensor(0.5)}, {"x": tensor([1.0, 0.2]), "y": tensor(-0.3)}
    later, moved, grads, value = integrator.velocity_verlet(z, r, potential, lambda r: r, 0.01, 100)
    assert energy(later, moved) == pytest.approx(energy(z, r), abs=1e-4)
    assert grads is not None and float(value) == pytest.approx(float(potential(later)))
    assert_close(grads["y"], 4 * later["y"] ** 3)
    back, _, _, _ = integrator.velocity_verlet(
        later, {name: -value for name, value in moved.items()}, potential, lambda r: r, 0.01, 100, grads
    )
    assert_close(back, z)
    # A harmonic oscillator, after a time of one.
    assert_close(later["x"], z["x"] * math.cos(1) + r["x"] * math.sin(1), atol=1e-4, rtol=0)


def test_a_potential_that_cannot_be_computed_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrator, "_EXCEPTION_HANDLERS", dict(integrator._EXCEPTION_HANDLERS))
    z = {"x": tensor(1.0)}
    grads, value = integrator.potential_grad(lambda z: torch.linalg.cholesky(-torch.eye(2) * z["x"]).sum(), z)
    assert value.isnan() and grads["x"] == 0

    def broken(z: Any) -> Tensor:
        raise KeyError("x")

    with pytest.raises(KeyError):
        integrator.potential_grad(broken, z)
    integrator.register_exception_handler("keys", lambda error: isinstance(error, KeyError))
    assert integrator.potential_grad(broken, z)[1].isnan()
    with pytest.warns(UserWarning, match="Overwriting"):
        integrator.register_exception_handler("keys", lambda error: False)


def test_dual_averaging_finds_the_root() -> None:
    tuned = dual_averaging.DualAveraging(prox_center=0.0)
    x = 0.0
    for _ in range(2000):
        tuned.step(x - 2 + 0.5 * torch.randn(()).item())
        x = tuned.get_state()[0]
    assert tuned.get_state()[1] == pytest.approx(2.0, abs=0.1)


# ---- processes over the time


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
def test_state_spaces_of_matern_kernels(nu: float) -> None:
    length, scale = tensor([1.0, 2.0]), tensor([0.5, 1.5])
    kernel = MaternKernel(nu, 2, length, scale)
    n = kernel.state_dim
    t = tensor(0.7)
    A, Q = kernel.transition_matrix_and_covariance(t)
    for i in range(2):
        rate = math.sqrt(2 * nu) / length[i]
        # The process is a derivative equation with the powers of (d/dt + rate).
        drift = torch.diag(torch.ones(n - 1), 1)
        drift[-1] = tensor([-math.comb(n, k) * rate ** (n - k) for k in range(n)])
        assert_close(A[i], torch.linalg.matrix_exp(drift * t).mT)
    P = kernel.stationary_covariance()
    assert_close(A.mT @ P @ A + Q, P)
    assert (torch.linalg.eigvalsh(Q) > 0).all()
    # The covariance of the process with itself later is the kernel.
    r = math.sqrt(2 * nu) * t / length
    shape = {0.5: 1.0, 1.5: 1 + r, 2.5: 1 + r + r**2 / 3}[nu]
    assert_close((P @ A)[:, 0, 0], scale**2 * shape * torch.exp(-r))
    several = kernel.transition_matrix(tensor([0.7, 1.4]))
    assert_close(several[0], A)
    assert_close(several[1], A @ A)
    assert_close(kernel.transition_matrix(t.reshape(1, 1, 1)), A)


def test_kernels_that_are_not_there() -> None:
    with pytest.raises(NotImplementedError, match="got 3"):
        MaternKernel(3.5)
    with pytest.raises(AssertionError, match="length_scale_init has shape"):
        MaternKernel(1.5, 2, torch.ones(3))
    import ember.ops.ssm_gp as old

    assert old.MaternKernel is MaternKernel
