"""Ten models on an accelerator: do captured steps give eager's numbers there, and what do they cost beside Pyro?

One prepared run of at most eight minutes. Random numbers are the device's own, so that captured steps are compared with eager
ones on the same device, from the same seed. A model that goes over its share of the time is left out, and said so.

    python -m benchmarks.accelerator [--device cuda] [--seconds 480] [--models eight_schools,vae]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import platform
import statistics
import time
from types import ModuleType
from typing import Any

import torch

import ember
from benchmarks.programs import Program, program

MODELS = (
    *("beta_bernoulli", "eight_schools", "logistic_regression", "linear_mixed", "vae", "scalar_sites"),
    *("hierarchical_module", "bayesian_network", "mixture", "eight_schools_auto_mvn"),
)
STEPS = 20
TOLERANCE = 1e-4
Row = dict[str, Any]


def main(argv: list[str] | None = None) -> None:
    """Run, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--models", default=",".join(MODELS))
    options = parser.parse_args(argv)
    torch.set_default_device(options.device)
    names = options.models.split(",")
    ends = time.monotonic() + options.seconds
    rows = []
    for number, name in enumerate(names):
        share = (ends - time.monotonic()) / (len(names) - number)
        rows.append(measured(name, options.device, share))
        print(f"{name}: done", flush=True)
    print(f"\n{machine(options.device)}\n\n{table(rows)}")


def measured(name: str, device: str, seconds: float) -> Row:
    """One model: agreement, and microseconds of a step."""
    ends = time.monotonic() + seconds
    row: Row = {"model": name}
    try:
        eager, losses = steps(name, ember, device, False)
        row["eager"] = eager
        compiled, captured = steps(name, ember, device, True)
        row["compiled"] = compiled
        off = max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(losses, captured, strict=True))
        row["agreement"] = f"{off:.0e}" + ("" if off <= TOLERANCE else " DIFFERS")
    except Exception as error:
        row["agreement"] = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    if time.monotonic() < ends and importlib.util.find_spec("pyro") is not None:
        try:
            row["pyro"], _ = steps(name, importlib.import_module("pyro"), device, None)
        except Exception as error:
            row["pyro"] = f"{type(error).__name__}"
    return row


def steps(name: str, module: ModuleType, device: str, compile: bool | None) -> tuple[float, list[float]]:
    """The median microseconds of a step, and the losses of the first steps from a seed."""
    module.clear_param_store()
    torch.manual_seed(0)
    written: Program = program(name, module)
    args = tuple(arg.to(device) if isinstance(arg, torch.Tensor) else arg for arg in written.args)
    objective = getattr(module.infer, written.objective)(**written.options)
    extra = {} if compile is None else {"compile": compile}
    if compile and device != "cpu":
        extra["backend"] = "inductor"
    svi = module.infer.SVI(written.model, written.guide, module.optim.Adam({"lr": 0.01}), objective, **extra)
    losses = [float(svi.step(*args)) for _ in range(STEPS)]
    times = []
    for _ in range(5):
        synchronize(device)
        began = time.perf_counter()
        for _ in range(STEPS):
            svi.step(*args)
        synchronize(device)
        times.append((time.perf_counter() - began) / STEPS * 1e6)
    return statistics.median(times), losses


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def machine(device: str) -> str:
    """What it ran on, in words."""
    what = torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine()
    return f"Median µs of a step with the loss fetched; {what}, torch {torch.__version__}."


def table(rows: list[Row]) -> str:
    """In Markdown."""
    lines = [
        "| model | Ember eager | Ember captured | Pyro | captured against eager, losses |",
        "|---|---:|---:|---:|---|",
    ]
    for row in rows:
        numbers = [_shown(row.get(key)) for key in ("eager", "compiled", "pyro")]
        lines.append(f"| {row['model']} | {' | '.join(numbers)} | {row.get('agreement', '-')} |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else str(value or "-")


if __name__ == "__main__":
    main()
