"""Draws docs/pictures/path_to_machine_code.png: from a model to one C function, at the example of one line."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

STAGES = [
    (
        "1  Python",
        "runs once, handlers and all",
        'z = sample("z",\n    Normal(loc, scale))\n...\nloss.backward()\nadam.step()',
        "#e8eef7",
    ),
    (
        "2  operators",
        "recorded below autograd:\nforward, backward, Adam",
        "noise = normal_(empty(8))\nmul   = noise * scale\nz     = loc + mul\n...\nexp_avg.lerp_(grad, 0.1)",
        "#e8f4ec",
    ),
    (
        "3  values",
        "views become index arithmetic,\nin-place becomes new values,\nequal values are one",
        "v7[i] = v3[i] * v5[i]\nv8[i] = v1[i] + v7[i]\n...\nexp_avg' = v40",
        "#fdf3e1",
    ),
    (
        "4  loops",
        "fused; what stays in registers\nhas no memory; a thousand\nscalar sites are one loop",
        "normal(8)\nfor i in 8: v7, v8, ...\nsum -> v21\n...",
        "#f9e9e7",
    ),
    (
        "5  one C function",
        "the loop over steps inside;\ntorch's random stream;\ncompiled once, kept on disk",
        "while (done < count) {\n    step(...);\n    losses[done++] = ...;\n}",
        "#efe8f5",
    ),
]


def draw(axes: Axes) -> None:
    """Five boxes side by side, with arrows."""
    width, gap = 2.75, 0.4
    for number, (title, what, code, colour) in enumerate(STAGES):
        left = number * (width + gap)
        axes.add_patch(
            FancyBboxPatch(
                (left, 0), width, 3.5, boxstyle="round,pad=0.06", facecolor=colour, edgecolor="#555555"
            )
        )
        axes.text(left + width / 2, 3.25, title, ha="center", va="center", fontsize=13, fontweight="bold")
        axes.text(left + width / 2, 2.85, what, ha="center", va="top", fontsize=9.5, color="#333333")
        axes.text(
            left + 0.08, 1.62, code, ha="left", va="top", fontsize=8.6, family="monospace", linespacing=1.35
        )
        if number:
            axes.annotate(
                "", (left - 0.08, 1.75), (left - gap + 0.08, 1.75), arrowprops={"arrowstyle": "->", "lw": 1.8}
            )
    last = len(STAGES) * (width + gap) - gap
    axes.annotate(
        "Inductor (torch's compiler) takes the operators of step 2 instead, where the native backend cannot",
        (1 * (width + gap) + width / 2, -0.12),
        (last / 2, -0.75),
        ha="center",
        fontsize=10.5,
        color="#333333",
        arrowprops={"arrowstyle": "<-", "color": "#777777"},
    )
    axes.set_xlim(-0.2, last + 0.2)
    axes.set_ylim(-0.95, 3.7)
    axes.axis("off")


if __name__ == "__main__":
    figure, axes = plt.subplots(figsize=(15.5, 4.6), dpi=110)
    draw(axes)
    figure.savefig(Path(__file__).with_suffix(".png"), bbox_inches="tight")
