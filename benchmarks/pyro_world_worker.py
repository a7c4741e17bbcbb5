"""One contender on one program, in a process of its own; ``benchmarks.pyro_world`` starts it.

    python -m benchmarks.pyro_world_worker CONTENDER MODEL SECONDS [--quick]

Prints one line of JSON: the seconds until there are three steps, µs a step (the median, of the processor), and the first losses.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

FIRST_LOSSES = 3
IMPORTS = (
    (
        "",
        ".infer",
        ".infer.autoguide",
        ".optim",
        ".distributions.transforms",
        ".contrib.gp",
        ".contrib.forecast",
    ),
    ("", ".infer", ".infer.autoguide", ".optim"),
)
"""What is imported before the clock is started, of Ember and Pyro, and of NumPyro."""


class Running(NamedTuple):
    """Steps that can be taken: a call takes so many, and returns the last loss."""

    steps: Callable[[int], float]
    at_a_time: int = 1
    note: Callable[[], str] = lambda: ""


def in_torch(library_name: str, model: str, quick: bool, mode: Any, many: bool) -> Running:
    """Ember or Pyro."""
    from benchmarks.pyro_world_programs import MODELS

    library = import_module(library_name)
    library.set_rng_seed(0)
    program = MODELS[model](library, quick)
    options = {} if mode is None else {"compile": mode}
    svi = library.infer.SVI(
        program.model, program.guide, program.optim, library.infer.Trace_ELBO(), **options
    )

    def step(count: int) -> float:
        for _ in range(count):
            loss = svi.step(*program.args)
        return float(loss)

    def run(count: int) -> float:
        return float(svi.run(count, *program.args, progress=False).losses[-1])

    def note() -> str:
        return str(library.capture.explain(svi)) if mode is True else ""

    return Running(run if many else step, 16 if many else 1, note)


def in_numpyro(model: str, quick: bool) -> Running:
    """``jit(svi.update)``, the loss fetched at every step."""
    import jax
    from numpyro.infer import SVI, Trace_ELBO

    from benchmarks.pyro_world_numpyro import MODELS

    program = MODELS[model](quick)
    svi = SVI(program.model, program.guide, program.optim, Trace_ELBO())
    state = svi.init(jax.random.PRNGKey(0), *program.args)
    update = jax.jit(lambda state, *args: svi.update(state, *args), donate_argnums=0)

    def step(count: int) -> float:
        nonlocal state
        for _ in range(count):
            state, loss = update(state, *program.args)
            value = float(loss)
        return value

    return Running(step)


CONTENDERS: dict[str, Callable[[str, bool], Running]] = {
    "pyro": lambda model, quick: in_torch("pyro", model, quick, None, False),
    "numpyro": in_numpyro,
    "ember-eager": lambda model, quick: in_torch("ember", model, quick, False, False),
    "ember": lambda model, quick: in_torch("ember", model, quick, True, False),
    "ember-run": lambda model, quick: in_torch("ember", model, quick, True, True),
}


def measured(running: Running, seconds: float, began: float) -> dict[str, Any]:
    """Take steps, the first few left out, for about so long."""
    losses = [running.steps(1) for _ in range(FIRST_LOSSES)]
    first = time.perf_counter() - began
    count, times, started = running.at_a_time, [], time.perf_counter()
    running.steps(count)
    while (time.perf_counter() - started < seconds) or len(times) < 3:
        at = time.process_time()
        running.steps(count)
        took = time.process_time() - at
        times.append(took / count)
        if took < seconds / 50:
            count *= 2  # so that the clock costs nothing
    return {"step": statistics.median(times[len(times) // 2 :]) * 1e6, "first": first, "losses": losses}


def main(argv: list[str]) -> int:
    """Measure one contender."""
    warnings.simplefilter("ignore")
    contender, model, seconds = argv[:3]
    import torch

    torch.set_num_threads(1)
    library = contender.partition("-")[0]
    for part in IMPORTS[library == "numpyro"]:
        import_module(library + part)
    began = time.perf_counter()
    running = CONTENDERS[contender](model, "--quick" in argv)
    row = measured(running, float(seconds), began)
    print(json.dumps(row | {"note": running.note()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
