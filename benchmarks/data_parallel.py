"""What scales when several processes fit together: strong and weak scaling, and the all-reduce by the number of parameters.

    python -m benchmarks.data_parallel [--limit 5] [--processes 1,2] [--quick]

Times are of the clock, so that a quiet machine with a core a process is needed. The model of the last table says what more
machines would give: a step takes ``compute / P + latency * rounds + 2 (P - 1) / P * bytes / bandwidth``, a ring all-reduce
(P. Patarasu and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009), where latency and
bandwidth are fitted to the measured all-reduces of two processes, or given for another network.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, multiprocessing, nn
from torch import distributed as group

import ember
from ember import distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.train import Callback, DataParallel

ROWS, COLUMNS, HIDDEN = 20_000, 200, 400
PARAMETERS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
NETWORKS = {"10 Gbit/s": (5e-5, 1.25e9), "100 Gbit/s": (2e-5, 12.5e9)}
"""Seconds of latency a message, and bytes a second."""
_WARM = 5


@dataclass(frozen=True)
class Case:
    """One fit that is timed."""

    processes: int
    batch_size: int
    """Of all processes together."""
    limit: float


class Timed(Callback):
    """Times steps after the first ones, until time is over; the first process decides for all."""

    every = 5

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._times: list[tuple[int, float]] = []

    def after_steps(self, training: Any) -> None:
        """Look at the clock."""
        if training.step < _WARM:
            return
        now = time.perf_counter()
        self._times.append((training.step, now))
        over = now - self._times[0][1] > self._limit and len(self._times) > 2
        if over if training.parallel is None else training.parallel.agreed(over):
            training.stop("time is over")

    def seconds(self) -> float:
        """A step."""
        (first, started), (last, ended) = self._times[0], self._times[-1]
        return (ended - started) / (last - first)


def network_regression(x: Tensor, y: Tensor) -> None:
    """A regression by a network of 80,000 weights."""
    net = ember.module("net", _NETS["net"])
    scale = ember.sample("scale", dist.LogNormal(0.0, 1.0))
    with ember.plate("rows", len(x)):
        ember.sample("y", dist.Normal(net(x)[:, 0], scale), obs=y)


def guide(x: Tensor, y: Tensor) -> None:
    """Of the scale."""
    ember.sample("scale", dist.LogNormal(ember.param("loc", torch.tensor(0.0)), 0.1))


_NETS: dict[str, nn.Module] = {}


def fitted(case: Case) -> float:
    """Seconds a step of a fit."""
    torch.manual_seed(0)
    ember.clear_param_store()
    _NETS["net"] = nn.Sequential(nn.Linear(COLUMNS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
    x = torch.randn(ROWS, COLUMNS)
    svi = SVI(network_regression, guide, ember.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    timed = Timed(case.limit)
    svi.fit(
        (x, x[:, 0].sin()),
        steps=10**6,
        batch_size=case.batch_size,
        drop_last=True,
        callbacks=[timed],
        progress=False,
        parallel=DataParallel() if case.processes > 1 else None,
    )
    return timed.seconds()


def all_reduce(parameters: int, limit: float) -> float:
    """Seconds that all-reduce takes for so many float32."""
    flat, times = torch.zeros(parameters), []
    for _ in range(3):
        group.all_reduce(flat)
    started = time.perf_counter()
    while len(times) < 10 or (time.perf_counter() - started < limit and len(times) < 2000):
        group.barrier()
        now = time.perf_counter()
        group.all_reduce(flat)
        times.append(time.perf_counter() - now)
        # One number of rounds for all.
        ends = torch.tensor(float(time.perf_counter() - started > limit and len(times) >= 10))
        group.all_reduce(ends)
        if ends:
            break
    return sorted(times)[len(times) // 2]


def _work(rank: int, case: Case, folder: str) -> None:
    torch.set_num_threads(1)
    if case.processes > 1:
        meeting = f"file://{folder}/meeting"
        group.init_process_group("gloo", init_method=meeting, rank=rank, world_size=case.processes)
    found: dict[str, Any] = {}
    if case.batch_size:
        found["step"] = fitted(case)
    else:
        found["reduces"] = [all_reduce(count, case.limit) for count in PARAMETERS]
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    if case.processes > 1:
        group.barrier()
        group.destroy_process_group()


def measured(case: Case) -> dict[str, Any]:
    """A case in processes of its own; a batch size of 0 stands for the all-reduces."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_work, (case, folder), nprocs=case.processes)  # type: ignore[no-untyped-call]
        found: dict[str, Any] = torch.load(Path(folder) / "found.pt")
    return found


def fitted_network(reduces: list[float]) -> tuple[float, float]:
    """Latency and bandwidth of two processes, through the shortest and the longest all-reduce; half of the bytes go twice."""
    small, large = 4.0 * PARAMETERS[0], 4.0 * PARAMETERS[-1]
    bandwidth = (large - small) / max(reduces[-1] - reduces[0], 1e-9)
    return max(reduces[0] - small / bandwidth, 0.0) / 2, bandwidth


def modelled(
    compute: float, parameters: int, processes: int, latency: float, bandwidth: float
) -> tuple[float, float]:
    """Seconds of a step of so many processes that share a batch, and of its all-reduce."""
    if processes == 1:
        return compute, 0.0
    rounds = 2 * (processes - 1)
    reduce = rounds * (latency + 4 * parameters / processes / bandwidth)
    return compute / processes + reduce, reduce


def scaling(processes: list[int], batch: int, limit: float) -> float:
    """Print strong and weak scaling; returns the seconds of one process."""
    print(f"\nA network of {COLUMNS * HIDDEN + 2 * HIDDEN + 1:,} weights, batches of {batch}")
    print("| processes | strong, ms a step | times as fast | weak, ms a step | rows a second, times |")
    print("|---:|---:|---:|---:|---:|")
    one = 0.0
    for count in processes:
        strong = measured(Case(count, batch, limit))["step"]
        weak = strong if count == 1 else measured(Case(count, batch * count, limit))["step"]
        one = one or strong
        print(
            f"| {count} | {strong * 1e3:.2f} | {one / strong:.2f} | {weak * 1e3:.2f} | {count * one / weak:.2f} |",
            flush=True,
        )
    return one


def main(argv: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_parallel")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds a figure (5)")
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--quick", action="store_true", help="does it run?")
    given = parser.parse_args(argv)
    limit = 0.1 if given.quick else given.limit
    compute = scaling([int(count) for count in given.processes.split(",")], given.batch, limit)
    reduces = measured(Case(2, 0, limit / 5))["reduces"]
    print("\n| parameters | all-reduce of two processes, ms |\n|---:|---:|")
    for count, seconds in zip(PARAMETERS, reduces, strict=True):
        print(f"| {count:,} | {seconds * 1e3:.3f} |")
    print(f"\nModelled: a step of {compute * 1e3:.1f} ms by one process, a million parameters; ms a step")
    networks = {"here": fitted_network(reduces), **NETWORKS}
    counts = (1, 2, 4, 8, 16)
    print("| network | " + " | ".join(map(str, counts)) + " |\n|---|" + "---:|" * len(counts))
    for name, (latency, bandwidth) in networks.items():
        steps = [modelled(compute, 1_000_000, count, latency, bandwidth)[0] for count in counts]
        print(f"| {name} | " + " | ".join(f"{step * 1e3:.2f}" for step in steps) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
