"""Which detection is of which object: marginal probabilities, exact or by belief propagation.

J. L. Williams and R. A. Lau (2014), *Approximate evaluation of marginal association probabilities with belief
propagation*; R. Turner, S. Bottone and B. Avasarala (2014), *A complete variational tracker*.

All functions take and return logits: of an object's existence, and of a detection being of an object, against
its being spurious.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

import ember.distributions as dist

Marginals = tuple[Tensor, Tensor]
# What stands for certainty: messages of infinite logits would be NaN.
_LARGEST = 40.0


def _finite(logits: Tensor) -> Tensor:
    return logits.clamp(min=-_LARGEST, max=_LARGEST)


def _with_spurious(assign: Tensor) -> dist.Categorical:
    spurious = torch.zeros(assign.shape[:-1] + (1,), dtype=assign.dtype, device=assign.device)
    return dist.Categorical(logits=torch.cat([assign, spurious], dim=-1))


class MarginalAssignment:
    """Detections, each of one object or of none; an object may have any number of them.

    Args:
        exists_logits: of the objects, (num_objects,).
        assign_logits: of the pairs, (num_detections, num_objects).
        bp_iters: iterations of belief propagation; if None, exact, at a cost that is exponential in the objects.

    Attributes:
        exists_dist: marginals of existence.
        assign_dist: marginals of the object of each detection; the last category is none.

    Raises:
        AssertionError: if the shapes do not match.
    """

    def __init__(self, exists_logits: Tensor, assign_logits: Tensor, bp_iters: int | None = None) -> None:
        _check(exists_logits, assign_logits, 2)
        self.num_detections, self.num_objects = assign_logits.shape
        assign_logits = _finite(assign_logits)
        if bp_iters is None:
            exists, assign = compute_marginals(exists_logits, assign_logits)
        else:
            exists, assign = compute_marginals_bp(exists_logits, assign_logits, bp_iters)
        self.assign_dist = _with_spurious(assign)
        self.exists_dist = dist.Bernoulli(logits=exists)


class MarginalAssignmentSparse:
    """The same for few feasible pairs.

    Args:
        num_objects: how many objects there may be.
        num_detections: how many detections.
        edges: indices of detection and object of the feasible pairs, (2, num_edges).
        exists_logits: of the objects, (num_objects,).
        assign_logits: of the pairs, (num_edges,).
        bp_iters: iterations of belief propagation.

    Raises:
        AssertionError: if the shapes do not match.
    """

    def __init__(
        self,
        num_objects: int,
        num_detections: int,
        edges: Tensor,
        exists_logits: Tensor,
        assign_logits: Tensor,
        bp_iters: int,
    ) -> None:
        assert edges.dim() == 2 and edges.shape[0] == 2, f"edges are (2, num_edges), not {tuple(edges.shape)}"
        assert exists_logits.shape == (num_objects,), f"exists_logits are {tuple(exists_logits.shape)}"
        assert assign_logits.shape == edges.shape[1:], f"assign_logits are {tuple(assign_logits.shape)}"
        assert bp_iters is not None, "there is no exact method for sparse assignments"
        self.num_objects = num_objects
        self.num_detections = num_detections
        self.edges = edges
        exists, assign = compute_marginals_sparse_bp(
            num_objects, num_detections, edges, exists_logits, _finite(assign_logits), bp_iters
        )
        dense = torch.full((num_detections, num_objects), -math.inf, dtype=assign.dtype, device=assign.device)
        self.assign_dist = _with_spurious(dense.index_put((edges[0], edges[1]), assign))
        self.exists_dist = dist.Bernoulli(logits=exists)


class MarginalAssignmentPersistent:
    """Objects that exist in all frames or in none, with at most one detection a frame.

    Args:
        exists_logits: of the objects, (num_objects,).
        assign_logits: of the pairs, (num_frames, num_detections, num_objects); ``-inf`` for detections that are
            not there.
        bp_iters: iterations of belief propagation; if None, exact, at an exponential cost.
        bp_momentum: how much of the last messages is kept, in [0, 1).

    Attributes:
        exists_dist: marginals of existence.
        assign_dist: marginals of the object of each detection; the last category is none.

    Raises:
        AssertionError: if the shapes do not match, or the momentum is out of range.
    """

    def __init__(
        self,
        exists_logits: Tensor,
        assign_logits: Tensor,
        bp_iters: int | None = None,
        bp_momentum: float = 0.5,
    ) -> None:
        _check(exists_logits, assign_logits, 3)
        self.num_frames, self.num_detections, self.num_objects = assign_logits.shape
        assign_logits = _finite(assign_logits)
        if bp_iters is None:
            exists, assign = compute_marginals_persistent(exists_logits, assign_logits)
        else:
            exists, assign = compute_marginals_persistent_bp(
                exists_logits, assign_logits, bp_iters, bp_momentum
            )
        self.assign_dist = _with_spurious(assign)
        self.exists_dist = dist.Bernoulli(logits=exists)


def _check(exists_logits: Tensor, assign_logits: Tensor, dims: int) -> None:
    match = (
        exists_logits.dim() == 1
        and assign_logits.dim() == dims
        and assign_logits.shape[-1:] == exists_logits.shape
    )
    assert match, (
        f"exists_logits of shape (num_objects,) and assign_logits of {dims} dims, the last of that size, "
        f"and not {tuple(exists_logits.shape)} and {tuple(assign_logits.shape)}"
    )


def compute_marginals(exists_logits: Tensor, assign_logits: Tensor) -> Marginals:
    """Marginals by enumeration of what exists; see :class:`MarginalAssignment`."""
    worlds = _worlds(exists_logits)
    # Given what exists, detections are independent.
    options = assign_logits + worlds.log().unsqueeze(-2)
    totals = torch.cat([options, torch.zeros_like(options[..., :1])], -1).logsumexp(-1)
    log_joint = (worlds * exists_logits).sum(-1) + totals.sum(-1)
    exists = _log_odds(log_joint, worlds)
    pairs = log_joint[:, None, None] + options - totals.unsqueeze(-1)
    spurious = (log_joint.unsqueeze(-1) - totals).logsumexp(0)
    return exists, pairs.logsumexp(0) - spurious.unsqueeze(-1)


def _worlds(exists_logits: Tensor) -> Tensor:
    """Rows of zeros and ones: all sets of objects that may exist."""
    rows = list(itertools.product((0.0, 1.0), repeat=exists_logits.numel()))
    return exists_logits.new_tensor(rows)


def _log_odds(log_joint: Tensor, worlds: Tensor) -> Tensor:
    present = (log_joint.unsqueeze(-1) + worlds.log()).logsumexp(0)
    absent = (log_joint.unsqueeze(-1) + (1 - worlds).log()).logsumexp(0)
    return present - absent


def compute_marginals_bp(exists_logits: Tensor, assign_logits: Tensor, bp_iters: int) -> Marginals:
    """Marginals by loopy belief propagation; see :class:`MarginalAssignment`."""
    to_exists = torch.zeros_like(assign_logits)
    to_assign = torch.zeros_like(assign_logits)
    for _ in range(bp_iters):
        belief = exists_logits + to_exists.sum(0)
        # The log probability that the object exists, as far as the other detections say.
        to_assign = -softplus(to_exists - belief)
        odds = (assign_logits + to_assign).exp()
        others = odds.sum(-1, keepdim=True) - odds
        to_exists = (assign_logits.exp() / (1 + others)).log1p()
    return exists_logits + to_exists.sum(0), assign_logits + to_assign


def compute_marginals_sparse_bp(
    num_objects: int,
    num_detections: int,
    edges: Tensor,
    exists_logits: Tensor,
    assign_logits: Tensor,
    bp_iters: int,
) -> Marginals:
    """Marginals by loopy belief propagation; see :class:`MarginalAssignmentSparse`."""
    detections, objects = edges

    def summed(values: Tensor, index: Tensor, size: int) -> Tensor:
        return values.new_zeros(size).scatter_add_(0, index, values)

    to_exists = torch.zeros_like(assign_logits)
    to_assign = torch.zeros_like(assign_logits)
    for _ in range(bp_iters):
        belief = exists_logits + summed(to_exists, objects, num_objects)
        to_assign = -softplus(to_exists - belief[objects])
        odds = (assign_logits + to_assign).exp()
        others = summed(odds, detections, num_detections)[detections] - odds
        to_exists = (assign_logits.exp() / (1 + others)).log1p()
    return exists_logits + summed(to_exists, objects, num_objects), assign_logits + to_assign


def _matchings(num_detections: int, num_objects: int) -> list[tuple[int, ...]]:
    """For each way in which detections are of different objects: the object of each, ``num_objects`` for none."""
    choices = itertools.product(range(num_objects + 1), repeat=num_detections)
    return [c for c in choices if len(set(c) - {num_objects}) == sum(o != num_objects for o in c)]


def compute_marginals_persistent(exists_logits: Tensor, assign_logits: Tensor) -> Marginals:
    """Marginals by enumeration of what exists and of all matchings; see :class:`MarginalAssignmentPersistent`."""
    _, num_detections, num_objects = assign_logits.shape
    worlds = _worlds(exists_logits)
    index = torch.tensor(_matchings(num_detections, num_objects), device=assign_logits.device)
    padded = torch.cat([assign_logits, torch.zeros_like(assign_logits[..., :1])], -1)
    detections = torch.arange(num_detections, device=index.device)
    scores = padded[:, detections, index].sum(-1)  # (frames, matchings)
    allowed = torch.cat([worlds, torch.ones_like(worlds[:, :1])], -1).log()[:, index].sum(-1)
    by_frame = scores + allowed.unsqueeze(1)  # (worlds, frames, matchings)
    totals = by_frame.logsumexp(-1)
    log_joint = (worlds * exists_logits).sum(-1) + totals.sum(-1)
    weights = (log_joint[:, None, None] + by_frame - totals.unsqueeze(-1)).logsumexp(0)
    is_of = index.unsqueeze(-1) == torch.arange(num_objects + 1, device=index.device)
    marginal = (weights[:, :, None, None] + is_of.to(weights).log()).logsumexp(1)
    return _log_odds(log_joint, worlds), marginal[..., :-1] - marginal[..., -1:]


def compute_marginals_persistent_bp(
    exists_logits: Tensor, assign_logits: Tensor, bp_iters: int, bp_momentum: float = 0.5
) -> Marginals:
    """Marginals by loopy belief propagation; see :class:`MarginalAssignmentPersistent`."""
    assert 0 <= bp_momentum < 1, f"bp_momentum is in [0, 1), and not {bp_momentum}"
    # Log messages: from detections to pairs, from objects to pairs, from frames to existence, and back. The damped
    # ones start at 0, with the logits in them.
    from_detection = torch.zeros_like(assign_logits)
    from_object = torch.zeros_like(assign_logits)
    to_exists = torch.zeros_like(assign_logits[:, 0])
    belief = torch.zeros_like(to_exists)

    def damped(new: Tensor, old: Tensor) -> Tensor:
        return bp_momentum * old + (1 - bp_momentum) * new

    for _ in range(bp_iters):
        odds = (assign_logits + from_object).exp()
        from_detection = damped(assign_logits - (odds.sum(-1, keepdim=True) - odds).log1p(), from_detection)
        weights = from_detection.exp()
        to_exists = damped(weights.sum(-2).log1p(), to_exists)
        belief = damped(exists_logits + to_exists.sum(0) - to_exists, belief)
        absent = (-belief).exp().unsqueeze(-2)
        others = weights.sum(-2, keepdim=True) - weights
        from_object = damped(-(absent + others).log1p(), from_object)
    return exists_logits + to_exists.sum(0), assign_logits + from_object
