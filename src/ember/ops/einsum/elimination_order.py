"""The order in which a sum of products is computed, found in time that grows like the number of factors.

The greedy rule is the oldest one: of all summed dims, eliminate next the one whose factors together have the fewest entries
(S. Arnborg, D. Corneil, A. Proskurowski (1987), "Complexity of finding embeddings in a k-tree", for why not the best one). A
chain is thereby eaten from its ends.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Step", "elimination_steps"]


class Step(NamedTuple):
    """One einsum of a contraction.

    Attributes:
        operands: which tensors it takes: the factors are numbered from 0, and each step's result takes the next number.
        equation: the einsum equation, in the letters of the whole contraction.
    """

    operands: tuple[int, ...]
    equation: str


class _Contraction:
    """A product of factors, on its way to one tensor.

    Attributes:
        live: the dims of each factor that is there, by its number.
        holders: the factors that have a dim, by dim, as the keys of a dict: in the order in which they came.
        neighbours: by dim, how many factors it shares with each other dim.
        cost: by dim, the logarithm of the number of entries of all its factors, joined.
        steps: what has been done so far.
    """

    def __init__(self, inputs: Sequence[str], output: str, sizes: dict[str, int]) -> None:
        self.output = output
        self.kept = set(output)
        # Whole numbers, so that costs can be kept up to date by adding and taking away.
        self.logs = {dim: round(math.log(max(size, 1)) * 2**20) for dim, size in sizes.items()}
        self.rank = {dim: place for place, dim in enumerate(sizes)}
        self.live: dict[int, str] = {}
        self.holders: dict[str, dict[int, None]] = {dim: {} for dim in sizes}
        self.neighbours: dict[str, Counter[str]] = {dim: Counter() for dim in sizes}
        self.cost = dict.fromkeys(sizes, 0)
        self.steps: list[Step] = []
        self.count = 0
        for dims in inputs:
            self.add(dims)

    def add(self, dims: str) -> int:
        number = self.count
        self.count += 1
        self.live[number] = dims
        for dim in set(dims):
            self.holders[dim][number] = None
            counts = self.neighbours[dim]
            for other in dims:
                if not counts[other]:
                    self.cost[dim] += self.logs[other]
                counts[other] += 1
        return number

    def remove(self, number: int) -> str:
        dims = self.live.pop(number)
        for dim in set(dims):
            del self.holders[dim][number]
            counts = self.neighbours[dim]
            for other in dims:
                counts[other] -= 1
                if not counts[other]:
                    del counts[other]
                    self.cost[dim] -= self.logs[other]
        return dims

    def entries(self, number: int) -> int:
        return sum(self.logs[dim] for dim in self.live[number])

    def merge(self, numbers: Sequence[int], last: bool = False) -> int:
        """Multiply some factors, and sum out at once what no other factor has."""
        letters = [self.remove(number) for number in numbers]
        present = dict.fromkeys("".join(letters))
        # As the last step, the dims are put in the order asked for.
        result = self.output if last else "".join(d for d in present if d in self.kept or self.holders[d])
        self.steps.append(Step(tuple(numbers), ",".join(letters) + "->" + result))
        return self.add(result)

    def fold(self, numbers: Iterable[int], last: bool = False) -> int:
        """Multiply these factors pair by pair, the smallest first."""
        queue = sorted(numbers, key=lambda number: (self.entries(number), number))
        product = queue[0]
        if len(queue) == 1:
            return self.merge(queue, last)
        for place, number in enumerate(queue[1:], 2):
            product = self.merge((product, number), last and place == len(queue))
        return product

    def eliminate(self) -> None:
        """Sum out every dim that is not kept."""
        heap = [(self.cost[dim], self.rank[dim], dim) for dim in self.rank if dim not in self.kept]
        heapq.heapify(heap)
        while heap:
            cost, rank, dim = heapq.heappop(heap)
            held = self.holders[dim]
            if not held:
                continue  # summed out along with another
            now = self.cost[dim]
            if now > cost:  # for a lower one there is an entry of its own
                heapq.heappush(heap, (now, rank, dim))
                continue
            last = len(held) == len(self.live)
            product = self.fold(held, last)
            for other in self.live[product]:
                if other not in self.kept:
                    heapq.heappush(heap, (self.cost[other], self.rank[other], other))


def elimination_steps(inputs: Sequence[str], output: str, sizes: dict[str, int]) -> list[Step]:
    """The einsums, of one or two tensors each, that make up one of many; the last one's result has the dims ``output``.

    >>> for step in elimination_steps(["a", "ab", "bc"], "c", {"a": 2, "b": 2, "c": 2}):
    ...     print(step.operands, step.equation)
    (0, 1) a,ab->b
    (3, 2) b,bc->c
    """
    contraction = _Contraction(inputs, output, sizes)
    contraction.eliminate()
    if not contraction.steps or len(contraction.live) > 1:
        contraction.fold(contraction.live, last=True)
    return contraction.steps
