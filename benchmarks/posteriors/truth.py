"""Make reference posteriors: long chains of NUTS in double precision, kept in ``tests/fit/references/NAME.json``.

    python -m benchmarks.posteriors.truth [NAME ...] [--draws N] [--check]

Four chains of 2,000 steps to adapt and 10,000 draws or more. A file is written only if every R-hat is below 1.005 and
every effective sample size, of bulk and tails, above 4,000. ``--check`` runs no chains: it makes sure that the files are of
the data that the programs have now, and that NumPyro's log densities are those in the files.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.handlers import reparam, seed, trace
from numpyro.infer import MCMC, NUTS, init_to_median, init_to_uniform
from numpyro.infer.util import constrain_fn, log_density, unconstrain_fn

from benchmarks.posteriors import PROGRAMS, Program
from benchmarks.posteriors.diagnostics import Moments, moments
from tools.trust.posteriors import POSTERIORS, fingerprint

REFERENCES = Path(__file__).parents[2] / "tests" / "fit" / "references"
CHAINS, WARMUP, POINTS = 4, 2_000, 10
LARGEST_RHAT, LEAST_ESS = 1.005, 4_000

Chains = dict[str, Any]
"""Draws of sites, of shape (chains, draws, *shape)."""


def data_of(name: str) -> dict[str, Any]:
    """The arguments of a model by name."""
    return {
        key: value if isinstance(value, int) else jnp.asarray(value)
        for key, value in POSTERIORS[name].data().items()
    }


def latents(program: Program, data: dict[str, Any]) -> list[str]:
    """The sites that are sampled."""
    sites = trace(seed(program.model, 0)).get_trace(**data)
    return [n for n, site in sites.items() if site["type"] == "sample" and not site["is_observed"]]


def quantities(program: Program, data: dict[str, Any]) -> list[str]:
    """The sites that are sampled, and those that follow from them."""
    sites = trace(seed(program.model, 0)).get_trace(**data)
    return latents(program, data) + [n for n, site in sites.items() if site["type"] == "deterministic"]


def run(program: Program, data: dict[str, Any], draws: int) -> tuple[Chains, dict[str, Any]]:
    """The chains of all quantities, in the coordinates of the model, and how the run went."""
    model = reparam(program.model, config=program.reparam) if program.reparam else program.model
    kernel = NUTS(
        model,
        target_accept_prob=program.accept,
        dense_mass=program.dense,
        init_strategy=init_to_uniform(radius=program.radius) if program.radius else init_to_median(),
    )
    mcmc = MCMC(
        kernel,
        num_warmup=WARMUP,
        num_samples=draws,
        num_chains=CHAINS,
        chain_method="sequential",
        progress_bar=False,
    )
    start = time.process_time()
    mcmc.run(jax.random.PRNGKey(0), extra_fields=("diverging", "num_steps"), **data)
    found = mcmc.get_samples(group_by_chain=True)
    extra = mcmc.get_extra_fields()
    how = {
        "chains": CHAINS,
        "warmup": WARMUP,
        "draws": draws,
        "accept": program.accept,
        "cpu_seconds": round(time.process_time() - start, 1),
        "divergences": int(extra["diverging"].sum()),
        "leapfrogs_a_draw": round(float(extra["num_steps"].mean()), 1),
    }
    return {name: np.asarray(found[name]) for name in quantities(program, data)}, how


def summarise(chains: Chains) -> dict[str, Any]:
    """One row of moments for each scalar of each site; constants have no diagnostics."""
    sites: dict[str, Any] = {}
    for name, draws in chains.items():
        columns = draws.reshape(*draws.shape[:2], -1)
        rows = [_row(columns[..., i]) for i in range(columns.shape[-1])]
        sites[name] = {"shape": list(draws.shape[2:])} | {
            field: [_short(getattr(row, field)) for row in rows] for field in Moments._fields
        }
    return sites


def _row(draws: Any) -> Moments:
    if np.ptp(draws) < 1e-12:
        value = float(draws[0, 0])
        return Moments(value, 0.0, value, value, value, 0.0, 0.0, 1.0, np.inf, np.inf)
    return moments(draws)


def _short(value: float, digits: int = 7) -> float | int | None:
    if not np.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) else short


def points_of(program: Program, data: dict[str, Any], chains: Chains) -> dict[str, list[Any]]:
    """Ten points in the support: in unconstrained space each coordinate is that of another draw."""
    draw = np.random.RandomState(0)
    rows = draw.randint(chains[next(iter(chains))].shape[1], size=POINTS)
    loose = [
        unconstrain_fn(
            program.model, (), data, {n: chains[n][i % CHAINS, row] for n in latents(program, data)}
        )
        for i, row in enumerate(rows)
    ]
    stacked = {name: np.stack([np.asarray(point[name]) for point in loose]) for name in loose[0]}
    for values in stacked.values():
        for column in values.reshape(POINTS, -1).T:
            column[5:] = draw.permutation(column[5:])
    found: dict[str, list[Any]] = {name: [] for name in stacked}
    for i in range(POINTS):
        inside = constrain_fn(program.model, (), data, {name: values[i] for name, values in stacked.items()})
        for name in found:
            found[name].append(_shortened(np.asarray(inside[name])))
    return found


def _shortened(value: Any) -> Any:
    return np.vectorize(_short, otypes=[object])(value).tolist() if value.ndim else _short(float(value))


def densities(program: Program, data: dict[str, Any], points: dict[str, list[Any]]) -> list[float]:
    """NumPyro's log p(x, z) at the points, in the coordinates of the model: no Jacobians."""
    values = [{name: jnp.asarray(points[name][i], float) for name in points} for i in range(POINTS)]
    return [float(log_density(program.model, (), data, value)[0]) for value in values]


