"""Rows a second of fits over batches: ``svi.fit`` on tensors and on a loader, loops by hand, and other libraries.

    python -m benchmarks.training [--limit 12] [--models vae,logistic_million] [--only fit,Pyro] [--quick]

Each contender takes steps for about ``--limit`` seconds of the processor, its first ones, compilation included, left out: the
whole takes some five minutes. "bare" is ``svi.run`` on one batch again and again: what the native step alone costs, without
taking rows. "outside" is the part of a fit that is not within ``Run.take``: drawing orders, hooks, looking what comes next.
NumPyro and Lightning take part where they are installed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ember
from benchmarks.training_elsewhere import lightning_compiled, numpyro_scan, products_alone, torch_by_hand
from ember.infer.step.loop import Run
from ember.train import Callback

WARM = 40
"""Steps that are not counted."""


@dataclass(frozen=True)
class Problem:
    """Data, and the programs of a library for them."""

    data: tuple[Tensor, ...]
    batch_size: int
    name: str
    programs: Callable[[Any, Callable[[int], Any]], tuple[Callable[..., Any], Callable[..., Any]]]
    """Of a library, and of a plate of so many rows."""


def vae(quick: bool) -> Problem:
    """Binary images of 28 x 28, 400 hidden units, 20 latent variables: the example of Pyro's tutorial."""
    rows = 2_000 if quick else 20_000
    images = (torch.rand(rows, 784, generator=torch.Generator().manual_seed(0)) < 0.3).float()

    def programs(library: Any, plate: Callable[[int], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        dist = library.distributions
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(784, 400), nn.Softplus(), nn.Linear(400, 40))
        decoder = nn.Sequential(nn.Linear(20, 400), nn.Softplus(), nn.Linear(400, 784))

        def model(x: Tensor) -> None:
            library.module("decoder", decoder)
            with plate(len(x)):
                z = library.sample("z", dist.Normal(x.new_zeros(len(x), 20), 1.0).to_event(1))
                library.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

        def guide(x: Tensor) -> None:
            library.module("encoder", encoder)
            with plate(len(x)):
                loc, log_scale = encoder(x).chunk(2, -1)
                library.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

        return model, guide

    return Problem((images,), 256, "vae", programs)


def logistic_million(quick: bool) -> Problem:
    """A logistic regression on a million rows of ten columns."""
    rows, columns = 20_000 if quick else 1_000_000, 10
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, columns, generator=generator)
    y = (x.sum(1) + torch.randn(rows, generator=generator) > 0).float()

    def programs(library: Any, plate: Callable[[int], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        dist = library.distributions

        def model(x: Tensor, y: Tensor) -> None:
            w = library.sample("w", dist.Normal(torch.zeros(columns), 1.0).to_event(1))
            with plate(len(x)):
                library.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

        return model, library.infer.autoguide.AutoNormal(model)

    return Problem((x, y), 1000, "logistic_million", programs)


PROBLEMS = {"vae": vae, "logistic_million": logistic_million}


class Clock(Callback):
    """Counts steps after the first ones, until time is over."""

    def __init__(self, limit: float, every: int) -> None:
        self.every = every
        self._limit = limit
        self.first: tuple[int, float] | None = None
        self.last = (0, 0.0)

    def tick(self, step: int) -> bool:
        """Note the time; whether it is over."""
        now = time.process_time()
        if step < WARM:
            return False
        if self.first is None:
            self.first = (step, now)
        self.last = (step, now)
        return now - self.first[1] > self._limit and step > self.first[0]

    def after_steps(self, training: Any) -> None:
        """Look at the time."""
        if self.tick(training.step):
            training.stop("time is over")

    def seconds_a_step(self) -> float:
        """Between the first and the last look."""
        assert self.first is not None
        return (self.last[1] - self.first[1]) / (self.last[0] - self.first[0])


def new_svi(library: Any, problem: Problem, weighed: bool = True, **options: Any) -> Any:
    """A fit that has not begun; its programs weigh batches themselves, unless ``svi.fit`` does so."""
    library.clear_param_store()
    library.set_rng_seed(0)
    size = len(problem.data[0])

    @contextmanager
    def plate(rows: int) -> Iterator[None]:
        with library.plate("rows", rows), library.poutine.scale(scale=size / rows):
            yield

    model, guide = problem.programs(library, plate if weighed else partial(library.plate, "rows"))
    return library.infer.SVI(
        model, guide, library.optim.Adam({"lr": 1e-3}), library.infer.Trace_ELBO(), **options
    )


def loader(problem: Problem) -> DataLoader[Any]:
    """Batches of rows that are put together one by one."""
    return DataLoader(TensorDataset(*problem.data), batch_size=problem.batch_size, shuffle=True)


def split(problem: Problem) -> Iterator[tuple[Tensor, ...]]:
    """Batches by hand, without end."""
    while True:
        for rows in torch.randperm(len(problem.data[0])).split(problem.batch_size):
            yield tuple(column[rows] for column in problem.data)


def endless(batches: Any) -> Iterator[Any]:
    """One epoch after the other."""
    while True:
        yield from batches


def stepped(svi: Any, batches: Iterator[Any], limit: float) -> float:
    """A loop by hand."""
    clock = Clock(limit, 10)
    for step, batch in enumerate(batches, 1):
        svi.step(*batch)
        if step % clock.every == 0 and clock.tick(step):
            return clock.seconds_a_step()
    raise AssertionError("the batches have no end")


@contextmanager
def within_steps() -> Iterator[list[float]]:
    """The seconds that a fit spends taking steps, as one number in a list."""
    found, take = [0.0], Run.take

    def timed_take(run: Run, num_steps: int) -> None:
        started = time.process_time()
        take(run, num_steps)
        found[0] += time.process_time() - started

    Run.take = timed_take  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Run.take = take  # type: ignore[method-assign]


def fitted(svi: Any, data: Any, limit: float, **options: Any) -> float:
    """``svi.fit``."""
    clock = Clock(limit, 100)
    svi.fit(data, steps=10**9, callbacks=[clock], progress=False, **options)
    return clock.seconds_a_step()


def outside_steps(svi: Any, problem: Problem, limit: float) -> float:
    """Of ``svi.fit`` on tensors: the part of its time that is not spent taking steps."""
    clock = Clock(limit, 100)
    with within_steps() as found:
        svi.fit(problem.data, steps=WARM, batch_size=problem.batch_size, progress=False)
        found[0], started = 0.0, time.process_time()
        svi.fit(problem.data, steps=10**9, batch_size=problem.batch_size, progress=False, callbacks=[clock])
        return 1 - found[0] / (time.process_time() - started)


def bare(svi: Any, problem: Problem, limit: float) -> float:
    """``svi.run`` on one batch."""
    batch = tuple(column[: problem.batch_size] for column in problem.data)
    clock = Clock(limit, 100)
    svi.run(
        10**9, *batch, progress=False, callback=lambda step, loss: clock.tick(step), callback_interval=100
    )
    return clock.seconds_a_step()


Contender = Callable[[], float | None]


def contenders(problem: Problem, limit: float) -> dict[str, Contender]:
    """What is measured; other libraries where they are installed."""
    name, data, rows = problem.name, problem.data, problem.batch_size
    found: dict[str, Contender] = {
        "bare native steps": lambda: bare(new_svi(ember, problem, compile=True), problem, limit),
        "svi.fit, tensors": lambda: fitted(new_svi(ember, problem, False), data, limit, batch_size=rows),
        "svi.fit, tensors in order": lambda: fitted(
            new_svi(ember, problem, False), data, limit, batch_size=rows, shuffle=False
        ),
        "svi.step by hand, randperm().split": lambda: stepped(
            new_svi(ember, problem, compile=True), split(problem), limit
        ),
        "svi.fit, DataLoader": lambda: fitted(new_svi(ember, problem, False), loader(problem), limit),
        "torch by hand, randperm().split": lambda: torch_by_hand(name, data, rows, limit),
        "NumPyro, scan over batches": lambda: numpyro_scan(name, data, rows, limit),
        "Lightning, torch.compile, DataLoader": lambda: lightning_compiled(name, data, rows, limit),
    }
    if name == "vae":
        found["its matrix products alone"] = lambda: products_alone(rows, limit)
    try:
        pyro = import_module("pyro")
        import_module("pyro.infer.autoguide")
    except ImportError:
        return found
    found["Pyro, randperm().split"] = lambda: stepped(new_svi(pyro, problem), split(problem), limit)
    found["Pyro, DataLoader"] = lambda: stepped(new_svi(pyro, problem), endless(loader(problem)), limit)
    return found


def table(problem: Problem, limit: float, only: list[str]) -> None:
    """Print the figures of a model."""
    print(f"\n{problem.name}: {len(problem.data[0]):,} rows, {problem.batch_size} a step")
    print("| | µs a step | rows a second | beside bare |")
    print("|---|---:|---:|---:|")
    first = 0.0
    for title, measure in contenders(problem, limit).items():
        if only and not any(part in title for part in only):
            continue
        seconds = measure()
        if seconds is None:
            print(f"| {title} | not installed | | |")
            continue
        first = first or seconds
        rate = problem.batch_size / seconds
        print(f"| {title} | {seconds * 1e6:,.1f} | {rate:,.0f} | {seconds / first:.2f} |", flush=True)
    outside = outside_steps(new_svi(ember, problem, False), problem, min(limit, 3.0))
    print(f"\nOf svi.fit on tensors, outside of steps: {100 * outside:.1f} %", flush=True)


def main(argv: list[str]) -> None:
    """Print a table a model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--limit", type=float, default=12.0, help="seconds a contender (12)")
    parser.add_argument("--models", default=",".join(PROBLEMS))
    parser.add_argument("--only", default="", help="contenders whose names have one of these parts")
    parser.add_argument("--quick", action="store_true", help="does it run?")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    only = [part for part in given.only.split(",") if part]
    for name in given.models.split(","):
        table(PROBLEMS[name](given.quick), 0.2 if given.quick else given.limit, only)


if __name__ == "__main__":
    main(sys.argv[1:])
