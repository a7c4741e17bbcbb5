"""A flow of affine couplings, with its derivatives by hand: many times cheaper than a graph for each small operator.

References:
    L. Dinh, J. Sohl-Dickstein and S. Bengio (2017), "Density estimation using Real NVP".
    L. Vaitl, L. Winkler, L. Richter and P. Kessel (2024), "Fast and unified path gradient estimators", for the
        score of a flow at its own draws, carried along with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ember.infer.vi.families.skewed import BentEach, SinhArcsinh


@dataclass(frozen=True)
class _Network:
    """Two hidden layers of tanh, as views of the parameters."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    w3: Tensor
    b3: Tensor

    def hidden(self, given: Tensor) -> tuple[Tensor, Tensor]:
        one = torch.addmm(self.b1, given, self.w1.mT).tanh_()
        return one, torch.addmm(self.b2, one, self.w2.mT).tanh_()

    def output(self, hidden: Tensor) -> Tensor:
        return torch.addmm(self.b3, hidden, self.w3.mT)


@dataclass(frozen=True)
class _Layer:
    """A network, the coordinates that it is given, and those that it moves."""

    gives: Tensor
    moves: Tensor
    net: _Network

    def look(self, x: Tensor) -> tuple[_Seen, Tensor]:
        """What it sees, and its shift."""
        given = x[:, self.gives]
        one, two = self.net.hidden(given)
        shift, raw = self.net.output(two).chunk(2, -1)
        half = torch.tanh(raw / 2)
        moved = x[:, self.moves]
        return _Seen(
            self.gives, self.moves, self.net, given, one, two, moved, 2 * half, 1 - half.square()
        ), shift


