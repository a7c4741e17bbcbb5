"""One contender in a process of its own: builds a model and runs steps of it when told to, over stdin and stdout.

Each request is a line of JSON, ``{"do": "build" | "losses" | "time", ...}``, and so is each answer.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import data


class Running(NamedTuple):
    """A model ready to be stepped; a step returns the loss as a float."""

    step: Callable[[], float]
    seed: Callable[[int], Any]


def _with_handlers(name: str) -> Callable[[str], Running]:
    """Ember or Pyro: the module's own SVI on the programs that both run."""
    import torch

    from benchmarks.programs import PROGRAMS

    pyro = importlib.import_module(name)
    infer, optim = importlib.import_module(f"{name}.infer"), importlib.import_module(f"{name}.optim")
    importlib.import_module(f"{name}.distributions")

    def build(model: str) -> Running:
        pyro.clear_param_store()
        program = PROGRAMS[model](pyro)
        adam = optim.Adam({"lr": data.RATES[model]})
        svi = infer.SVI(program.model, program.guide, adam, infer.Trace_ELBO())
        return Running(lambda: svi.step(*program.args), torch.manual_seed)

    return build


def _by_hand(name: str) -> Callable[[str], Running]:
    import torch

    from benchmarks.by_hand import MODELS

    def build(model: str) -> Running:
        loss_of, leaves = MODELS[model]()
        adam = torch.optim.Adam(leaves, lr=data.RATES[model.removesuffix("_as_a_vector")])

        def step() -> float:
            loss = loss_of()
            loss.backward()
            adam.step()
            adam.zero_grad()
            return loss.item()

        return Running(step, torch.manual_seed)

    return build


def _numpyro(name: str) -> Callable[[str], Running]:
    return importlib.import_module("benchmarks.in_numpyro").build


CONTENDERS: dict[str, Callable[[str], Callable[[str], Running]]] = {
    "ember": _with_handlers,
    "pyro": _with_handlers,
    "hand": _by_hand,
    "numpyro": _numpyro,
}


def _losses(running: Running, seed: int, steps: int) -> list[float]:
    running.seed(seed)
    return [running.step() for _ in range(steps)]


def _times(running: Running, steps: int) -> list[int]:
    clock = time.perf_counter_ns
    times = []
    for _ in range(steps):
        start = clock()
        running.step()
        times.append(clock() - start)
    return times


def main(contender: str) -> None:
    """Answer requests until stdin ends."""
    build = CONTENDERS[contender](contender)
    running: Running | None = None
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not get between the answers
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = None
        if request["do"] == "build":
            running = build(request["model"])
        elif running is not None and request["do"] == "losses":
            answer = _losses(running, request["seed"], request["steps"])
        elif running is not None and request["do"] == "time":
            answer = _times(running, request["steps"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    if sys.argv[1] != "numpyro":
        import torch

        torch.set_num_threads(1)
    main(sys.argv[1])
