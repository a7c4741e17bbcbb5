"""Drawing a model as a graph. The package graphviz is needed for the drawing itself only."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ember.infer.structure.relations import Relations, get_model_relations

Specification = dict[str, Any]


def generate_graph_specification(model_relations: Relations, render_params: bool = False) -> Specification:
    """Nodes, plates and edges of a model's graph.

    Args:
        model_relations: from :func:`get_model_relations`.
        render_params: parameters are nodes, too.

    Returns:
        A dict: ``plate_groups`` (nodes by plate; None for those in no plate), ``plate_data`` (the parent of each plate),
        ``node_data`` and ``edge_list``.

    Raises:
        NotImplementedError: if plates overlap and neither contains the other.
    """
    groups: dict[str | None, list[str]] = dict(model_relations["plate_sample"])
    in_plates = {name for names in groups.values() for name in names}
    groups[None] = [name for name in model_relations["sample_sample"] if name not in in_plates]
    nodes: dict[str, dict[str, Any]] = {
        name: {
            "is_observed": name in model_relations["observed"],
            "distribution": model_relations["sample_dist"][name],
        }
        for name in model_relations["sample_sample"]
    }
    tables = [model_relations["sample_sample"]]
    if render_params:
        tables.append(model_relations["sample_param"])
        used = itertools.chain.from_iterable(model_relations["sample_param"].values())
        groups[None] = groups[None] + list(dict.fromkeys(used))
        for name, constraint in model_relations["param_constraint"].items():
            nodes[name] = {"is_observed": False, "constraint": constraint, "distribution": None}
    return {
        "plate_groups": groups,
        "plate_data": _plate_data({plate: names for plate, names in groups.items() if plate is not None}),
        "node_data": nodes,
        "edge_list": [
            (source, target) for table in tables for target, sources in table.items() for source in sources
        ],
    }


def _plate_data(groups: dict[str, list[str]]) -> dict[str, dict[str, str | None]]:
    """The parent of each plate: one that contains it. Of plates with the same nodes, the first contains the others."""
    parents: dict[str, dict[str, str | None]] = {}
    for first, second in itertools.combinations(groups, 2):
        a, b = set(groups[first]), set(groups[second])
        if a < b:
            parents[first] = {"parent": second}
        elif a >= b:
            parents[second] = {"parent": first}
        elif a & b:
            raise NotImplementedError(
                f"Overlapping non-nested plates {first!r},{second!r} "
                "are not supported by render_model(). To help add support see "
                "https://github.com/pyro-ppl/pyro/issues/2980"
            )
    for plate in groups:
        parents.setdefault(plate, {"parent": None})
    return parents


def _deep_merge(things: list[Any]) -> Any:
    """One specification of several: dicts are merged, bools that differ become None ("sometimes"); else the first counts."""
    first = things[0]
    if len(things) == 1:
        return first
    if isinstance(first, dict):
        keys = dict.fromkeys(key for thing in things for key in thing)
        return {key: _deep_merge([thing[key] for thing in things if key in thing]) for key in keys}
    if isinstance(first, bool):
        return first if all(thing is first for thing in things) else None
    return first


def _digraph(**options: Any) -> Any:
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


def render_graph(graph_specification: Specification, render_distributions: bool = False) -> Any:
    """A ``graphviz.Digraph`` of a specification.

    Args:
        graph_specification: from :func:`generate_graph_specification`.
        render_distributions: write the distributions of sites and the constraints of parameters beside it.

    Raises:
        ImportError: if the package graphviz is missing.
    """
    nodes: dict[str, dict[str, Any]] = graph_specification["node_data"]
    graphs = {
        plate: _digraph() if plate is None else _digraph(name=f"cluster_{plate}")
        for plate in graph_specification["plate_groups"]
    }
    for plate, names in graph_specification["plate_groups"].items():
        if plate is not None:
            graphs[plate].attr(label=plate.split("__CLONE")[0], labeljust="r", labelloc="b")
        for name in names:
            graphs[plate].node(name, **_appearance(name, nodes[name]))
    plate_data = graph_specification["plate_data"]

    def put_inside(parent: str | None) -> None:
        for plate, data in plate_data.items():
            if data["parent"] == parent:
                put_inside(plate)
                graphs[parent].subgraph(graphs[plate])

    put_inside(None)
    graph = graphs[None]
    for source, target in graph_specification["edge_list"]:
        graph.edge(source, target)
    if render_distributions:
        graph.node("distribution_description_node", label=_description(nodes), shape="plaintext")
    return graph


_COLORS = {False: "white", True: "gray", None: "gray:white"}


def _appearance(name: str, data: dict[str, Any]) -> dict[str, str]:
    is_sampled = bool(data["distribution"])
    return {
        "label": name if is_sampled else name.replace("$params", ""),
        "shape": "ellipse" if is_sampled else "plain",
        "style": "filled,dashed" if data["distribution"] == "Deterministic" else "filled",
        "fillcolor": _COLORS[data["is_observed"]],
    }


def _description(nodes: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, data in nodes.items():
        if data["distribution"]:
            lines.append(rf"{name} ~ {data['distribution']}\l")
        if data.get("constraint"):
            lines.append(rf"{name} : {data['constraint']}\l")
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
        model_args: its positional arguments; a list of tuples for several calls, in some of which more is observed.
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
    """
    specifications = [
        generate_graph_specification(
            get_model_relations(model, args, kwargs, include_deterministic=render_deterministic),
            render_params=render_params,
        )
        for args, kwargs in _calls(model_args, model_kwargs)
    ]
    graph = render_graph(_deep_merge(specifications), render_distributions=render_distributions)
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
