"""Canvases with no, one or more digits of MNIST at random places, to be taken apart again.

S. M. A. Eslami and others (2016): Attend, infer, repeat: fast scene understanding with generative models.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ember.contrib.examples.mnist import MNIST

_FILE = "multi_mnist_uint8.npz"
Digits = dict[str, NDArray[Any]]


def imresize(arr: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """An image of another size, height and width.

    Raises:
        ImportError: without PIL.
    """
    from PIL import Image

    return np.array(Image.fromarray(arr).resize((size[1], size[0])))


def sample_one(canvas_size: int, mnist: Digits) -> tuple[NDArray[Any], int]:
    """A canvas with one digit of random size at a random place, and its label."""
    index = np.random.randint(mnist["digits"].shape[0])
    scale = 0.1 * np.random.randn() + 1.3
    side = min(int(1.0 / scale * canvas_size / 50 * 28), canvas_size)
    digit = imresize(mnist["digits"][index], (side, side))
    top, left = np.random.randint(0, canvas_size - side + 1, 2)
    canvas = np.zeros((canvas_size, canvas_size))
    canvas[top : top + side, left : left + side] += digit
    return canvas, int(mnist["labels"][index])


def sample_multi(num_digits: int, canvas_size: int, mnist: Digits) -> tuple[NDArray[Any], list[int]]:
    """A canvas with some digits that do not lie on one another, and their labels."""
    while True:
        canvas = np.zeros((canvas_size, canvas_size))
        labels = []
        for _ in range(num_digits):
            positioned, label = sample_one(canvas_size, mnist)
            canvas += positioned
            labels.append(label)
        if np.max(canvas) <= 255:  # no pixel is a sum
            return canvas.astype(np.uint8), labels


def mk_dataset(n: int, mnist: Digits, max_digits: int, canvas_size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Canvases, as bytes, and an array of lists of labels; how many digits one has is random."""
    canvases, counts = [], np.random.randint(max_digits + 1, size=n)
    labels = np.empty(n, dtype=object)
    for row, count in enumerate(counts):
        canvas, labels[row] = sample_multi(int(count), canvas_size, mnist)
        canvases.append(canvas)
    return np.array(canvases, dtype=np.uint8), labels


def load_mnist(root_path: str | os.PathLike[str]) -> Digits:
    """The digits to draw from: "digits", bytes of shape (n, 28, 28), and "labels".

    Raises:
        FileNotFoundError: if MNIST is not in that folder; names the file.
    """
    found = MNIST(root_path, train=True)
    return {"digits": found.data.numpy(), "labels": found.targets.numpy()}


def load(root_path: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """60,000 canvases of 50 x 50 with up to two digits, made in the first call and kept in the folder.

    Args:
        root_path: the folder, with the file of canvases or with MNIST. Its labels are pickled, so a file that
            comes from elsewhere can run code.

    Raises:
        FileNotFoundError: if neither is there; names the file.
    """
    path = os.path.join(root_path, _FILE)
    if os.path.exists(path):
        # The labels are lists of different lengths, which NumPy keeps as pickled objects.
        with np.load(path, allow_pickle=True) as found:
            return found["x"], found["y"]
    np.random.seed(681307)
    x, y = mk_dataset(60000, load_mnist(root_path), 2, 50)
    np.savez_compressed(path, x=x, y=y)
    return x, y
