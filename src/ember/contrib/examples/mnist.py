"""MNIST from the files in which it is published, with or without torchvision.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998): Gradient-based learning applied to document recognition.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ember.contrib.examples.local_files import find, open_packed

_FILES = {True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")}
_FILES[False] = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_BYTES = 8  # the code of the element type in the third byte of a file


def read_idx(path: Path) -> Tensor:
    """The array of bytes in an IDX file: two zero bytes, type, number of dims, sizes, elements.

    Raises:
        ValueError: if it is no such file, or shorter than its sizes say.
    """
    with open_packed(path) as stream:
        data = stream.read()
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _BYTES:
        raise ValueError(f"{path} is not an IDX file of bytes")
    dims = data[3]
    sizes = [int.from_bytes(data[4 * (i + 1) : 4 * (i + 2)], "big") for i in range(dims)]
    start, count = 4 * (dims + 1), int(np.prod(sizes))
    if len(data) != start + count:
        raise ValueError(f"{path} has {len(data) - start} elements, for sizes {sizes}")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).copy()).reshape(sizes)


def to_tensor(image: Any) -> Tensor:
    """An image of bytes as a tensor in [0, 1] of shape (channels, height, width)."""
    array = np.array(image)
    array = array[:, :, None] if array.ndim == 2 else array
    x = torch.from_numpy(array).permute(2, 0, 1).contiguous()
    return x.float() / 255 if x.dtype == torch.uint8 else x


class MNIST(Dataset[Any]):
    """Images of digits and their labels.

    The files lie in ``root``, ``root/MNIST/raw`` or ``root/raw``, packed by gzip or not.

    Args:
        root: the folder.
        train: the training images or those to test with.
        transform: applied to an image, a PIL image if PIL is installed and else an array of bytes.
        target_transform: applied to a label.
        download: look for the files only; Ember fetches nothing.

    Attributes:
        data: bytes of shape (n, 28, 28).
        targets: labels of shape (n,).

    Raises:
        FileNotFoundError: if the files are not there; names them.
        ValueError: if a file is damaged.
    """

    classes = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root = os.path.expanduser(root)
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        if download:
            self.download()
        self.data, self.targets = (read_idx(self._find(name)) for name in _FILES[train])
        self.targets = self.targets.long()

    @property
    def raw_folder(self) -> str:
        """Where torchvision keeps the files."""
        return os.path.join(self.root, "MNIST", "raw")

    def _find(self, name: str) -> Path:
        for folder in (self.root, os.path.join(self.root, "raw")):
            for suffix in ("", ".gz"):
                path = Path(folder, name + suffix)
                if path.exists():
                    return path
        return find("MNIST", self.raw_folder, name, name + ".gz")

    def download(self) -> None:
        """Look for the files.

        Raises:
            FileNotFoundError: if they are not there.
        """
        for name in _FILES[self.train]:
            self._find(name)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = _image(self.data[index].numpy())
        target: Any = int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target


def _image(array: Any) -> Any:
    try:
        from PIL import Image
    except ImportError:
        return array
    return Image.fromarray(array)
