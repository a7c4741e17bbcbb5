"""Counts of genes in cells, some of them labelled, in batches that are labelled or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ember.contrib.examples.local_files import data_directory, find

DATA = data_directory(__file__)


class BatchDataLoader:
    """Batches of cells that all have a label, and batches of cells without; never mixed.

    Args:
        data_x: one row a cell.
        data_y: the labels, or ``missing_label``.
        batch_size: cells a batch; the last one of its kind may be smaller.
        num_classes: how many labels there are.
        missing_label: stands for no label.
    """

    def __init__(
        self, data_x: Tensor, data_y: Tensor, batch_size: int, num_classes: int = 4, missing_label: int = -1
    ) -> None:
        self.data_x = data_x
        self.data_y = data_y
        self.batch_size = batch_size
        self.num_classes = num_classes
        self.unlabeled = torch.where(data_y == missing_label)[0]
        self.num_unlabeled = self.unlabeled.size(0)
        self.num_unlabeled_batches = -(-self.num_unlabeled // batch_size)
        self.labeled = torch.where(data_y != missing_label)[0]
        self.num_labeled = self.labeled.size(0)
        self.num_labeled_batches = -(-self.num_labeled // batch_size)

    @property
    def size(self) -> int:
        """How many cells there are."""
        return self.data_x.size(0)

    def __len__(self) -> int:
        return self.num_unlabeled_batches + self.num_labeled_batches

    def _sample_batch_indices(self) -> tuple[list[tuple[Tensor, bool]], list[int]]:
        order: list[int] = torch.randperm(len(self)).tolist()
        batches = []
        for rows, count, labeled in (
            (self.unlabeled, self.num_unlabeled_batches, False),
            (self.labeled, self.num_labeled_batches, True),
        ):
            shuffled: Any = rows[torch.randperm(rows.size(0))]
            if count:
                batches += [(batch, labeled) for batch in shuffled.split(self.batch_size)]
        return batches, order

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        batches, order = self._sample_batch_indices()
        for place in order:
            rows, labeled = batches[place]
            y = torch.nn.functional.one_hot(self.data_y[rows], self.num_classes) if labeled else None
            yield self.data_x[rows], y


def get_data(
    dataset: str = "pbmc", batch_size: int = 100, cuda: bool = False
) -> tuple[BatchDataLoader, int, float, float, Any]:
    """A loader of cells, the number of genes, mean and scale of the logarithm of cells' sizes, and None.

    Args:
        dataset: "mock", drawn at random, or "pbmc": a file ``pbmc.pt`` of :func:`torch.save` in :data:`DATA`,
            a dict of counts "data_x" (cells, genes) and labels "data_y" (cells,), -1 where there is none.
        batch_size: cells a batch.
        cuda: on the accelerator.

    Raises:
        ValueError: for another data set.
        FileNotFoundError: if the file is not there; names it.
    """
    if dataset not in ("pbmc", "mock"):
        raise ValueError(f"dataset={dataset!r}, but there are 'pbmc' and 'mock'")
    device = torch.device("cuda" if cuda else torch.get_default_device())
    if dataset == "mock":
        x = torch.poisson(torch.full((200, 17), 10.0)).to(device)
        labels = torch.full((200,), -1, device=device)
        labels[:50], labels[50:100] = 0, 1
        return BatchDataLoader(x, labels, batch_size), 17, 2.0, 1.0, None
    found = torch.load(find("of blood cells", DATA, "pbmc.pt"), map_location=device, weights_only=True)
    x, labels = found["data_x"].float(), found["data_y"].long()
    sizes = x.sum(-1).log()
    loader = BatchDataLoader(x, labels, batch_size)
    return loader, x.size(-1), sizes.mean().item(), sizes.std().item(), None
