"""Matchings and spanning trees against lists of all of them, times of coalescence against integrals, angles, groups."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

import ember.distributions as dist
from ember.distributions import assignments, spanning_tree
from ember.distributions.coalescent import CoalescentTimesConstraint, bio_phylo_to_times

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def assert_fits(counts: Tensor, probs: Tensor) -> None:
    """Pearson's statistic is within five standard deviations of its mean."""
    expected = probs * counts.sum()
    freedom = len(probs) - 1
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom)


def counts_of(draws: Tensor, every: Tensor) -> Tensor:
    same = (draws.flatten(1)[:, None] == every.flatten(1)[None]).all(-1)
    assert same.sum(-1).eq(1).all()
    return same.sum(0)


# ---- matchings


@pytest.mark.parametrize(("kind", "times", "n"), [("OneOneMatching", 1, 4), ("OneTwoMatching", 2, 3)])
def test_matchings(kind: str, times: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(times * n, n, requires_grad=True)
    fn: Any = getattr(dist, kind)(logits)
    every = fn.enumerate_support()
    assert len(every) == {1: 24, 2: 90}[times] and fn.support.check(every).all()
    scores = logits[torch.arange(times * n), every].sum(-1)
    assert_close(fn.log_partition_function, scores.logsumexp(0))
    assert_close(fn.log_prob(every).exp().sum(), tensor(1.0))
    gradient = torch.autograd.grad(fn.log_partition_function, logits)[0]
    shares = torch.nn.functional.one_hot(every, n).double()
    assert_close(gradient, torch.einsum("m,mij->ij", scores.softmax(0).detach(), shares))
    assert torch.equal(fn.mode(), every[scores.argmax()])
    probs = fn.log_prob(every).exp().detach()
    assert_fits(counts_of(fn.sample((4000,)), every), probs)
    monkeypatch.setattr(type(fn), "listed", 0)  # the other sampler, for many destinations
    assert_fits(counts_of(fn.sample((500,)), every), probs)
    assert fn.sample((2, 3)).shape == (2, 3, times * n) and fn.sample().shape == (times * n,)
    with pytest.raises(ValueError, match="within the support"):
        fn.log_prob(torch.zeros(times * n, dtype=torch.long))
    assert not fn.support.check(torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize(("kind", "times"), [("OneOneMatching", 1), ("OneTwoMatching", 2)])
def test_refusals_of_matchings(kind: str, times: int) -> None:
    make = getattr(dist, kind)
    with pytest.raises(AssertionError, match=f"{times} rows for each column, got 3 and 4"):
        make(torch.zeros(3, 4))
    with pytest.raises(NotImplementedError, match="does not support batching"):
        make(torch.zeros(2, 2 * times, 2))
    with pytest.raises(AssertionError, match="bp_iters is a positive number"):
        make(torch.zeros(2 * times, 2), bp_iters=0)
    large = make(torch.zeros(20 * times, 20))
    with pytest.raises(NotImplementedError, match="bp_iters=10"):
        _ = large.log_partition_function
    with pytest.raises(NotImplementedError, match="too many matchings"):
        large.sample()
    with pytest.raises(NotImplementedError, match="list of matchings"):
        large.enumerate_support()
    with pytest.raises(NotImplementedError, match="leave bp_iters out"):
        make(torch.zeros(2 * times, 2), bp_iters=3).sample()


def test_approximate_sums_are_bounds_and_near_where_one_matching_dominates() -> None:
    for n in (2, 5):
        logits = torch.randn(n, n)
        exact = dist.OneOneMatching(logits).log_partition_function
        near = dist.OneOneMatching(logits, bp_iters=50).log_partition_function
        assert exact - n / 2 * math.log(2) - 0.2 < near < exact  # the bound of Vontobel (2013), nearly
    sure = 20 * torch.eye(3)
    assert_close(
        dist.OneOneMatching(sure, bp_iters=20).log_partition_function, tensor(60.0), atol=1e-3, rtol=0
    )
    pairs = sure.repeat_interleave(2, 0)
    assert_close(
        dist.OneTwoMatching(pairs, bp_iters=20).log_partition_function, tensor(120.0), atol=1e-3, rtol=0
    )


def test_best_assignments() -> None:
    for n in (1, 3, 6):
        logits = torch.randn(n, n)
        every = dist.OneOneMatching(logits).enumerate_support()
        best = every[logits[torch.arange(n), every].sum(-1).argmax()]
        assert torch.equal(assignments.best_assignment(logits), best)


# ---- trees


def test_trees() -> None:
    logits = torch.randn(10, requires_grad=True)
    fn: Any = dist.SpanningTree(logits)
    every = fn.enumerate_support()
    assert fn.num_vertices == 5 and len(every) == 125 == spanning_tree.NUM_SPANNING_TREES[5]
    log_probs = fn.log_prob(every)
    assert_close(log_probs.exp().sum(), tensor(1.0))
    assert torch.equal(fn.mode, every[log_probs.argmax()])
    v1, v2 = spanning_tree.make_complete_graph(5)
    # The gradient of the log normaliser by a logit is the probability of its edge.
    gradient = torch.autograd.grad(fn.log_partition_function, logits)[0]
    assert_close(fn.edge_mean[v1, v2].detach(), gradient)
    assert_close(fn.edge_mean, fn.edge_mean.mT)
    assert_close(fn.edge_mean.sum() / 2, tensor(4.0))
    mild: Any = dist.SpanningTree(0.5 * torch.randn(6))
    few = mild.enumerate_support()
    assert_fits(counts_of(mild.sample((3000,)), few), mild.log_prob(few).exp())
    assert mild.sample((2, 2)).shape == (2, 2, 3, 2)


def test_a_markov_chain_of_trees_keeps_the_distribution() -> None:
    logits = 0.5 * torch.randn(6)
    fn: Any = dist.SpanningTree(logits)
    moved = [spanning_tree.sample_tree_mcmc(logits, fn.sample()) for _ in range(1000)]
    every = fn.enumerate_support()
    assert_fits(counts_of(torch.stack(moved), every), fn.log_prob(every).exp())
    fn.validate_edges(spanning_tree.sample_tree_approx(logits))


def test_refusals_of_trees() -> None:
    fn = dist.SpanningTree(torch.zeros(6))
    for edges, words in (
        ([[1, 0], [0, 2], [0, 3]], "Vertices are not sorted"),
        ([[0, 3], [0, 2], [0, 1]], "not sorted colexicographically"),
        ([[0, 1], [0, 2], [1, 2]], "contain a cycle"),
        ([[0, 1], [0, 2], [0, 4]], "Invalid vertex ids"),
        ([[0, 1], [0, 2]], "expected 3 edges"),
    ):
        with pytest.raises(ValueError, match=words):
            fn.log_prob(tensor(edges))
    with pytest.raises(AssertionError, match="no complete graph has 5 edges"):
        dist.SpanningTree(torch.zeros(5))
    with pytest.raises(NotImplementedError, match="batching"):
        fn.expand([2])
    with pytest.raises(NotImplementedError, match="too many for a list"):
        spanning_tree.enumerate_spanning_trees(9)
    with pytest.raises(ValueError, match="unknown backend"):
        spanning_tree.sample_tree(torch.zeros(6), backend="fortran")


# ---- times of coalescence


def test_two_lineages_meet_after_an_exponential_time() -> None:
    fn = dist.CoalescentTimes(tensor([0.0, 1.0]), tensor([0.5, 2.0]))
    value = tensor([[-0.7], [-0.2]])
    assert_close(fn.log_prob(value), dist.Exponential(tensor([0.5, 2.0])).log_prob(-value.squeeze(-1)))
    assert_close(fn.sample((20000,)).mean(0).squeeze(-1), tensor([-2.0, -0.5]), atol=0.08, rtol=0)


def test_the_density_of_three_leaves_integrates_to_one() -> None:
    leaves, rate = tensor([0.2, 0.0, 0.5]), tensor(1.3)
    fn = dist.CoalescentTimes(leaves, rate)
    grid = torch.linspace(-8, 0.5, 701)
    times = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1)
    possible = fn.support.check(times)
    quiet = dist.CoalescentTimes(leaves, rate, validate_args=False)
    density = torch.where(possible, quiet.log_prob(times).exp(), 0.0)
    cell = (grid[1] - grid[0]) ** 2
    assert_close(density.sum() * cell, tensor(1.0), atol=0.02, rtol=0)
    draws = fn.sample((20000,))
    assert fn.support.check(draws).all()
    mean = (times * density.unsqueeze(-1)).sum((0, 1)) * cell
    assert_close(draws.mean(0), mean, atol=0.03, rtol=0.02)


def test_rates_that_change() -> None:
    leaves, value = tensor([3.0, 5.0, 8.0, 7.0]), tensor([1.7, 4.2, 6.5])
    rates = torch.rand(9) + 0.3
    same = dist.CoalescentTimesWithRate(leaves, torch.full((9,), 1.5))
    assert_close(same.log_prob(value), dist.CoalescentTimes(leaves, tensor(1.5)).log_prob(value))
    fn = dist.CoalescentTimesWithRate(leaves, rates)
    likelihood = dist.CoalescentRateLikelihood(leaves, value, 9)
    parts = likelihood(rates)
    assert_close(parts.sum(), fn.log_prob(value))
    assert_close(torch.stack([likelihood(rates[t], t) for t in range(9)]), parts)
    assert_close(likelihood(rates[2:5], slice(2, 5)), parts[2:5])
    # Beyond both ends the outer rates go on; times in another order are the same.
    early = dist.CoalescentTimesWithRate(leaves - 4, rates)
    beyond = dist.CoalescentRateLikelihood(leaves - 4, (value - 4).flip(0), 9)
    assert_close(beyond(rates).sum(), early.log_prob(value - 4))
    assert fn.duration == 9 and fn.expand([3]).log_prob(value).shape == (3,)
    batch = dist.CoalescentTimesWithRate(leaves, torch.rand(3, 9) + 0.3)
    assert batch.log_prob(value).shape == batch.batch_shape == (3,)


def test_impossible_times() -> None:
    leaves = tensor([0.0, 1.0, 2.0])
    check = CoalescentTimesConstraint(leaves)
    assert check.check(tensor([-1.0, 0.5])) and not check.check(tensor([0.5, -1.0]))
    assert CoalescentTimesConstraint(leaves, ordered=False).check(tensor([0.5, -1.0]))
    assert not check.check(tensor([0.4, 0.5]))  # at 0.4 there is one lineage
    with pytest.raises(ValueError, match="no two lineages"):
        dist.CoalescentRateLikelihood(leaves, tensor([0.4, 0.5]), 3)
    with pytest.raises(ValueError, match="two leaves or more"):
        dist.CoalescentTimes(tensor([1.0]))


class Clade:
    def __init__(self, *children: Clade, length: float = 1.0) -> None:
        self.children, self.branch_length = children, length

    def __iter__(self) -> Any:
        return iter(self.children)


def test_times_of_a_tree() -> None:
    class Tree:
        root = Clade(Clade(Clade(), Clade(length=0.5)), Clade(), length=0.0)

    leaves, meetings = bio_phylo_to_times(Tree)
    assert leaves.tolist() == [1.0, 1.5, 2.0] and meetings.tolist() == [0.0, 1.0]


# ---- angles


@pytest.mark.parametrize(("k1", "k2", "r"), [(1.0, 2.0, 0.5), (0.5, 0.7, 2.0), (40.0, 25.0, -20.0)])
def test_two_angles(k1: float, k2: float, r: float) -> None:
    fn = dist.SineBivariateVonMises(tensor(0.3), tensor(-1.0), tensor(k1), tensor(k2), tensor(r))
    grid = torch.linspace(-math.pi, math.pi, 401)[:-1]
    pairs = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1)
    mass = fn.log_prob(pairs).exp() * (2 * math.pi / 400) ** 2
    assert_close(mass.sum(), tensor(1.0))
    draws = fn.sample((20000,))
    assert (draws.abs() <= math.pi).all() and fn.mean.tolist() == [0.3, -1.0]
    for f in (torch.cos, torch.sin, lambda x: torch.cos(x - x.flip(-1)), lambda x: (2 * x).sin()):
        expected = (f(pairs) * mass.unsqueeze(-1)).sum((0, 1))
        assert_close(f(draws).mean(0), expected, atol=5 / math.sqrt(20000), rtol=0)


