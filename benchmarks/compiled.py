"""What a compiled step costs, and many in one call: Ember beside Pyro, NumPyro and training loops by hand.

Every (model, contender) is a process of its own with one thread. Its first calls are timed alone, in a fresh process with an
empty cache of compiled code, and for some again in a second process. Then all contenders of the model take turns in rounds, and
the median counts. Losses of those that draw torch's random numbers must agree. What goes over the limit is printed as such.

    python -m benchmarks.compiled [--quick] [--models eight_schools,vae] [--contenders hand,ember-native] [--limit 300]
                                  [--json results.json] [--show results.json]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import data, report
from benchmarks.contender import Contender, ContenderError, Limit
from benchmarks.eager import NEEDS, SAME, largest_difference, machine

Row = dict[str, Any]

# The fast ones first, so that an interrupted run has them; within a model, the reference of the losses first.
MODELS = (
    "beta_bernoulli",
    "eight_schools",
    "logistic_regression",
    "logistic_batches",
    "linear_mixed",
    "vae",
    "scalar_sites",
    "many_parameters",
    "scalar_sites_300",
    "scalar_sites_1000",
)
# Pyro's tracer runs the program once more than it steps, so that its random numbers are others.
SAME_NUMBERS = (
    *("hand", "ember", "hand-compiled", "hand-c-torch", "pyro"),
    *("ember-native", "ember-native-run", "ember-inductor", "ember-inductor-run"),
    "ember-inductor-2-threads",
)
SECOND_PROCESS = ("ember-native", "ember-inductor", "numpyro")
# Take many steps in one call.
MANY = ("numpyro-scan", "hand-c", "hand-c-torch", "memory-floor", "ember-native-run", "ember-inductor-run")
# NumPyro gets the whole limit; what takes longer than this otherwise has missed every goal by far.
OTHERS_LIMIT = 120.0
# Not tried where the other went over the limit: the same program in a loop, and three times as many sites.
NO_BETTER = {
    "numpyro-scan": "numpyro",
    "ember-native-run": "ember-native",
    "ember-inductor-run": "ember-inductor",
}
SMALLER = {larger: smaller for sizes in data.GROWING for smaller, larger in pairwise(sizes)}
TWO_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
PACKAGES = {**NEEDS, "memory": "torch"}


class Plan(NamedTuple):
    """How much to run: rounds of turns, seconds a turn, steps whose losses are compared, steps in one call, the limit,
    and the models that Inductor is tried on, if not all."""

    rounds: int
    turn: float
    compared: int
    many: int
    limit: float
    inductor: tuple[str, ...] | None = None


FULL = Plan(rounds=7, turn=0.3, compared=10, many=5000, limit=300)
QUICK = Plan(rounds=2, turn=0.02, compared=4, many=20, limit=60)
# The share of these steps that slow models take in one call, and fast ones; all others a fifth.
FAST = (
    *("beta_bernoulli", "eight_schools", "eight_schools_auto_normal", "eight_schools_auto_mvn"),
    *("logistic_batches", "gamma_poisson", "scalar_sites_auto_10", "scalar_sites_auto_60", "random_walk_100"),
)
SLOW = (
    *("scalar_sites", "scalar_sites_300", "scalar_sites_1000", "scalar_sites_auto", "scalar_sites_auto_1000"),
    *("mixture", "hidden_markov", "gaussian_process", "subsample_of_million", "logistic_100_000"),
)
SHARES = dict.fromkeys(FAST, 1) | dict.fromkeys(SLOW, 25) | {"logistic_1_000_000": 250}


class Bench:
    """The results so far, and the file that they are kept in."""

    def __init__(self, plan: Plan, path: Path | None) -> None:
        self.plan = plan
        self.path = path
        self.results: dict[str, dict[str, Row]] = {}

    def row(self, model: str, name: str) -> Row:
        return self.results.setdefault(model, {}).setdefault(name, {})

    def save(self) -> None:
        if self.path is not None:
            self.path.write_text(json.dumps({"machine": machine(), "results": self.results}, indent=1))

    def hopeless(self, model: str, name: str) -> str | None:
        """The limit that a contender need not be tried against, since an easier sibling went over it."""
        for easier in ((model, NO_BETTER.get(name, "")), (SMALLER.get(model, ""), name)):
            error = str(self.results.get(easier[0], {}).get(easier[1], {}).get("error", ""))
            if error.startswith(">"):
                return error.removesuffix(report.NOT_TRIED) + report.NOT_TRIED
        return None

    def run(self, model: str, names: list[str]) -> None:
        """All contenders on one model."""
        with tempfile.TemporaryDirectory() as caches, _closing() as live:
            for name in names:
                if not takes_part(model, name) or self.left_out(model, name):
                    continue
                row = self.row(model, name)
                hopeless = self.hopeless(model, name)
                if hopeless is not None:
                    row["error"] = hopeless
                    continue
                try:
                    live[name] = self._started(model, name, row, Path(caches))
                except ContenderError as error:
                    row["error"] = str(error)
                self.save()
                print(f"{data.TITLES[model]}, {name}: {_short(row)}", file=sys.stderr)
            self._compare(model)
            self._take_turns(model, live)
            for name, contender in live.items():
                self.row(model, name)["peak"] = contender.ask(do="peak")
        self.save()

    def left_out(self, model: str, name: str) -> bool:
        """Whether the plan says not to try Inductor on the model."""
        tried = self.plan.inductor
        return tried is not None and "inductor" in name and model not in tried

    def _many(self, model: str) -> int:
        return max(self.plan.compared, self.plan.many // SHARES.get(model, 5))

    def _started(self, model: str, name: str, row: Row, caches: Path) -> Contender:
        environment = cache_variables(caches / name) | (TWO_THREADS if name.endswith("2-threads") else {})
        contender = Contender(name, environment)
        try:
            first = self._first(contender, model)
        except BaseException:  # Ctrl-C too
            contender.close()
            raise
        row |= {"process": time.perf_counter() - contender.started, **first}
        # Two calls: Ember's first is eager and its second compiles; for the others the second is a usual step.
        row["first"] = sum(first["seconds"][:2])
        if name in SECOND_PROCESS:
            row |= self._second_process(name, model, environment)
        return contender

    def _second_process(self, name: str, model: str, environment: dict[str, str]) -> Row:
        again = Contender(name, environment)
        try:
            seconds = self._first(again, model)["seconds"]
            return {"warm": sum(seconds[:2]), "warm_process": time.perf_counter() - again.started}
        except ContenderError:
            return {}
        finally:
            again.close()

    def _first(self, contender: Contender, model: str) -> Any:
        limit = self._limit(contender.name)
        contender.ask(limit, do="build", model=model)
        steps = self._many(model) if contender.name in MANY else self.plan.compared
        return contender.ask(limit, do="first", seed=7, steps=steps)

    def _limit(self, name: str) -> Limit:
        return Limit(self.plan.limit if name.startswith("numpyro") else min(self.plan.limit, OTHERS_LIMIT))

    def _compare(self, model: str) -> None:
        runs = {n: r["losses"] for n, r in self.results[model].items() if "losses" in r and n in SAME_NUMBERS}
        first = next((name for name in SAME_NUMBERS if name in runs), None)
        for name, losses in runs.items():
            if first is None or name == first:
                continue
            reference = runs[first][: self.plan.compared]
            difference = largest_difference(losses[: self.plan.compared], reference)
            self.row(model, name)["difference"] = difference
            if not difference < SAME:
                print(
                    f"{model}: {name} and {first} differ: {losses[:5]} and {reference[:5]}", file=sys.stderr
                )

    def _take_turns(self, model: str, live: dict[str, Contender]) -> None:
        times: dict[str, list[float]] = {name: [] for name in live}
        for turn in range(self.plan.rounds + 1):
            for name, contender in list(live.items()):
                row = self.row(model, name)
                usual = max(3, min(1000, int(self.plan.turn / row["seconds"][-1])))
                steps = self._many(model) if name in MANY else usual
                try:
                    turn_times = contender.ask(self._limit(name), do="time", steps=steps)
                except ContenderError as error:
                    row["error"] = str(error)
                    live.pop(name).close()
                    continue
                if turn > 0:  # the first round warms up
                    times[name] += turn_times
                    row["step"] = statistics.median(times[name]) / 1e3


def takes_part(model: str, name: str) -> bool:
    """Whether a contender has the model: not all are written in C, and Pyro has no Jit of every objective."""
    if name in ("hand-c", "hand-c-torch"):
        return model in data.IN_C
    if name == "memory-floor":
        return model == "logistic_regression"
    return not (name == "pyro-jit" and model in data.NO_JIT)


def cache_variables(folder: Path) -> dict[str, str]:
    """Caches of compiled code in that folder and nowhere else, for Ember, for torch and for JAX."""
    folder.mkdir(exist_ok=True)
    return {
        "TMPDIR": str(folder),  # where torch keeps precompiled headers, whatever the next one says
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "EMBER_CACHE_DIR": str(folder / "ember"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@contextmanager
def _closing() -> Iterator[dict[str, Contender]]:
    live: dict[str, Contender] = {}
    try:
        yield live
    finally:
        for contender in live.values():
            contender.close()


def _short(row: Row) -> str:
    if "error" in row:
        return str(row["error"])
    warm = f", second process {row['warm']:.2f} s" if "warm" in row else ""
    return f"first calls {row['first']:.2f} s{warm}"


def _chosen(text: str, known: list[str]) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")
    return [name for name in known if name in names]


def _options(
    argv: list[str] | None, description: str | None, models: Sequence[str], contenders: Sequence[str]
) -> argparse.Namespace:
    usual = [name for name in contenders if name not in report.OPTIONAL]
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few steps only: does it run?")
    parser.add_argument("--models", default=",".join(models), help="some of: %(default)s")
    parser.add_argument("--contenders", default=",".join(usual), help=f"some of: {','.join(contenders)}")
    parser.add_argument(
        "--limit",
        type=float,
        help="seconds that a request may take: of NumPyro 300 (larger models: 120), or 60 with --quick; "
        "of others 120 at most",
    )
    parser.add_argument("--json", type=Path, help="keep the results in this file as they come")
    parser.add_argument("--show", type=Path, help="print the tables of such a file, and run nothing")
    return parser.parse_args(argv)


def main(
    argv: list[str] | None = None,
    description: str | None = __doc__,
    all_models: Sequence[str] = MODELS,
    contenders: Sequence[str] = tuple(report.HEADINGS),
    full: Plan = FULL,
) -> None:
    """Run the benchmark and print its tables; those of what there is, if it is interrupted."""
    options = _options(argv, description, all_models, contenders)
    if options.show is not None:
        kept = json.loads(options.show.read_text())
        print(report.page(kept["results"], kept["machine"]))
        return
    plan = QUICK._replace(inductor=full.inductor) if options.quick else full
    bench = Bench(plan if options.limit is None else plan._replace(limit=options.limit), options.json)
    there = [n for n in contenders if find_spec(PACKAGES[n.partition("-")[0]]) is not None]
    names = [name for name in _chosen(options.contenders, list(contenders)) if name in there]
    names.sort(key=lambda name: name != "hand")
    models = _chosen(options.models, list(all_models))
    started = time.perf_counter()
    # `timeout` and the like end a run by SIGTERM: print what there is then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for model in models:
            bench.run(model, names)
    except KeyboardInterrupt:
        bench.save()
        print("interrupted", file=sys.stderr)
    print(report.page(bench.results, machine()))
    print(f"\nTook {time.perf_counter() - started:,.0f} s; load {os.getloadavg()[0]:.1f} at the end.")


if __name__ == "__main__":
    main()
