"""Random spanning trees of a complete graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NoReturn

import torch
from torch import Size, Tensor
from torch.distributions.utils import lazy_property

from ember.distributions import constraints
from ember.distributions.torch_distribution import TorchDistribution

NUM_SPANNING_TREES = [1, 1, *(n ** (n - 2) for n in range(2, 20))]
"""Of complete graphs, by their number of vertices (Cayley)."""
_MOST_LISTED = 8


class SpanningTree(TorchDistribution):
    """Spanning trees of the complete graph of ``V`` vertices, with probability proportional to the product of weights of edges.

    A value has the two vertices of each edge, the lesser first, sorted by the greater and then the lesser.
    The normaliser is a determinant (Kirchhoff's matrix tree theorem), and draws are exact, by loop-erased
    random walks (Wilson, 1996).

    Args:
        edge_logits: logs of weights, ``(V * (V - 1) / 2,)``, edges sorted as in a value.
        sampler_options: options of :func:`sample_tree`.
        validate_args: whether to check values.

    Shapes:
        events: ``(V - 1, 2)``.

    Raises:
        AssertionError: if the number of edges is not that of a complete graph.

    References:
        D. B. Wilson (1996), "Generating Random Spanning Trees More Quickly than the Cover Time".
        R. Lyons, Y. Peres (2016), "Probability on Trees and Networks", chapter 4 (the transfer current
        theorem).

    >>> import torch
    >>> from ember.distributions import SpanningTree
    >>> fn = SpanningTree(torch.zeros(6))
    >>> fn.num_vertices, round(fn.log_partition_function.exp().item())
    (4, 16)
    """

    arg_constraints: dict[str, Any] = {"edge_logits": constraints.real}
    support = constraints.nonnegative_integer
    has_enumerate_support = True

    def __init__(
        self,
        edge_logits: Tensor,
        sampler_options: dict[str, Any] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.num_vertices = _vertices(edge_logits)
        self.edge_logits = edge_logits
        self.sampler_options = sampler_options or {}
        super().__init__(Size(), Size([self.num_vertices - 1, 2]), validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> NoReturn:
        """There are no batches.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("SpanningTree does not support batching")

    def validate_edges(self, edges: Tensor) -> None:
        """Check that edges are sorted, and those of a tree.

        Raises:
            ValueError: if not; it says in which way.
        """
        if edges.shape[-2:] != self.event_shape:
            raise ValueError(
                f"expected {self.num_vertices - 1} edges of two vertices, got shape {tuple(edges.shape)}"
            )
        if not bool(((edges >= 0) & (edges < self.num_vertices)).all()):
            raise ValueError(f"Invalid vertex ids, of {self.num_vertices} vertices:\n{edges}")
        if not bool((edges[..., 0] < edges[..., 1]).all()):
            raise ValueError(f"Vertices are not sorted in each edge:\n{edges}")
        index = _edge_index(edges)
        if not bool((index[..., :-1] < index[..., 1:]).all()):
            raise ValueError(f"Edges are not sorted colexicographically:\n{edges}")
        for tree in edges.reshape(-1, *self.event_shape).tolist():
            if not _is_tree(self.num_vertices, tree):
                raise ValueError(f"Edges contain a cycle:\n{edges}")

    def _laplacian(self) -> tuple[Tensor, Tensor]:
        """Of weights that are at most one, without the last vertex; and the log of what they were divided by."""
        shift = self.edge_logits.detach().max()
        v1, v2 = _grid(self.num_vertices, self.edge_logits.device)
        weights = (self.edge_logits - shift).exp()
        matrix = weights.new_zeros(self.num_vertices, self.num_vertices).index_put((v1, v2), weights)
        matrix = matrix + matrix.mT
        return (matrix.sum(-1).diag_embed() - matrix)[:-1, :-1], shift

    @lazy_property
    def log_partition_function(self) -> Tensor:
        """The log of the sum over all trees of the product of weights."""
        minor, shift = self._laplacian()
        half: Tensor = torch.linalg.cholesky(minor).diagonal().log().sum()
        return 2 * half + shift * (self.num_vertices - 1)

    def log_prob(self, edges: Tensor) -> Tensor:
        """Return the log probability of trees ``(..., V - 1, 2)``."""
        if self._validate_args:
            self.validate_edges(edges)
        return self.edge_logits[_edge_index(edges)].sum(-1) - self.log_partition_function

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw trees, exactly."""
        shape = Size(sample_shape)
        drawn = [sample_tree(self.edge_logits, **self.sampler_options) for _ in range(shape.numel())]
        return torch.stack(drawn).reshape(shape + self.event_shape)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All trees, ``(trees, V - 1, 2)``."""
        return torch.tensor(enumerate_spanning_trees(self.num_vertices), device=self.edge_logits.device)

    @property
    def mode(self) -> Tensor:
        """The likeliest tree."""
        return find_best_tree(self.edge_logits)

    @property
    def edge_mean(self) -> Tensor:
        """The probability of each edge, as a symmetric matrix ``(V, V)``.

        It is the weight of the edge times its effective resistance.
        """
        minor, shift = self._laplacian()
        inverse = torch.nn.functional.pad(torch.linalg.inv(minor), (0, 1, 0, 1))
        v1, v2 = _grid(self.num_vertices, self.edge_logits.device)
        resistance = inverse[v1, v1] + inverse[v2, v2] - 2 * inverse[v1, v2]
        half = torch.zeros_like(inverse).index_put((v1, v2), (self.edge_logits - shift).exp() * resistance)
        return half + half.mT


def _vertices(edge_logits: Tensor) -> int:
    assert edge_logits.dim() == 1, f"edge_logits has one dim, got shape {tuple(edge_logits.shape)}"
    edges = len(edge_logits)
    vertices = (1 + math.isqrt(1 + 8 * edges)) // 2
    assert edges == vertices * (vertices - 1) // 2, f"no complete graph has {edges} edges"
    return vertices


def _edge_index(edges: Tensor) -> Tensor:
    return edges[..., 0] + edges[..., 1] * (edges[..., 1] - 1) // 2


def _grid(num_vertices: int, device: Any = None) -> tuple[Tensor, Tensor]:
    later, earlier = torch.tril_indices(num_vertices, num_vertices, offset=-1, device=device)
    return earlier, later


def _is_tree(num_vertices: int, edges: Sequence[Sequence[int]]) -> bool:
    part = list(range(num_vertices))
    for v1, v2 in edges:
        if part[v1] == part[v2]:
            return False
        old, new = part[v2], part[v1]
        part = [new if p == old else p for p in part]
    return True


def _sorted(edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(((min(e), max(e)) for e in edges), key=lambda e: (e[1], e[0]))


def _check_backend(backend: str) -> None:
    if backend not in ("python", "cpp"):
        raise ValueError(
            f"unknown backend: {backend!r}; there are 'python' and 'cpp', which do the same here"
        )


def make_complete_graph(num_vertices: int, backend: str = "python") -> Tensor:
    """The vertices of all edges, ``(2, edges)``, in the order of ``edge_logits``.

    Raises:
        ValueError: if there are no two vertices.

    >>> make_complete_graph(3)
    tensor([[0, 0, 1],
            [1, 2, 2]])
    """
    _check_backend(backend)
    if num_vertices < 2:
        raise ValueError("PyTorch cannot handle zero-sized multidimensional tensors")
    return torch.stack(_grid(num_vertices))


@torch.no_grad()
def sample_tree(
    edge_logits: Tensor, init_edges: Tensor | None = None, mcmc_steps: int = 1, backend: str = "python"
) -> Tensor:
    """Draw a tree, exactly: a random walk from each vertex to the tree so far, its loops left out.

    Args:
        edge_logits: logs of weights, as of :class:`SpanningTree`.
        init_edges: has no effect, as a draw is exact.
        mcmc_steps: has no effect, either.
        backend: ``"python"`` or ``"cpp"``.

    Returns:
        edges, ``(V - 1, 2)``.
    """
    _check_backend(backend)
    n = _vertices(edge_logits)
    v1, v2 = _grid(n, edge_logits.device)
    scores = edge_logits.new_full((n, n), -torch.inf)
    scores[v1, v2] = edge_logits
    scores[v2, v1] = edge_logits
    cumulative = scores.softmax(-1).cumsum(-1)
    inside, following = [v == 0 for v in range(n)], [0] * n
    for start in range(1, n):
        vertex = start
        while not inside[vertex]:
            uniform = (
                torch.rand((), dtype=cumulative.dtype, device=cumulative.device) * cumulative[vertex, -1]
            )
            following[vertex] = min(int(torch.searchsorted(cumulative[vertex], uniform, right=True)), n - 1)
            vertex = following[vertex]
        vertex = start
        while not inside[vertex]:
            inside[vertex] = True
            vertex = following[vertex]
    edges = _sorted([(vertex, following[vertex]) for vertex in range(1, n)])
    return torch.tensor(edges, device=edge_logits.device)


@torch.no_grad()
def sample_tree_approx(edge_logits: Tensor, backend: str = "python") -> Tensor:
    """Draw a tree approximately, edge by edge: from those that leave the tree so far, by their weights."""
    _check_backend(backend)
    n = _vertices(edge_logits)
    v1, v2 = _grid(n, edge_logits.device)
    inside = torch.zeros(n, dtype=torch.bool, device=edge_logits.device)
    first = int(torch.distributions.Categorical(logits=edge_logits).sample())  # type: ignore[no-untyped-call]
    chosen = [first]
    inside[v1[first]] = inside[v2[first]] = True
    while len(chosen) < n - 1:
        scores = edge_logits.masked_fill(inside[v1] == inside[v2], -torch.inf)
        edge = int(torch.distributions.Categorical(logits=scores).sample())  # type: ignore[no-untyped-call]
        chosen.append(edge)
        inside[v1[edge]] = inside[v2[edge]] = True
    return _edges(chosen, v1, v2)


@torch.no_grad()
def sample_tree_mcmc(edge_logits: Tensor, edges: Tensor, backend: str = "python") -> Tensor:
    """Go once through the edges of a tree, and replace each by one that joins the same two parts, by their weights."""
    _check_backend(backend)
    n = _vertices(edge_logits)
    v1, v2 = _grid(n, edge_logits.device)
    chosen = _edge_index(edges).tolist()
    for position in torch.randperm(n - 1).tolist():
        rest = chosen[:position] + chosen[position + 1 :]
        part = torch.arange(n, device=edge_logits.device)
        for edge in rest:
            part = torch.where(part == part[v2[edge]], part[v1[edge]], part)
        scores = edge_logits.masked_fill(part[v1] == part[v2], -torch.inf)
        chosen[position] = int(torch.distributions.Categorical(logits=scores).sample())  # type: ignore[no-untyped-call]
    return _edges(chosen, v1, v2)


def find_best_tree(edge_logits: Tensor, backend: str = "python") -> Tensor:
    """The tree with the greatest product of weights, by Prim's algorithm.

    >>> find_best_tree(torch.tensor([1.0, 0.0, 2.0]))
    tensor([[0, 1],
            [1, 2]])
    """
    _check_backend(backend)
    n = _vertices(edge_logits)
    v1, v2 = _grid(n, edge_logits.device)
    inside = torch.arange(n, device=edge_logits.device) == 0
    chosen: list[int] = []
    for _ in range(n - 1):
        edge = int(edge_logits.detach().masked_fill(inside[v1] == inside[v2], -torch.inf).argmax())
        chosen.append(edge)
        inside[v1[edge]] = inside[v2[edge]] = True
    return _edges(chosen, v1, v2)


def _edges(index: Sequence[int], v1: Tensor, v2: Tensor) -> Tensor:
    order = torch.tensor(sorted(index), dtype=torch.long, device=v1.device)
    return torch.stack([v1[order], v2[order]], -1)


def enumerate_spanning_trees(V: int) -> list[tuple[tuple[int, int], ...]]:
    """All trees of ``V`` vertices, by their Pruefer sequences, sorted.

    Raises:
        NotImplementedError: for more than eight vertices.

    >>> enumerate_spanning_trees(3)
    [((0, 1), (0, 2)), ((0, 1), (1, 2)), ((0, 2), (1, 2))]
    """
    if V > _MOST_LISTED:
        raise NotImplementedError(
            f"there are {V ** (V - 2):,} spanning trees of {V} vertices: too many for a list"
        )
    if V == 1:
        return [()]
    return sorted(tuple(_sorted(_of_sequence(V, code))) for code in product(range(V), repeat=V - 2))


def _of_sequence(n: int, code: Sequence[int]) -> list[tuple[int, int]]:
    degree = [1 + code.count(v) for v in range(n)]
    edges = []
    for vertex in code:
        leaf = degree.index(1)
        edges.append((leaf, vertex))
        degree[leaf] -= 1
        degree[vertex] -= 1
    first, second = (v for v in range(n) if degree[v] == 1)
    return [*edges, (first, second)]
