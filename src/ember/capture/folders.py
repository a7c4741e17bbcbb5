"""Whose code a file is: torch's, Ember's, the standard library's, another installed package's; or else the user's."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch

TORCH = str(Path(torch.__file__).parent)
CAPTURE = str(Path(__file__).parent)
EMBER = str(Path(__file__).parent.parent)
STANDARD = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib"))
PACKAGES = tuple(sysconfig.get_paths()[key] for key in ("purelib", "platlib"))
