"""Random discrete models with plates, as programs and as explicit sums over all assignments."""

from __future__ import annotations

import itertools
import math
import random
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch

import ember
import ember.distributions as dist

PLATES = {"a": ("", 2, -1), "b": ("a", 2, -2), "c": ("", 3, -1), "d": ("c", 2, -3)}
"""Name: the plate around it, its size, its dim."""


def path_of(plate):
    """The plates around the inside of a plate, outermost first."""
    return (*path_of(PLATES[plate][0]), plate) if plate else ()


@dataclass
class Node:
    """A discrete variable in some plates, with a table ``[parents..., plates..., values]``."""

    name: str
    plates: tuple[str, ...]
    parents: tuple[str, ...]
    card: int
    table: torch.Tensor
    role: str = "model"
    """Where it is summed out: ``model``, ``guide`` or ``observed``."""
    proposal: torch.Tensor | None = None
    proposal_parents: tuple[str, ...] = ()
    mode: str = "parallel"
    mask: torch.Tensor | None = None
    """Per element of the plates; only on observed nodes."""
    values: torch.Tensor | None = None
    """The data of an observed node."""

    def sizes(self):
        return tuple(PLATES[p][1] for p in self.plates)


@dataclass
class Graph:
    nodes: list[Node]
    scale: float = 1.0
    by_name: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self):
        self.by_name = {node.name: node for node in self.nodes}


def _table(rng, *shape):
    generator = torch.Generator().manual_seed(rng.getrandbits(30))
    table = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.05
    if rng.random() < 0.25:
        # Some values are impossible.
        flat = table.reshape(-1, shape[-1])
        flat[rng.randrange(len(flat)), rng.randrange(shape[-1])] = 0.0
    return table / table.sum(-1, keepdim=True)


def random_graph(seed, roles, max_assignments=300):
    """A graph whose latent variables, with all plates unrolled, have at most so many joint values.

    Args:
        roles: what latent nodes can be.
    """
    rng = random.Random(seed)
    nodes: list[Node] = []
    assignments = 1
    depths = sorted((len(path_of(p)), p) for p in ("", "", "", "a", "a", "b", "c", "d") if rng.random() < 0.7)
    for i, (_, innermost) in enumerate(depths):
        plates = path_of(innermost)
        card = rng.choice((2, 2, 3))
        sizes = tuple(PLATES[p][1] for p in plates)
        cost = card ** math.prod(sizes)
        above = [n for n in nodes if n.role != "observed" and n.plates == plates[: len(n.plates)]]
        parents = tuple(n.name for n in rng.sample(above, min(len(above), rng.randrange(3))))
        cards = [n.card for name in parents for n in nodes if n.name == name]
        node = Node(f"x{i}", plates, parents, card, _table(rng, *cards, *sizes, card))
        if assignments * cost > max_assignments or rng.random() < 0.2:
            node.role = "observed"
        else:
            role = rng.choice(roles)
            # The model must not be enumerated further out than the guide.
            node.role = "model" if plates and "model" in roles else role
            assignments *= cost
        _add_details(rng, node, above, sizes)
        nodes.append(node)
    latent = [n for n in nodes if n.role != "observed"]
    for i, node in enumerate(latent):
        # Everything latent has data below it.
        sizes = node.sizes()
        child = Node(f"y{i}", node.plates, (node.name,), 2, _table(rng, node.card, *sizes, 2), "observed")
        _add_details(rng, child, [], sizes)
        nodes.append(child)
    # What is outside of a plate comes before what is inside.
    nodes.sort(key=lambda node: len(node.plates))
    return Graph(nodes, rng.choice((1.0, 1.0, 2.5)))


def _add_details(rng, node, above, sizes):
    if node.role == "observed":
        generator = torch.Generator().manual_seed(rng.getrandbits(30))
        node.values = torch.randint(node.card, sizes, generator=generator)
        # Data is possible.
        node.table = (node.table + 0.1) / (node.table + 0.1).sum(-1, keepdim=True)
        if rng.random() < 0.3:
            node.mask = torch.rand(sizes, generator=generator) < 0.6
    elif node.role == "guide":
        ours = [n for n in above if n.role == "guide"]
        chosen = rng.sample(ours, min(len(ours), rng.randrange(2)))
        node.proposal_parents = tuple(n.name for n in chosen)
        node.proposal = _table(rng, *(n.card for n in chosen), *sizes, node.card)
        node.table = (node.table + 0.1) / (node.table + 0.1).sum(-1, keepdim=True)
        node.mode = rng.choice(("parallel", "parallel", "sequential"))


