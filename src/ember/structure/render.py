"""Drawing a model as a graph. The package graphviz is needed for the drawing itself only."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ember.poutine.trace_struct import Trace
from ember.record import Record
from ember.structure.relations import Relations, get_model_relations


class Node(Record):
    """A site or parameter: the name of its distribution (None for a parameter), and the constraint of a parameter."""

    __slots__ = ()

    is_observed: bool | None
    distribution: str | None
    constraint: str


class Plate(Record):
    """A plate: the name of the one that contains it."""

    __slots__ = ()

    parent: str | None


class Specification(Record):
    """What is drawn: nodes by plate (None for those in no plate), plates, nodes by name, and edges."""

    __slots__ = ()

    plate_groups: dict[str | None, list[str]]
    plate_data: dict[str, Plate]
    node_data: dict[str, Node]
    edge_list: list[tuple[str, str]]


def generate_graph_specification(
    model_relations: dict[str, Any], render_params: bool = False
) -> Specification:
    """Nodes, plates and edges of a model's graph.

    Args:
        model_relations: from :func:`get_model_relations`.
        render_params: parameters are nodes, too.

    Returns:
        A dict: ``plate_groups`` (nodes by plate; None for those in no plate), ``plate_data`` (the parent of
            each plate), ``node_data`` and ``edge_list``.

    Raises:
        NotImplementedError: if plates overlap and neither contains the other.
    """
    relations = Relations(model_relations)
    groups: dict[str | None, list[str]] = dict(relations.plate_sample.items())
    in_plates = {name for names in groups.values() for name in names}
    groups[None] = [name for name in relations.sample_sample if name not in in_plates]
    nodes = {
        name: Node(is_observed=name in relations.observed, distribution=relations.sample_dist[name])
        for name in relations.sample_sample
    }
    tables = [relations.sample_sample]
    if render_params:
        tables.append(relations.sample_param)
        used = itertools.chain.from_iterable(relations.sample_param.values())
        groups[None] = groups[None] + list(dict.fromkeys(used))
        for name, constraint in relations.param_constraint.items():
            nodes[name] = Node(is_observed=False, constraint=constraint, distribution=None)
    return Specification(
        plate_groups=groups,
        plate_data=_plate_data({plate: names for plate, names in groups.items() if plate is not None}),
        node_data=nodes,
        edge_list=[
            (source, target) for table in tables for target, sources in table.items() for source in sources
        ],
    )


def _plate_data(groups: dict[str, list[str]]) -> dict[str, Plate]:
    """The parent of each plate: one that contains it. Of plates with the same nodes, the first contains the others."""
    parents: dict[str, Plate] = {}
    for first, second in itertools.combinations(groups, 2):
        a, b = set(groups[first]), set(groups[second])
        if a < b:
            parents[first] = Plate(parent=second)
        elif a >= b:
            parents[second] = Plate(parent=first)
        elif a & b:
            raise NotImplementedError(
                f"Overlapping non-nested plates {first!r},{second!r} "
                "are not supported by render_model(). To help add support see "
                "https://github.com/pyro-ppl/pyro/issues/2980"
            )
    for plate in groups:
        parents.setdefault(plate, Plate(parent=None))
    return parents


def deep_merge(things: list[Any]) -> Any:
    """One specification of several: dicts are merged, bools that differ become None ("sometimes"); else the first counts."""
    first = things[0]
    if len(things) == 1:
        return first
    if isinstance(first, dict):
        keys = dict.fromkeys(key for thing in things for key in thing)
        return {key: deep_merge([thing[key] for thing in things if key in thing]) for key in keys}
    if isinstance(first, bool):
        return first if all(thing is first for thing in things) else None
    return first


def _digraph(**options: object) -> Any:
    try:
        import graphviz
    except ImportError as error:
        raise ImportError(
            "Looks like you want to use graphviz (https://graphviz.org/) "
            "to render your model. "
            "You need to install `graphviz` to be able to use this feature. "
            "It can be installed with `pip install graphviz`."
        ) from error
    return graphviz.Digraph(**options)


def save_visualization(trace: Trace, graph_output: str) -> None:
    """Deprecated: use :func:`render_model`. Draw a dense trace to ``graph_output + ".pdf"``.

    Observed sites are green, latent ones red, those that are reparameterised half grey.

    Args:
        trace: of ``poutine.trace(model, graph_type="dense")``.
        graph_output: where to write it, without the suffix.

    Raises:
        ImportError: if the package graphviz is missing.

    Warns:
        UserWarning: always.
    """
    warnings.warn(
        "`save_visualization` function is deprecated and will be removed in a future version.", stacklevel=2
    )
    graph = _digraph()
    shown = {name for name in trace.nodes if not trace.nodes[name].is_subsample}
    colors = dict.fromkeys(trace.stochastic_nodes, "salmon")
    colors |= dict.fromkeys(trace.reparameterized_nodes, "lightgrey;.5:salmon")
    colors |= dict.fromkeys(trace.observation_nodes, "darkolivegreen3")
    for name in trace.nodes:
        if name in shown and name in colors:
            graph.node(name, label=name, shape="ellipse", style="filled", fillcolor=colors[name])
    for source, target in trace.edges:
        if source in shown and target in shown:
            graph.edge(source, target)
    graph.render(graph_output, view=False, cleanup=True)


def render_graph(graph_specification: dict[str, Any], render_distributions: bool = False) -> Any:
    """A ``graphviz.Digraph`` of a specification.

    Args:
        graph_specification: from :func:`generate_graph_specification`.
        render_distributions: write the distributions of sites and the constraints of parameters beside it.

    Raises:
        ImportError: if the package graphviz is missing.
    """
    drawn = Specification(graph_specification)
    nodes = {name: Node(node) for name, node in drawn.node_data.items()}
    graphs = {
        plate: _digraph() if plate is None else _digraph(name=f"cluster_{plate}")
        for plate in drawn.plate_groups
    }
    for plate, names in drawn.plate_groups.items():
        if plate is not None:
            graphs[plate].attr(label=plate.split("__CLONE")[0], labeljust="r", labelloc="b")
        for name in names:
            graphs[plate].node(name, **_appearance(name, nodes[name]))

    def put_inside(parent: str | None) -> None:
        for plate, data in drawn.plate_data.items():
            if Plate(data).parent == parent:
                put_inside(plate)
                graphs[parent].subgraph(graphs[plate])

    put_inside(None)
    graph = graphs[None]
    for source, target in drawn.edge_list:
        graph.edge(source, target)
    if render_distributions:
        graph.node("distribution_description_node", label=_description(nodes), shape="plaintext")
    return graph


_COLORS = {False: "white", True: "gray", None: "gray:white"}


def _appearance(name: str, node: Node) -> dict[str, str]:
    is_sampled = bool(node.distribution)
    return {
        "label": name if is_sampled else name.replace("$params", ""),
        "shape": "ellipse" if is_sampled else "plain",
        "style": "filled,dashed" if node.distribution == "Deterministic" else "filled",
        "fillcolor": _COLORS[node.is_observed],
    }


def _description(nodes: dict[str, Node]) -> str:
    lines = []
    for name, node in nodes.items():
        if node.distribution:
            lines.append(rf"{name} ~ {node.distribution}\l")
        if "constraint" in node:
            lines.append(rf"{name} : {node.constraint}\l")
    return "".join(lines)


def render_model(
    model: Callable[..., Any],
    model_args: tuple[Any, ...] | list[tuple[Any, ...]] | None = None,
    model_kwargs: dict[str, Any] | list[dict[str, Any]] | None = None,
    filename: str | None = None,
    render_distributions: bool = False,
    render_params: bool = False,
    render_deterministic: bool = False,
) -> Any:
    """Draw a model as a graph: boxes are plates, grey nodes are observed.

    Args:
        model: the program to draw.
        model_args: its positional arguments; a list of tuples for several calls, in some of which more is
            observed.
        model_kwargs: its keyword arguments; or a list of dicts.
        filename: a file to write; its suffix says in which format.
        render_distributions: write the distributions of sites and the constraints of parameters beside it.
        render_params: parameters are nodes, too.
        render_deterministic: so are ``deterministic`` sites.

    Returns:
        A ``graphviz.Digraph``.

    Raises:
        ImportError: if the package graphviz is missing.
        NotImplementedError: if plates overlap and neither contains the other.

    Example:

        ember.render_model(model, model_args=(data,), filename="model.svg")
    """
    specifications = [
        generate_graph_specification(
            get_model_relations(model, args, kwargs, include_deterministic=render_deterministic),
            render_params=render_params,
        )
        for args, kwargs in _calls(model_args, model_kwargs)
    ]
    graph = render_graph(deep_merge(specifications), render_distributions=render_distributions)
    if filename is not None:
        path, suffix = os.path.splitext(filename)[0], Path(filename).suffix[1:]
        graph.render(path, view=False, cleanup=True, format=suffix)
    return graph


def _calls(args: Any, kwargs: Any) -> list[tuple[Any, Any]]:
    if not isinstance(args, list) and not isinstance(kwargs, list):
        return [(args, kwargs)]
    if not isinstance(args, list):
        args = [args] * len(kwargs)
    if not isinstance(kwargs, list):
        kwargs = [kwargs] * len(args)
    assert len(args) == len(kwargs), f"{len(args)} model_args, but {len(kwargs)} model_kwargs"
    return list(zip(args, kwargs, strict=True))
