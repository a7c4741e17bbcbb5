"""Biological sequences as data sets of one-hot rows, and back to files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

_STOP = "*"

# Preset alphabets, in the order of their one-hot columns.
alphabets: dict[str, NDArray[Any]] = {
    "amino-acid": np.array(list("RHKDESTNQCGPAVILMFYW")),
    "dna": np.array(list("ACGT")),
}


class BiosequenceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Sequences as one-hot rows in double precision, with rows of zeros after the end.

    An item is a sequence ``(max_length, alphabet_length)`` and its length. A letter outside the alphabet is a row of
    zeros, too: that is how missing data look.

    Args:
        source: sequences, or the path of a FASTA file.
        source_type: "list" or "fasta".
        alphabet: "amino-acid", "dna", or the letters.
        max_length: how many rows; as the longest sequence if None.
        include_stop: end each sequence with a stop symbol, a further letter.
        device: where the data are.

    Raises:
        ValueError: for another type of source, no sequence, or one that is longer than ``max_length``.

    >>> data = BiosequenceDataset(["AC", "ACG"], alphabet="dna")
    >>> len(data), data.max_length, data.L_data
    (2, 3, tensor([2., 3.]))
    >>> data[0][0]
    tensor([[1., 0., 0., 0.],
            [0., 1., 0., 0.],
            [0., 0., 0., 0.]], dtype=torch.float64)
    """

    def __init__(
        self,
        source: str | Sequence[str],
        source_type: str = "list",
        alphabet: str | Iterable[str] = "amino-acid",
        max_length: int | None = None,
        include_stop: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.device = torch.tensor(0.0).device if device is None else device
        self.include_stop = include_stop
        if source_type not in ("list", "fasta"):
            raise ValueError(f'source_type must be "list" or "fasta", got {source_type!r}')
        read = list(source) if source_type == "list" else _read_fasta(str(source))
        if not read:
            raise ValueError(f"BiosequenceDataset needs at least one sequence; there is none in {source!r}")
        sequences = [one + _STOP * include_stop for one in read]
        longest = max(map(len, sequences))
        if max_length is not None and max_length < longest:
            raise ValueError(f"a sequence has {longest} letters, and max_length is {max_length}")
        self.L_data = torch.tensor([float(len(one)) for one in sequences], device=self.device)
        self.max_length = longest if max_length is None else max_length
        self.data_size = len(sequences)
        preset = alphabets.get(alphabet) if isinstance(alphabet, str) else None
        letters = list(alphabet if preset is None else preset)
        self.alphabet = np.array(letters + [_STOP] * include_stop)
        self.alphabet_length = len(self.alphabet)
        self.seq_data = torch.stack([self._one_hot(one) for one in sequences])

    def _one_hot(self, sequence: str) -> Tensor:
        rows = torch.zeros(self.max_length, self.alphabet_length, dtype=torch.float64)
        places = {letter: column for column, letter in enumerate(self.alphabet.tolist())}
        for row, letter in enumerate(sequence):
            if letter in places:
                rows[row, places[letter]] = 1.0
        return rows.to(self.device)

    def __len__(self) -> int:
        return self.data_size

    def __getitem__(self, ind: Any) -> tuple[Tensor, Tensor]:
        return self.seq_data[ind], self.L_data[ind]


def _read_fasta(path: str) -> list[str]:
    """The sequences of a FASTA file: a line that begins with ``>`` ends the one before."""
    sequences = [""]
    for line in Path(path).read_text().splitlines():
        if line.startswith(">"):
            sequences.append("")
        else:
            sequences[-1] += line
    return [sequence for sequence in sequences if sequence]


def write(
    x: Tensor,
    alphabet: Sequence[str] | NDArray[Any],
    file: str,
    truncate_stop: bool = False,
    append: bool = False,
    scores: Iterable[Any] | None = None,
) -> None:
    """Write one-hot sequences to a FASTA file.

    Args:
        x: ``(sequences, length, letters)``; rows of zeros are left out.
        alphabet: the letters.
        file: the path.
        truncate_stop: leave out the first stop symbol of a sequence, and all that follows.
        append: add to the file, instead of writing it anew.
        scores: what names each sequence; its number by default.
    """
    letters = np.array([*alphabet, ""])
    columns = torch.where(x.sum(-1) < 0.5, x.shape[-1], x.argmax(-1))
    rows = letters[columns.cpu().numpy()]
    written = ["".join(row) for row in rows]
    if truncate_stop:
        written = [one.split(_STOP, 1)[0] for one in written]
    names = range(len(written)) if scores is None else scores
    with open(file, "a" if append else "w") as out:
        out.writelines(f">{name}\n{one}\n" for name, one in zip(names, written, strict=False))
