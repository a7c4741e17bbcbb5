"""What one of the processes does in ``test_distributed.py``: fits by two, whose results it writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed as group

import ember
import ember.distributions as dist
from ember.errors import ModelError, NonFiniteLossError
from ember.infer import SVI
from ember.train import Checkpoint, DataParallel, EarlyStopping
from tests.train.regression import data, final, new_svi, of_batch

OPTIONS: dict[str, Any] = {"epochs": 3, "batch_size": 15, "progress": False, "shuffle": False}


def of_rows(x: torch.Tensor, y: torch.Tensor) -> None:
    """With a latent variable for each row."""
    w = ember.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with ember.plate("data", len(x)):
        z = ember.sample("z", dist.Normal(x @ w, 1.0))
        ember.sample("y", dist.Normal(z, 0.3), obs=y)


def guide_of_rows(x: torch.Tensor, y: torch.Tensor) -> None:
    loc = ember.param("loc", lambda: torch.randn(3))
    ember.sample("w", dist.Normal(loc, 0.1).to_event(1))
    with ember.plate("data", len(x)):
        ember.sample("z", dist.Normal(y + ember.param("shift", torch.tensor(0.0)), 0.3))


def bad_for_one(x: torch.Tensor, y: torch.Tensor) -> None:
    of_batch(x, torch.where((y == data()[1][30]).any(), torch.nan, y))


def result(svi: SVI, fitted: Any) -> dict[str, Any]:
    return {"losses": fitted.losses.tolist(), "params": final(svi), "validation": fitted.validation}


def cases(folder: Path) -> dict[str, Any]:
    rank, found = group.get_rank(), {}
    for mode in (False, True):
        svi = new_svi(compile=mode)
        fitted = svi.fit(data(), parallel=DataParallel(noise="same"), **OPTIONS)
        found[f"same {mode}"] = result(svi, fitted)

    ember.clear_param_store()
    svi = new_svi(of_rows, guide_of_rows, compile=True)
    ember.set_rng_seed(50 + rank)
    options = {**OPTIONS, "shuffle": True, "validation": data(12, 4)}
    fitted = svi.fit(data(), parallel=DataParallel(), callbacks=[EarlyStopping()], **options)
    found["different"] = {**result(svi, fitted), "next": torch.rand(3).tolist()}

    def resumed(steps: int, name: str) -> Any:
        svi = new_svi(of_rows, guide_of_rows, compile=True)
        path = folder / name
        options = {**OPTIONS, "shuffle": True, "epochs": None, "steps": steps}
        callbacks = [Checkpoint(path, every=100)]
        fitted = svi.fit(data(), parallel=DataParallel(), callbacks=callbacks, resume=path, **options)
        return {**result(svi, fitted), "next": torch.rand(3).tolist()}

    straight = resumed(9, "straight.pt")
    resumed(6, "stopped.pt")
    found["resumed"] = resumed(9, "stopped.pt") == straight
    for name, model, options in (("bad", bad_for_one, {}), ("small", of_batch, {"batch_size": 7})):
        try:
            new_svi(model).fit(data(), parallel=DataParallel(), **{**OPTIONS, **options})
        except (NonFiniteLossError, ModelError) as error:
            found[name] = str(error)
    return found


if __name__ == "__main__":
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    group.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    ember.enable_validation(False)
    (folder / f"{rank}.json").write_text(json.dumps(cases(folder)))
    group.destroy_process_group()
