"""One contender in a process of its own: builds a model and runs steps of it when told to, over stdin and stdout.

Each request is a line of JSON, ``{"do": "build" | "losses" | "time" | "first" | "peak", ...}``, and so is each answer.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import data

if TYPE_CHECKING:
    from benchmarks.programs import Program


class Running(NamedTuple):
    """A model ready to be stepped; a step returns the loss as a float."""

    step: Callable[[], float]
    seed: Callable[[int], Any]
    many: Callable[[int], list[float]] | None = None
    """Takes so many steps in one call, where that is what the contender is about."""


Build = Callable[[str], Running]


def _with_handlers(name: str) -> Build:
    """Ember or Pyro: the module's own SVI on the programs that both run; eager, or in the variant after the dash."""
    import torch

    from benchmarks.programs import program as program_of

    package, *variants = name.split("-")
    pyro = importlib.import_module(package)
    infer, optim = importlib.import_module(f"{package}.infer"), importlib.import_module(f"{package}.optim")
    for part in ("distributions", "nn", "infer.autoguide"):
        importlib.import_module(f"{package}.{part}")
    backend = next((variant for variant in variants if variant in ("native", "inductor")), None)
    captured = {} if backend is None else {"compile": True, "backend": backend}

    def build(model: str) -> Running:
        torch.manual_seed(0)  # for guides that draw where to start
        pyro.clear_param_store()
        program = program_of(model, pyro)
        adam = optim.Adam({"lr": data.RATES[model]})
        loss = _objective(infer, program, jit="jit" in variants)
        svi = infer.SVI(program.model, program.guide, adam, loss, **captured)

        def many(num_steps: int) -> list[float]:
            return svi.run(num_steps, *program.args, progress=False).losses.tolist()

        step = lambda: svi.step(*program.args)  # noqa: E731
        return Running(step, torch.manual_seed, many if "run" in variants else None)

    return build


def _objective(infer: ModuleType, program: Program, jit: bool) -> Any:
    if jit:
        return getattr(infer, f"Jit{program.objective}")(ignore_jit_warnings=True, **program.options)
    return getattr(infer, program.objective)(**program.options)


def _by_hand(name: str) -> Build:
    import torch

    from benchmarks.by_hand import MODELS, compiled_step, eager_step

    make = compiled_step if name == "hand-compiled" else eager_step

    def build(model: str) -> Running:
        return Running(
            make(MODELS[model](), data.RATES[model.removesuffix("_as_a_vector")]), torch.manual_seed
        )

    return build


def _in_c(name: str) -> Build:
    from benchmarks.by_hand_c import Fit

    def build(model: str) -> Running:
        fit = Fit(model, torch_numbers=name == "hand-c-torch")
        return Running(lambda: fit.many(1)[0], fit.seed, fit.many)

    return build


def _memory_floor(name: str) -> Build:
    from benchmarks.by_hand_c import memory_floor

    def build(model: str) -> Running:
        many = memory_floor()
        return Running(lambda: many(1)[0], lambda seed: None, many)

    return build


def _numpyro(name: str) -> Build:
    build: Callable[..., Running] = importlib.import_module("benchmarks.in_numpyro").build
    return lambda model: build(model, scan=name == "numpyro-scan")


CONTENDERS: dict[str, Callable[[str], Build]] = {
    "ember": _with_handlers,
    "ember-native": _with_handlers,
    "ember-native-run": _with_handlers,
    "ember-inductor": _with_handlers,
    "ember-inductor-run": _with_handlers,
    "ember-inductor-2-threads": _with_handlers,
    "pyro": _with_handlers,
    "pyro-jit": _with_handlers,
    "hand": _by_hand,
    "hand-compiled": _by_hand,
    "hand-c": _in_c,
    "hand-c-torch": _in_c,
    "memory-floor": _memory_floor,
    "numpyro": _numpyro,
    "numpyro-scan": _numpyro,
}


def _losses(running: Running, seed: int, steps: int) -> list[float]:
    running.seed(seed)
    return running.many(steps) if running.many is not None else [running.step() for _ in range(steps)]


def _first(running: Running, seed: int, steps: int) -> dict[str, list[float]]:
    """Losses, and seconds of each call, from the beginning; a contender that takes many steps takes them in one call."""
    running.seed(seed)
    losses: list[float] = []
    seconds = []
    while len(losses) < steps:
        start = time.perf_counter()
        losses += running.many(steps) if running.many is not None else [running.step()]
        seconds.append(time.perf_counter() - start)
    return {"losses": losses, "seconds": seconds}


def _times(running: Running, steps: int) -> list[float]:
    """Nanoseconds of each step; of many in one call, their mean."""
    clock = time.perf_counter_ns
    if running.many is not None:
        start = clock()
        running.many(steps)
        return [(clock() - start) / steps]
    times: list[float] = []
    for _ in range(steps):
        start = clock()
        running.step()
        times.append(clock() - start)
    return times


def _peak_mib() -> float:
    """The largest resident memory that this process has had."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
        elif running is not None and request["do"] == "first":
            answer = _first(running, request["seed"], request["steps"])
        elif request["do"] == "peak":
            answer = _peak_mib()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    if not sys.argv[1].startswith("numpyro"):
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    main(sys.argv[1])