def _program(graph, tables, parents_of, sites, lib, d):
    """Run the nodes as a program; the tables hold logits."""
    plates = {p: lib.plate(p, size, dim=dim) for p, (_, size, dim) in PLATES.items()}
    drawn = {}
    for node in sites:
        with ExitStack() as stack:
            index = []
            for p in node.plates:
                stack.enter_context(plates[p])
            for name in parents_of(node):
                index.append(drawn[name].long())
            for p in node.plates:
                size, dim = PLATES[p][1:]
                index.append(torch.arange(size).reshape((size,) + (1,) * (-1 - dim)))
            table = tables[node.name]
            fn = d.Categorical(logits=table[tuple(index)] if index else table)
            if node.role == "observed":
                shape = [1] * max((-PLATES[p][2] for p in node.plates), default=0)
                for p in node.plates:
                    shape[PLATES[p][2]] = PLATES[p][1]
                order = sorted(range(len(node.plates)), key=lambda i: PLATES[node.plates[i]][2])
                values = node.values.permute(order).reshape(shape)
                if node.mask is not None:
                    stack.enter_context(lib.poutine.mask(mask=node.mask.permute(order).reshape(shape)))
                lib.sample(node.name, fn, obs=values)
            else:
                mode = node.mode if node.role == "guide" else "parallel"
                drawn[node.name] = lib.sample(node.name, fn, infer={"enumerate": mode})
    return drawn


def programs(graph, tables, proposals, lib=ember, d=dist):
    """The model and the guide, for Ember or another library with the same names; the tables hold logits."""
    guide_sites = [n for n in graph.nodes if n.role == "guide"]

    def model():
        with lib.poutine.scale(scale=graph.scale):
            return _program(graph, tables, lambda n: n.parents, graph.nodes, lib, d)

    def guide():
        with lib.poutine.scale(scale=graph.scale):
            return _program(graph, proposals, lambda n: n.proposal_parents, guide_sites, lib, d)

    return model, guide


def _elements(node):
    """The elements of a node: for each, its place in the node's plates by plate name."""
    for place in itertools.product(*(range(s) for s in node.sizes())):
        yield dict(zip(node.plates, place, strict=True))


def _key(node, where):
    return node.name, tuple(where[p] for p in node.plates)


def _prob(node, table, parents, graph, where, values):
    index = [values[_key(graph.by_name[name], where)] for name in parents]
    return table[(*index, *(where[p] for p in node.plates), values[_key(node, where)])]


def assignments(graph, role):
    """All joint values of the unrolled variables of a role."""
    variables = [(n, where) for n in graph.nodes if n.role == role for where in _elements(n)]
    for chosen in itertools.product(*(range(n.card) for n, _ in variables)):
        yield {_key(n, where): value for (n, where), value in zip(variables, chosen, strict=True)}


def data_of(graph):
    return {
        _key(n, where): int(n.values[tuple(where[p] for p in n.plates)])
        for n in graph.nodes
        if n.role == "observed"
        for where in _elements(n)
    }


def joint(graph, tables, values):
    """p(values), with masked observations left out."""
    result = 1.0
    for n in graph.nodes:
        for where in _elements(n):
            if n.mask is None or n.mask[tuple(where[p] for p in n.plates)]:
                result = result * _prob(n, tables[n.name], n.parents, graph, where, values)
    return result


def proposal(graph, proposals, values):
    """q(values)."""
    result = 1.0
    for n in graph.nodes:
        if n.role == "guide":
            for where in _elements(n):
                result = result * _prob(n, proposals[n.name], n.proposal_parents, graph, where, values)
    return result


def log(x):
    return x.log() if isinstance(x, torch.Tensor) else math.log(x)


def elbo_by_loops(graph, tables, proposals):
    """sum_z q(z) [log sum_m p(x, z, m) - log q(z)], z of the guide, m of the model; times the scale."""
    data = data_of(graph)
    total = 0.0
    for z in assignments(graph, "guide"):
        q = proposal(graph, proposals, z)
        if torch.as_tensor(q).detach() == 0.0:
            continue
        p = sum(joint(graph, tables, data | z | m) for m in assignments(graph, "model"))
        total = total + q * (log(p) - log(q))
    return graph.scale * total
