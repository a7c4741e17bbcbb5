"""Draws docs/pictures/house.png from the imports in the source: the rooms of the package, of infer/ and of capture/native/.

``python -m tools.draw_house [FOLDER OF THE PACKAGE]``. Arrows that others imply are left out. Those drawn are kept in the file:
``--check`` tells whether it is still the picture of this source.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Line

from tools.house.imports import Imports
from tools.house.layers import Layers, is_bend

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "pictures" / "house.png"
FACTS = "Description"
HALLS = {"ember": "#e8eef7", "ember.infer": "#e8f4ec", "ember.capture.native": "#fdf3e1"}
ABOUT = {
    "pyro": "Pyro's programs run",
    "contrib": "beyond the core",
    "fit": "right, or a plain word",
    "infer": "guides, objectives, SVI",
    "nn": "modules as programs",
    "optim": "rules by parameter name",
    "modules": "a network's parameters",
    "primitives": "sample, param, plate",
    "params": "the store",
    "poutine": "handlers, sites, traces",
    "distributions": "families, constraints, KLs",
    "capture": "from functions to programs",
    "ops": "pure tensor functions",
    "record": "dicts with attributes",
    "paths": "where rooms were",
    "row_loop": "many rows, one call",
    "pipeline": "the list of passes",
    "rng": "random states",
    "tree": "nested arguments",
    "nonfinite": "NaN and infinity",
    "serialization": "files",
    "settings": "named values",
    "errors": "what went wrong",
    "step": "one step, run four ways",
    "enumeration": "sums over discrete sites",
    "objectives": "one estimator a file",
    "density": "log joint and score, by rows",
    "terms": "what they are made of",
    "posterior": "prediction, weights, k-hat",
    "autoguide": "guides from a model",
    "reparam": "easier coordinates",
    "structure": "what a model looks like",
    "traces": "model and guide, matched",
    "vi": "densities approximated",
    "build": "compiler, disk cache",
    "c_writer": "the C text",
    "loops": "order, fusion, memory",
    "lowering": "one row an operator",
    "program": "the C function, called",
    "torch_side": "what torch computes",
    "values": "arrays that never change",
}
WIDTH, HEIGHT, RISE, TITLE, GAP = 2.1, 0.62, 1.2, 0.75, 0.9


def facts(imports: Imports) -> str:
    """The boxes and arrows of the picture, as text."""
    drawn = {}
    for hall in HALLS:
        rooms = imports.rooms(hall)
        layers = Layers.of(rooms)
        arrows = sorted([path[0], path[-1]] for path in layers.paths) + [list(edge) for edge in layers.upward]
        drawn[hall] = [sorted(rooms), arrows]
    return json.dumps(drawn)


def draw(axes: Axes, hall: str, layers: Layers, left: float, top: float) -> None:
    """One hall, from its upper left corner: a box a room, arrows from above."""
    widest = _breadth(layers)
    places: dict[str, tuple[float, float]] = {}
    for rank, row in enumerate(layers.ranks):
        x = left + (widest - _width(row)) / 2
        for node in row:
            step = _room_width(node)
            places[node] = (x + step / 2, top - TITLE - RISE * rank)
            x += step
    for path in layers.paths:
        _arrow(axes, [places[node] for node in path], "#8a8a8a")
    for above, below in layers.upward:
        _arrow(axes, [places[above], places[below]], "#c0392b")
    for node, (x, y) in places.items():
        if not is_bend(node):
            _box(axes, node, x, y, HALLS[hall])
    axes.text(
        left + widest / 2, top, f"{hall.replace('.', '/')}/", ha="center", fontsize=14, fontweight="bold"
    )


def draw_all(halls: dict[str, Layers]) -> Figure:
    """The package on the left, the rooms of its two halls below each other on the right."""
    whole, *others = halls.items()
    right = _breadth(whole[1]) + GAP
    width = right + max(_breadth(layers) for _, layers in others)
    height = max(_drop(whole[1]), sum(_drop(layers) for _, layers in others))
    figure = plt.figure(figsize=(width * 0.82, height * 0.82))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), aspect="equal")
    axes.axis("off")
    axes.set_xlim(0, width)
    axes.set_ylim(-height, 0.4)
    draw(axes, *whole, left=0.0, top=0.0)
    top = 0.0
    for hall, layers in others:
        draw(axes, hall, layers, right + (width - right - _breadth(layers)) / 2, top)
        top -= _drop(layers)
    return figure


def _breadth(layers: Layers) -> float:
    return max(map(_width, layers.ranks))


def _drop(layers: Layers) -> float:
    return TITLE + RISE * len(layers.ranks)


def _room_width(node: str) -> float:
    return 0.5 if is_bend(node) else WIDTH + 0.3


def _width(row: list[str]) -> float:
    return sum(map(_room_width, row))


def _box(axes: Axes, node: str, x: float, y: float, colour: str) -> None:
    name = node.rpartition(".")[2]
    shape = FancyBboxPatch(
        (x - WIDTH / 2, y - HEIGHT / 2),
        WIDTH,
        HEIGHT,
        boxstyle="round,pad=0.04",
        facecolor=colour,
        edgecolor="#555555",
        zorder=2,
    )
    axes.add_patch(shape)
    about = ABOUT.get(name, "")
    axes.text(
        x,
        y + (0.13 if about else 0),
        name,
        ha="center",
        va="center",
        fontsize=11,
        fontweight="bold",
        zorder=3,
    )
    axes.text(x, y - 0.16, about, ha="center", va="center", fontsize=7.6, color="#333333", zorder=3)


def _arrow(axes: Axes, points: list[tuple[float, float]], colour: str) -> None:
    # Out of the lower edge, straight down beside the boxes it passes, into the upper edge.
    half = HEIGHT / 2 + 0.04
    ends = [(points[0][0], points[0][1] - half)]
    for x, y in points[1:-1]:
        ends += [(x, y + half), (x, y - half)]
    ends.append((points[-1][0], points[-1][1] + half))
    vertices, codes = [ends[0]], [Line.MOVETO]
    for (x0, y0), (x1, y1) in zip(ends[::2], ends[1::2], strict=True):
        middle = (y0 + y1) / 2
        vertices += [(x0, y0), (x0, middle), (x1, middle), (x1, y1)]
        codes += [Line.LINETO, Line.CURVE4, Line.CURVE4, Line.CURVE4]
    axes.add_patch(
        PathPatch(Line(vertices, codes), facecolor="none", edgecolor=colour, linewidth=1.1, zorder=1)
    )
    tip = ends[-1]
    axes.annotate(
        "",
        xy=tip,
        xytext=(tip[0], tip[1] + 0.12),
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0},
    )


def main(arguments: list[str]) -> int:
    """Draw, or with ``--check`` compare the picture with the source."""
    folders = [Path(argument) for argument in arguments if not argument.startswith("-")]
    imports = Imports.of(folders[0] if folders else ROOT / "src" / "ember")
    if "--check" in arguments:
        return _check(facts(imports))
    figure = draw_all({hall: Layers.of(imports.rooms(hall)) for hall in HALLS})
    figure.savefig(PICTURE, dpi=110, metadata={FACTS: facts(imports)})
    return 0


def _check(expected: str) -> int:
    from PIL import Image

    with Image.open(PICTURE) as picture:
        fresh = picture.info.get(FACTS) == expected
    if not fresh:
        print(f"{PICTURE.relative_to(ROOT)} shows other rooms or arrows: python -m tools.draw_house")
    return int(not fresh)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