def make(name: str, draws: int | None) -> dict[str, Any]:
    """Run the chains of one model."""
    program, data = PROGRAMS[name], data_of(name)
    chains, how = run(program, data, draws or program.draws)
    sites = summarise(chains)
    points = points_of(program, data, chains)
    return {
        "model": name,
        "command": f"python -m benchmarks.posteriors.truth {name}" + (f" --draws {draws}" if draws else ""),
        "versions": {"numpyro": numpyro.__version__, "jax": jax.__version__},
        "data": fingerprint(POSTERIORS[name].data()),
        **how,
        "largest_rhat": max(max(site["rhat"]) for site in sites.values()),
        "least_ess_bulk": least(sites, "ess_bulk"),
        "least_ess_tail": least(sites, "ess_tail"),
        "sites": sites,
        "points": points,
        "log_densities": densities(program, data, points),
    }


def least(sites: dict[str, Any], field: str) -> float:
    """The least of a field over all scalars that vary."""
    return min(value for site in sites.values() for value in site[field] if value is not None)


def check(name: str) -> str:
    """Whether a file belongs to the programs as they are; what is wrong, or nothing."""
    stored = json.loads((REFERENCES / f"{name}.json").read_text())
    if stored["data"] != fingerprint(POSTERIORS[name].data()):
        return "of other data"
    now = densities(PROGRAMS[name], data_of(name), stored["points"])
    apart = np.abs(np.array(now) - np.array(stored["log_densities"])).max()
    return "" if apart < 1e-6 * (1.0 + np.abs(now).max()) else f"log densities {apart:.1e} apart"


def main(argv: list[str]) -> int:
    """Make or check the files; 1 if chains were too short or a file is of something else."""
    parser = argparse.ArgumentParser(prog="benchmarks.posteriors.truth", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--draws", type=int)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    numpyro.enable_validation(False)  # a draw of the prior may be far out
    REFERENCES.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in chosen.names or PROGRAMS:
        if chosen.check:
            wrong = check(name)
            print(f"{name}: {wrong or 'as stored'}", flush=True)
            failed |= bool(wrong)
            continue
        truth = make(name, chosen.draws)
        good = (
            truth["largest_rhat"] < LARGEST_RHAT
            and min(truth["least_ess_bulk"], truth["least_ess_tail"]) > LEAST_ESS
        )
        failed |= not good
        figures = {key: truth[key] for key in truth if key not in ("sites", "points", "log_densities")}
        print("written" if good else "NOT WRITTEN", figures, flush=True)
        if good:
            text = json.dumps(truth, separators=(",", ":"))
            (REFERENCES / f"{name}.json").write_text(text.replace('},"', '},\n"') + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