def test_correlations_of_angles() -> None:
    one = torch.ones(())
    weighted = dist.SineBivariateVonMises(one, one, 4 * one, 9 * one, weighted_correlation=0.5 * one)
    assert_close(weighted.correlation, tensor(3.0))
    with pytest.raises(AssertionError, match="takes one of"):
        dist.SineBivariateVonMises(one, one, one, one)
    shapes = dist.SineBivariateVonMises.infer_shapes(phi_loc=(3,), psi_loc=(2, 1), correlation=())
    assert shapes == ((2, 3), (2,))


# ---- groups


def test_groups_of_normal_data() -> None:
    group = tensor([0, 0, 2, 1, 2, 2])
    loc, scale, noise, x = torch.randn(4), torch.rand(4) + 0.5, torch.rand(6) + 0.3, torch.randn(6)
    fn = dist.GroupedNormalNormal(loc, scale, noise, group)
    shared = (group[:, None] == group) * scale[group] ** 2
    whole = dist.MultivariateNormal(loc[group], shared + torch.diag(noise**2))
    assert_close(fn.log_prob(x), whole.log_prob(x))
    for g in range(4):
        mine = group == g
        precision = scale[g] ** -2 + (noise[mine] ** -2).sum()
        mean = (loc[g] * scale[g] ** -2 + (x[mine] * noise[mine] ** -2).sum()) / precision
        assert_close(fn.get_posterior(x).loc[g], mean)
        assert_close(fn.get_posterior(x).scale[g], precision**-0.5)
    same = dist.GroupedNormalNormal(loc, torch.ones(1), torch.ones(()), group)
    assert same.log_prob(x).shape == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.zeros(2, 3), torch.ones(3), torch.ones(2), tensor([0, 1])), "prior_loc and prior_scale"),
        ((torch.zeros(3), torch.ones(2), torch.ones(2), tensor([0, 1])), "prior_loc and prior_scale"),
        ((torch.zeros(3), torch.ones(3), torch.ones(3), tensor([0, 1])), "obs_scale must be a number"),
        (
            (torch.zeros(3), torch.ones(3), torch.ones(2), tensor([0.0, 1.0])),
            "group_idx must be a 1-dimensional",
        ),
        ((torch.zeros(3), torch.ones(3), torch.ones(2), tensor([0, 3])), "less than the number of groups, 3"),
    ],
)
def test_groups_that_do_not_fit(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dist.GroupedNormalNormal(*arguments)


def test_groups_have_neither_draws_nor_batches() -> None:
    fn = dist.GroupedNormalNormal(torch.zeros(2), torch.ones(2), torch.ones(3), tensor([0, 1, 1]))
    with pytest.raises(NotImplementedError, match="observed data"):
        fn.sample()
    with pytest.raises(NotImplementedError, match="no batches"):
        fn.expand([2])
    with pytest.raises(ValueError, match="same shape as group_idx"):
        fn.log_prob(torch.zeros(2))
