"""Sums, maxima and draws over assignments of rows to columns, each column taken a given number of times.

References:
    P. O. Vontobel (2013), "The Bethe Permanent of a Nonnegative Matrix" (approximate sums).
    R. Jonker, A. Volgenant (1987), "A Shortest Augmenting Path Algorithm for Dense and Sparse Linear Assignment Problems".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_STATES = 2**17
"""Of counts of how often each column was taken, that exact sums go through."""


def count_tables(logits: Tensor, times: int) -> list[Tensor]:
    """For each number of first rows, the log of the sum over assignments of these, by how often each column was taken.

    Args:
        logits: ``(times * columns, columns)``.
        times: how often each column is taken.

    Returns:
        tables with a dim of size ``times + 1`` for each column. The last entry of the last is the sum over all assignments.
    """
    columns = logits.size(-1)
    never = (
        torch.finfo(logits.dtype).min / 8
    )  # finite, so that gradients of impossible states are zero, not NaN
    table = torch.full((times + 1,) * columns, never, dtype=logits.dtype, device=logits.device)
    table = table.index_put((torch.zeros(1, dtype=torch.long),) * columns, torch.zeros(1, dtype=logits.dtype))
    tables = [table]
    for row in logits:
        moved = []
        for column in range(columns):
            kept = table.narrow(column, 0, times) + row[column]
            edge = torch.full_like(table.narrow(column, 0, 1), never)
            moved.append(torch.cat([edge, kept], column))
        table = torch.stack(moved).logsumexp(0)
        tables.append(table)
    return tables


def log_sum_of_assignments(logits: Tensor, times: int) -> Tensor:
    """The log of the sum over all assignments of the exponential of their logits' sum.

    >>> round(log_sum_of_assignments(torch.zeros(3, 3), 1).exp().item())
    6
    >>> round(log_sum_of_assignments(torch.zeros(6, 3), 2).exp().item())
    90
    """
    return count_tables(logits, times)[-1].reshape(-1)[-1]


def draw_assignment(logits: Tensor, times: int) -> Tensor:
    """One exact draw, from the last row to the first."""
    tables = count_tables(logits, times)
    taken = [times] * logits.size(-1)
    drawn = []
    for row in range(logits.size(0) - 1, -1, -1):
        scores = torch.full_like(logits[0], -torch.inf)
        for column, count in enumerate(taken):
            if count:
                before = tuple(c - (k == column) for k, c in enumerate(taken))
                scores[column] = tables[row][before] + logits[row, column]
        choice = int(torch.distributions.Categorical(logits=scores).sample())  # type: ignore[no-untyped-call]
        taken[choice] -= 1
        drawn.append(choice)
    return torch.tensor(drawn[::-1], device=logits.device)


def best_assignment(logits: Tensor) -> Tensor:
    """The columns of the assignment of rows to different columns with the greatest sum, by shortest augmenting paths.

    >>> best_assignment(torch.tensor([[3.0, 5.0], [1.0, 4.0]]))
    tensor([0, 1])
    """
    cost = (-logits.detach().double()).tolist()
    n = len(cost)
    row_price, column_price = [0.0] * (n + 1), [0.0] * (n + 1)
    row_of, way = [0] * (n + 1), [0] * (n + 1)  # of columns, from one; zero is none
    for row in range(1, n + 1):
        row_of[0], column = row, 0
        least, used = [float("inf")] * (n + 1), [False] * (n + 1)
        while True:
            used[column] = True
            current, delta, following = row_of[column], float("inf"), 0
            for j in range(1, n + 1):
                if not used[j]:
                    reduced = cost[current - 1][j - 1] - row_price[current] - column_price[j]
                    if reduced < least[j]:
                        least[j], way[j] = reduced, column
                    if least[j] < delta:
                        delta, following = least[j], j
            for j in range(n + 1):
                if used[j]:
                    row_price[row_of[j]] += delta
                    column_price[j] -= delta
                else:
                    least[j] -= delta
            column = following
            if row_of[column] == 0:
                break
        while column:
            row_of[column], column = row_of[way[column]], way[column]
    found = [0] * n
    for column in range(1, n + 1):
        found[row_of[column] - 1] = column - 1
    return torch.tensor(found, device=logits.device)


def approximate_log_sum(logits: Tensor, times: int, iterations: int) -> Tensor:
    """About :func:`log_sum_of_assignments`, in a time that grows with the square of its size.

    Rows and columns are scaled in turn until rows sum to one and columns to ``times`` (Sinkhorn), and the Bethe free energy of
    these marginals is taken; with columns taken once that is a bound from below (Vontobel, 2013).

    Args:
        iterations: how often rows and columns are scaled.
    """
    marginals = logits - logits.logsumexp(-1, keepdim=True)
    for _ in range(iterations):
        marginals = marginals - marginals.logsumexp(-2, keepdim=True) + math.log(times)
        marginals = marginals - marginals.logsumexp(-1, keepdim=True)
    p = marginals.exp()
    rest = (1 - p).clamp(min=torch.finfo(p.dtype).eps)
    energy = (p * (logits - marginals)).sum() + (rest * rest.log()).sum()
    if times == 2:
        energy = energy + (0.5 * (p.sum(-2).square() - p.square().sum(-2))).log().sum()
    return energy


def check_square(name: str, logits: Tensor, times: int) -> int:
    """The number of columns, of a matrix with ``times`` rows for each.

    Raises:
        NotImplementedError: for a batch of matrices.
        AssertionError: if the sizes do not fit.
    """
    if logits.dim() != 2:
        raise NotImplementedError(
            f"{name} does not support batching: logits have shape {tuple(logits.shape)}"
        )
    rows, columns = logits.shape
    if rows != times * columns or not columns:
        raise AssertionError(
            f"{name} takes logits with {times} rows for each column, got {rows} and {columns}"
        )
    return columns


def sum_is_feasible(columns: int, times: int) -> bool:
    """Whether exact sums go through no more than ``MOST_STATES`` counts."""
    states: int = (times + 1) ** columns
    return states <= MOST_STATES
