"""Tracking: assignments by brute force, the filter against the joint normal distribution."""

from __future__ import annotations

import itertools

import pytest
import torch

from ember.contrib.tracking import assignment as a
from ember.contrib.tracking import dynamic_models as d
from ember.contrib.tracking.distributions import EKFDistribution
from ember.contrib.tracking.extended_kalman_filter import EKFState
from ember.contrib.tracking.hashing import LSH, ApproxSet, merge_points
from ember.contrib.tracking.measurements import PositionMeasurement

D = torch.float64


def logits(*shape: int) -> torch.Tensor:
    torch.manual_seed(sum(shape))
    return torch.randn(shape, dtype=D)


def brute_force(
    exists: torch.Tensor, assign: torch.Tensor, exclusive: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Marginals by a sum over all worlds; ``assign`` is (frames, detections, objects)."""
    frames, detections, objects = assign.shape
    present, pairs = torch.zeros(objects, dtype=D), torch.zeros(frames, detections, objects + 1, dtype=D)
    total = torch.zeros((), dtype=D)
    for world in itertools.product([0, 1], repeat=objects):
        for flat in itertools.product(range(objects + 1), repeat=frames * detections):
            choice = torch.tensor(flat).reshape(frames, detections)
            real = [row[row < objects].tolist() for row in choice]
            if any(not world[o] for row in real for o in row):
                continue
            if exclusive and any(len(set(row)) != len(row) for row in real):
                continue
            score = (exists * torch.tensor(world)).sum()
            for t, i in itertools.product(range(frames), range(detections)):
                if choice[t, i] < objects:
                    score = score + assign[t, i, choice[t, i]]
            weight = score.exp()
            total += weight
            present += weight * torch.tensor(world)
            pairs.scatter_add_(-1, choice.unsqueeze(-1), weight.expand(frames, detections, 1).contiguous())
    return (present / (total - present)).log(), (pairs[..., :-1] / pairs[..., -1:]).log()


def test_exact_marginals() -> None:
    exists, assign = logits(3), logits(2, 3)
    expected = brute_force(exists, assign.unsqueeze(0), exclusive=False)
    got = a.compute_marginals(exists, assign)
    torch.testing.assert_close(got[0], expected[0])
    torch.testing.assert_close(got[1], expected[1][0])


def test_damped_messages_are_pyros_before_they_have_settled() -> None:
    exists, assign = torch.tensor([0.5, -1.0, 2.0]), torch.arange(12.0).reshape(2, 2, 3) / 6 - 1
    marginals = a.compute_marginals_persistent_bp(exists, assign, 3, 0.3)
    # Of Pyro 1.9.2.
    torch.testing.assert_close(marginals[0], torch.tensor([1.581991, 0.190651, 3.482266]))
    torch.testing.assert_close(marginals[1][0, 0], torch.tensor([-1.509398, -1.824733, -1.107819]))
    torch.testing.assert_close(marginals[1][1, 1], torch.tensor([-0.096683, -0.440716, 0.288567]))


def test_exact_marginals_of_persistent_objects() -> None:
    exists, assign = logits(2), logits(2, 2, 2)
    expected = brute_force(exists, assign, exclusive=True)
    torch.testing.assert_close(a.compute_marginals_persistent(exists, assign), expected)


def test_belief_propagation_is_exact_on_trees() -> None:
    exists, assign = logits(3), logits(1, 3)  # one detection: no loop
    torch.testing.assert_close(a.compute_marginals_bp(exists, assign, 3), a.compute_marginals(exists, assign))
    persistent = a.compute_marginals_persistent_bp(exists[:1], logits(3, 1, 1), 60)
    torch.testing.assert_close(persistent, a.compute_marginals_persistent(exists[:1], logits(3, 1, 1)))


def test_belief_propagation_is_near_elsewhere() -> None:
    exists, assign = logits(3), logits(4, 3)
    for exact, near in zip(
        a.compute_marginals(exists, assign), a.compute_marginals_bp(exists, assign, 20), strict=True
    ):
        torch.testing.assert_close(near.sigmoid(), exact.sigmoid(), atol=0.05, rtol=0)
    frames = logits(2, 2, 3)
    approximate = a.compute_marginals_persistent_bp(exists, frames, 60)
    for exact, near in zip(a.compute_marginals_persistent(exists, frames), approximate, strict=True):
        torch.testing.assert_close(near.sigmoid(), exact.sigmoid(), atol=0.05, rtol=0)


def test_sparse_is_dense_with_few_pairs() -> None:
    exists, values = logits(3), logits(5)
    edges = torch.tensor([[0, 0, 1, 2, 3], [0, 1, 1, 2, 0]])
    dense = torch.full((4, 3), -float("inf"), dtype=D).index_put((edges[0], edges[1]), values)
    one = a.MarginalAssignmentSparse(3, 4, edges, exists, values, 8)
    other = a.MarginalAssignment(exists, dense, 8)
    torch.testing.assert_close(one.exists_dist.probs, other.exists_dist.probs)
    torch.testing.assert_close(one.assign_dist.probs, other.assign_dist.probs, atol=1e-7, rtol=0)


def test_assignments_as_distributions() -> None:
    m = a.MarginalAssignmentPersistent(logits(3), logits(2, 4, 3), 5)
    assert (m.num_frames, m.num_detections, m.num_objects) == (2, 4, 3)
    assert m.assign_dist.batch_shape == (2, 4) and m.assign_dist.probs.shape == (2, 4, 4)
    with pytest.raises(AssertionError, match=r"\(3,\) and \(4, 2\)"):
        a.MarginalAssignment(logits(3), logits(4, 2))
    with pytest.raises(AssertionError, match=r"\[0, 1\), and not 1.5"):
        a.MarginalAssignmentPersistent(logits(3), logits(2, 4, 3), 5, 1.5)


def joint_log_prob(
    model: d.Ncv, x0: torch.Tensor, P0: torch.Tensor, R: torch.Tensor, dt: float, z: torch.Tensor
):
    """The density of measurements as one normal vector."""
    steps, dims = z.shape
    F, Q = model.jacobian(dt).to(D), model.process_noise_cov(dt).detach().to(D)
    H = torch.eye(dims, 2 * dims, dtype=D)
    means, covs = [x0], [P0]
    for _ in range(steps - 1):
        means.append(F @ means[-1])
        covs.append(F @ covs[-1] @ F.T + Q)
    joint = torch.zeros(steps * dims, steps * dims, dtype=D)
    for i, j in itertools.product(range(steps), repeat=2):
        power = torch.linalg.matrix_power(F, abs(i - j))
        block = H @ (power @ covs[min(i, j)] if i >= j else covs[min(i, j)] @ power.T) @ H.T
        joint[i * dims : (i + 1) * dims, j * dims : (j + 1) * dims] = block + (R if i == j else 0)
    mean = torch.cat([H @ m for m in means])
    return torch.distributions.MultivariateNormal(mean, joint).log_prob(z.reshape(-1))


@pytest.mark.parametrize("family", [d.NcvContinuous, d.NcvDiscrete])
def test_the_filter_is_the_joint_distribution(family: type[d.Ncv]) -> None:
    model = family(4, torch.tensor(2.0, dtype=D))
    x0, P0, R = torch.arange(1.0, 5.0).to(D), torch.eye(4, dtype=D) * 1.5, torch.eye(2, dtype=D) * 0.5
    z = torch.tensor([[1.0, 2.0], [1.5, 2.0], [2.0, 3.5]], dtype=D)
    ekf = EKFDistribution(x0, P0, model, R, time_steps=3, dt=0.5)
    torch.testing.assert_close(ekf.log_prob(z).detach(), joint_log_prob(model, x0, P0, R, 0.5, z))
    assert ekf.event_shape == (3, 2) and len(ekf.filter_states(z)) == 3
    ekf.log_prob(z).backward()
    assert model.sa2.grad is not None
    with pytest.raises(AssertionError, match=r"\(3, 2\), and not \(2, 2\)"):
        ekf.log_prob(z[:2])
    with pytest.raises(NotImplementedError):
        ekf.sample()


def test_noise_of_a_moved_object() -> None:
    # Discrete: one acceleration a for the time t moves position by a t^2 / 2 and velocity by a t.
    move = torch.tensor([0.5**2 / 2, 0.5])
    expected = 2.0 * torch.outer(move, move)
    torch.testing.assert_close(d.NcvDiscrete(2, 2.0).process_noise_cov(0.5).detach(), expected)
    # Continuous: the sum over many short times.
    steps = torch.arange(0.0, 0.5, 1e-4)
    ways = torch.stack([0.5 - steps, torch.ones_like(steps)])
    torch.testing.assert_close(
        d.NcvContinuous(2, 2.0).process_noise_cov(0.5).detach(),
        ways @ ways.T * 1e-4 * 2.0 * 0.5,
        rtol=1e-3,
        atol=1e-3,
    )
    assert d.NcpContinuous(2, 3.0).process_noise_cov(2.0).diagonal().tolist() == [12.0, 12.0]
    assert d.NcpDiscrete(2, 3.0).mean2pv(torch.ones(2)).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert d.NcvContinuous(4, 1.0)(torch.arange(4.0).expand(3, 4), 2.0).shape == (3, 4)
    assert d.NcvContinuous(4, 1.0).process_noise_dist(1.0).covariance_matrix.shape == (4, 4)


def test_times_are_kept() -> None:
    state = EKFState(d.NcpContinuous(2, 1.0), torch.zeros(2), torch.eye(2), time=0.0)
    assert state.predict(0.5).time == 0.5 and state.predict(destination_time=2.0).time == 2.0
    measurement = PositionMeasurement(torch.ones(2), torch.eye(2), time=0.0)
    updated, (dz, S) = state.update(measurement)
    torch.testing.assert_close(updated.mean, torch.full((2,), 0.5))
    torch.testing.assert_close(S, 2 * torch.eye(2))
    assert dz.tolist() == [1.0, 1.0] and updated.mean_pv.shape == (4,)
    with pytest.raises(AssertionError, match="must be aligned"):
        state.predict(0.5).update(measurement)
    with pytest.raises(AssertionError, match="needs dt"):
        state.predict()
    for bad in (
        lambda: EKFState(state.dynamic_model, torch.zeros(2), torch.eye(2)),
        lambda: PositionMeasurement(torch.ones(2), torch.eye(2)),
    ):
        with pytest.raises(ValueError, match="time or frame_num"):
            bad()


def test_neighbours_are_all_found() -> None:
    torch.manual_seed(0)
    points = torch.rand(40, 2) * 5
    lsh = LSH(1.0)
    for key, point in enumerate(points):
        lsh.add(key, point)
    for key in range(40):
        distance = (points - points[key]).abs().max(-1).values
        near = set((distance < 1).nonzero().flatten().tolist()) - {key}
        nearby = lsh.nearby(key)
        assert near <= nearby and all(distance[other] < 2 for other in nearby)
    lsh.remove(0)
    assert all(0 not in lsh.nearby(key) for key in range(1, 40))
    with pytest.raises(KeyError):
        lsh.nearby(0)
    with pytest.raises(ValueError, match="greater than 0, given: -1"):
        LSH(-1)
    boxes = ApproxSet(1.0)
    assert [boxes.try_add(p) for p in torch.tensor([[0.1, 0.1], [0.2, 0.0], [2.0, 0.0]])] == [
        True,
        False,
        True,
    ]


def test_merged_points_are_far_apart() -> None:
    torch.manual_seed(1)
    points = torch.rand(30, 2) * 3
    merged, groups = merge_points(points, 1.0)
    assert sorted(i for group in groups for i in group) == list(range(30)) and len(merged) == len(groups)
    assert torch.pdist(merged).min() >= 1.0
    assert merge_points(points, 1e-6)[1] == [(i,) for i in range(30)]
    with pytest.raises(ValueError, match="shape == "):
        merge_points(points[0], 1.0)
