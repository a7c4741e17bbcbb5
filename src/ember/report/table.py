"""A table of numbers by quantity, which prints well."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    import pandas

_SHOWN = 60


@dataclass(frozen=True)
class Column:
    """One column: a number for each quantity, and how it is written."""

    values: Tensor
    like: str = ""
    """The column in whose digits it is written; its own by default."""
    format: str = ""
    """A format such as ``.2f``; if empty, as many digits as the spread of the quantity calls for."""
    brackets: bool | Sequence[bool] = False
    """Whether the numbers, or which of them, stand in brackets, since they are not to be relied on."""

    def in_brackets(self, row: int) -> bool:
        """Whether one number is not to be relied on."""
        return self.brackets if isinstance(self.brackets, bool) else bool(self.brackets[row])


@dataclass(frozen=True)
class Table:
    """Holds numbers by quantity. Printing it shows them, with as many digits as their sd allows.

    >>> import torch
    >>> from ember.report import Table
    >>> from ember.report.table import Column
    >>> columns = {"mean": Column(torch.tensor([1.0, 200.0])), "sd": Column(torch.tensor([0.1, 20.0]))}
    >>> table = Table(("mu", "b[0]"), columns)
    >>> print(table)
           mean     sd
    mu    1.000  0.100
    b[0]  200.0   20.0
    >>> table["mu"]["sd"]
    0.10000000149011612
    """

    names: tuple[str, ...]
    """The quantities, one a row."""
    columns: Mapping[str, Column]
    """The numbers by column; ``columns["mean"].values`` is a tensor of shape ``(rows,)``."""
    note: str = ""
    """What is said below the numbers."""
    words: tuple[str, ...] = ()
    """The verdict on each quantity; a last column where they differ."""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, name: str) -> dict[str, float]:
        """The numbers of one quantity.

        Raises:
            KeyError: for a name that is not in the table; it lists those that are.
        """
        if name not in self.names:
            raise KeyError(f"no quantity {name!r} in this table; there are {', '.join(self.names[:20])}")
        row = self.names.index(name)
        return {key: float(column.values[row]) for key, column in self.columns.items()}

    def to_dataframe(self) -> pandas.DataFrame:
        """Make a pandas ``DataFrame`` of the table, with one row a quantity.

        Raises:
            ImportError: without pandas (``pip install pandas``).
        """
        import pandas

        values = {key: column.values.double().numpy() for key, column in self.columns.items()}
        words = {"verdict": list(self.words)} if self.words else {}
        return pandas.DataFrame(values | words, index=list(self.names))

    def cells(self) -> list[list[str]]:
        """Return the texts of all numbers, row by row; then the verdict on each, where it differs."""
        spread = self.columns["sd"].values if "sd" in self.columns else None
        rows = []
        for row in range(len(self.names)):
            digits = _digits(float(spread[row])) if spread is not None else 3
            words = [self.words[row]] if self._differ else []
            rows.append([*(_text(column, row, digits) for column in self.columns.values()), *words])
        return rows

    @property
    def heads(self) -> tuple[str, ...]:
        """The titles of the columns of :meth:`cells`."""
        return (*self.columns, *(("verdict",) if self._differ else ()))

    @property
    def _differ(self) -> bool:
        return len(set(self.words)) > 1

    def __str__(self) -> str:
        return self.text()

    def text(self, rows: int = _SHOWN) -> str:
        """Write the table as text.

        Args:
            rows: how many quantities are shown at most, from the first on.
        """
        cells = self.cells()[:rows]
        grid = [["", *self.heads], *([name, *cell] for name, cell in zip(self.names, cells, strict=False))]
        widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
        lines = [
            "  ".join(
                [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
            ).rstrip()
            for line in grid
        ]
        left = len(self.names) - len(cells)
        more = [f"… and {left} more"] if left > 0 else []
        return "\n".join([*lines, *more, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(key)}</th>" for key in ["", *self.heads])
        body = "".join(
            f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
            for name, cells in zip(self.names, self.cells(), strict=True)
        )
        note = f"<caption>{escape(self.note)}</caption>" if self.note else ""
        return f"<table>{note}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _digits(spread: float) -> int:
    """Digits after the point such that the spread is written with three that count."""
    if not math.isfinite(spread) or spread <= 0:
        return 3
    return max(0, 2 - math.floor(math.log10(spread)))


def _text(column: Column, row: int, digits: int) -> str:
    value = float(column.values[row])
    if column.format:
        text = format(value, column.format)
    elif not math.isfinite(value):
        text = str(value)
    elif digits > 6 or abs(value) >= 1e7:
        text = f"{value:.3g}"
    else:
        text = f"{value:,.{digits}f}" if abs(value) >= 1e4 else f"{value:.{digits}f}"
    return f"({text})" if column.in_brackets(row) else text