@dataclass(frozen=True)
class _Seen:
    """What a layer saw: the half it was given, hidden values, the moved half before, log scale and its slope."""

    gives: Tensor
    moves: Tensor
    net: _Network
    given: Tensor
    one: Tensor
    two: Tensor
    moved: Tensor
    log_scale: Tensor
    slope: Tensor

    def back(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Cotangents of the hidden layers from one of the output."""
        two = output @ self.net.w3 * (1 - self.two.square())
        return two @ self.net.w2 * (1 - self.one.square()), two

    def pulled(self, path: Tensor) -> tuple[Tensor, _Cotangents]:
        """Cotangents of the rows before the layer, and those inside."""
        after = path[:, self.moves]
        before = after * self.log_scale.exp()
        output = torch.cat([after, before * self.moved * self.slope], -1)
        one, two = self.back(output)
        path = path.index_copy(1, self.moves, before).index_add(1, self.gives, one @ self.net.w1)
        return path, _Cotangents(one, two, output)


@dataclass(frozen=True)
class _Cotangents:
    """Of the hidden values and the output of a network."""

    one: Tensor
    two: Tensor
    output: Tensor


@dataclass(frozen=True)
class BentFlow:
    """Rows that went through a flow, layer by layer."""

    first: BentEach
    layers: tuple[_Seen, ...]
    x: Tensor
    log_det: Tensor

    def score(self) -> Tensor:
        """Score of the bent density at its rows, carried from layer to layer."""
        score = self.first.score()
        for seen in self.layers:
            before = score[:, seen.moves]
            after = before * torch.exp(-seen.log_scale)
            output = torch.cat([-after, (-before * seen.moved - 1) * seen.slope], -1)
            one, _ = seen.back(output)
            score = score.index_copy(1, seen.moves, after).index_add(1, seen.gives, one @ seen.net.w1)
        return score

    def pullback(self, path: Tensor) -> Tensor:
        """Gradient in the numbers of the flow."""
        found: list[Tensor] = []
        for seen in reversed(self.layers):
            path, inside = seen.pulled(path)
            grads = [
                inside.one.mT @ seen.given,
                inside.one.sum(0),
                inside.two.mT @ seen.one,
                inside.two.sum(0),
                inside.output.mT @ seen.two,
                inside.output.sum(0),
            ]
            found = [grad.reshape(-1) for grad in grads] + found
        return torch.cat([self.first.pullback(path), *found])

    def pulled(self, path: Tensor) -> Tensor:
        """Gradient in the rows before the flow."""
        for seen in reversed(self.layers):
            path, _ = seen.pulled(path)
        return self.first.pulled(path)


@dataclass(frozen=True)
class Couplings:
    """Sinh-arcsinh, then layers in which one half of the coordinates scales and shifts the other half.

    Log scales stay within -2 and 2.

    Attributes:
        parameters: all numbers, shape ``(P,)``.
        halves: of each layer, the coordinates that are given and those that are moved.
        width: of the hidden layers.
    """

    parameters: Tensor
    halves: Sequence[tuple[Tensor, Tensor]]
    width: int

    @staticmethod
    def identity(bend: SinhArcsinh, layers: int = 6, width: int = 32, seed: int = 0) -> Couplings:
        """Layers that change nothing yet, after a bend.

        Raises:
            ValueError: in less than two dims.
        """
        dim = len(bend.parameters) // 4
        if dim < 2:
            raise ValueError(f"A flow of couplings needs two coordinates, got {dim}")
        generator = torch.Generator().manual_seed(seed)
        halves, numbers = [], [bend.parameters]
        order = torch.arange(dim)
        for layer in range(layers):
            order = order.flip(0) if layer % 2 else torch.randperm(dim, generator=generator)
            count = (dim + layer % 2) // 2
            halves.append((order[:count].sort().values, order[count:].sort().values))
            for rows, columns in ((width, count), (width, width)):
                weights = torch.rand(rows * columns + rows, dtype=torch.double, generator=generator)
                numbers.append((2 * weights - 1) / math.sqrt(columns))
            numbers.append(torch.zeros(2 * (dim - count) * (width + 1), dtype=torch.double))
        return Couplings(torch.cat(numbers), halves, width)

    def with_parameters(self, parameters: Tensor) -> Couplings:
        """The same with other numbers."""
        return replace(self, parameters=parameters)

    def forward(self, e: Tensor) -> BentFlow:
        """Rows, bent."""
        bend, layers = self._parts()
        first = bend.forward(e)
        x, log_det, all_seen = first.x, first.log_det, []
        for layer in layers:
            seen, shift = layer.look(x)
            all_seen.append(seen)
            x = x.index_copy(1, layer.moves, torch.addcmul(shift, seen.moved, seen.log_scale.exp()))
            log_det = log_det + seen.log_scale.sum(-1)
        return BentFlow(first, tuple(all_seen), x, log_det)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The way back, and the log determinants of the way there."""
        bend, layers = self._parts()
        log_det = torch.zeros(len(x), dtype=x.dtype)
        for layer in reversed(layers):
            seen, shift = layer.look(x)
            x = x.index_copy(1, layer.moves, (seen.moved - shift) * torch.exp(-seen.log_scale))
            log_det = log_det + seen.log_scale.sum(-1)
        e, of_bend = bend.inverse(x)
        return e, log_det + of_bend

    def _parts(self) -> tuple[SinhArcsinh, list[_Layer]]:
        dim, width = sum(map(len, self.halves[0])), self.width
        shapes: list[tuple[int, ...]] = []
        for given, moved in self.halves:
            shapes += [
                (width, len(given)),
                (width,),
                (width, width),
                (width,),
                (2 * len(moved), width),
                (2 * len(moved),),
            ]
        first, *rest = torch.split(self.parameters, [4 * dim, *map(math.prod, shapes)])
        views = [part.view(shape) for part, shape in zip(rest, shapes, strict=True)]
        nets = [_Network(*views[i : i + 6]) for i in range(0, len(views), 6)]
        return SinhArcsinh(first), [_Layer(*half, net) for half, net in zip(self.halves, nets, strict=True)]
