"""What a program that uses a library does: it makes a model of made-up data, trains, predicts, saves and loads."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np


class Client(Protocol):
    """A small task of a library."""

    library: str
    """The distribution's name, whose version is reported."""
    what: str
    """What of the library it uses."""

    def build(self) -> None:
        """Make the data and the model."""

    def train(self) -> None:
        """Take the steps."""

    def predict(self) -> np.ndarray:
        """Something that is asked of the trained model."""

    def save(self, folder: Path) -> None:
        """Write the trained model as the library's users do."""

    def load(self, folder: Path) -> None:
        """Make a new model of what was saved."""
