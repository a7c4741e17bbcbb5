"""One client in this process, under whatever ``pyro`` is there: ``python -m benchmarks.clients.worker NAME OUT``, or
``python -m ember.pyro [--compile] -m benchmarks.clients.worker NAME OUT``."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import logging
import random
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.clients.client import Client
from benchmarks.clients.watching import Steps


def seed(number: int) -> None:
    """Seed all three generators."""
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


def run(client: Client) -> dict[str, Any]:
    """Do all that a client does. An error ends it, and is part of the result."""
    found: dict[str, Any] = {
        "library": client.library,
        "what": client.what,
        "done": [],
        "version": importlib.metadata.version(client.library),
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            _run(client, Path(folder), found)
        except Exception:
            found["error"] = traceback.format_exc()
    return found


def _run(client: Client, folder: Path, found: dict[str, Any]) -> None:
    done = found["done"]
    seed(0)
    client.build()
    seed(1)
    steps = Steps()
    started = time.perf_counter()
    try:
        with steps:
            client.train()
    finally:
        found.update(losses=steps.losses, steps=steps.seconds, explained=steps.explained())
    found["train"] = time.perf_counter() - started
    done.append("train")
    seed(2)
    started = time.perf_counter()
    before = client.predict()
    found["predict"] = time.perf_counter() - started
    found["predicted"] = np.asarray(before, dtype=np.float64).ravel()[:1000].tolist()
    done.append("predict")
    client.save(folder)
    done.append("save")
    client.load(folder)
    seed(2)
    after = client.predict()
    difference = float(np.abs(np.asarray(after) - np.asarray(before)).max())
    found["loaded differs"] = difference
    done.append("load")


def main(name: str, out: str) -> None:
    """Run a client and write what was found."""
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    client = importlib.import_module(f"benchmarks.clients.{name}").CLIENT
    Path(out).write_text(json.dumps(run(client)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
