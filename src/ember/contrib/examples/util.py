"""MNIST, loaders of torchvision's data sets, and small helpers of examples."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import IO, Any

from torch.utils.data import DataLoader

from ember.contrib.examples.local_files import data_directory
from ember.contrib.examples.mnist import MNIST as MNIST
from ember.contrib.examples.mnist import to_tensor


class _InTurn:
    """Applies functions one after the other."""

    def __init__(self, functions: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(functions)

    def __call__(self, image: Any) -> Any:
        for function in self.transforms:
            image = function(image)
        return image


def _dataset(name: str) -> Any:
    if name == "MNIST":
        return MNIST
    try:
        from torchvision import datasets
    except ImportError as error:
        error.add_note(f"the data set {name!r} is read by torchvision: install it; MNIST is read without it")
        raise
    return getattr(datasets, name)


def get_data_loader(
    dataset_name: str,
    data_dir: str | os.PathLike[str],
    batch_size: int = 1,
    dataset_transforms: Sequence[Callable[[Any], Any]] | None = None,
    is_training_set: bool = True,
    shuffle: bool = True,
) -> DataLoader[Any]:
    """Batches of a data set of images, as tensors in [0, 1].

    Args:
        dataset_name: "MNIST", or another of ``torchvision.datasets``.
        data_dir: the folder that it lies in.
        batch_size: images a batch.
        dataset_transforms: applied to each image, once it is a tensor.
        is_training_set: the training images or those to test with.
        shuffle: in a new random order each time.

    Raises:
        FileNotFoundError: if the files are not there.
        ImportError: for another data set than MNIST without torchvision.
    """
    transform = _InTurn([to_tensor, *(dataset_transforms or ())])
    images = _dataset(dataset_name)(root=data_dir, train=is_training_set, transform=transform, download=False)
    return DataLoader(images, batch_size=batch_size, shuffle=shuffle, num_workers=0, pin_memory=False)


def print_and_log(logger: IO[str], msg: str) -> None:
    """Print a line, and write it to an open file."""
    print(msg)  # noqa: T201 - what it is for
    logger.write(f"{msg}\n")
    logger.flush()


def get_data_directory(filepath: str | os.PathLike[str] | None = None) -> str:
    """The folder ``.data`` beside a file, or ``~/.data`` where the variable ``CI`` is set.

    Raises:
        TypeError: without a file, if ``CI`` is not set.
    """
    if filepath is None and "CI" not in os.environ:
        raise TypeError("get_data_directory needs the path of a file, usually __file__")
    return data_directory(filepath or "")
