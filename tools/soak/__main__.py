"""``python -m tools.soak [--seconds S] [--seed N] [NAME ...]``: each scenario for its share, in a process of its own.

Ends with 1 if a promise did not hold, or a scenario took its process down.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time

from tools.soak.drawing import loader_threads
from tools.soak.interrupts import ctrl_c_in_a_run, ctrl_c_in_a_step
from tools.soak.killing import killed_while_fitting
from tools.soak.processes import forks, many_fits, many_programs, threads_with_fits
from tools.soak.saving import full_disk, killed_while_saving, saves_at_once
from tools.soak.scenario import Outcome, Scenario, soak

SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        loader_threads,
        ctrl_c_in_a_run,
        ctrl_c_in_a_step,
        killed_while_saving,
        saves_at_once,
        full_disk,
        many_programs,
        many_fits,
        threads_with_fits,
        forks,
        killed_while_fitting,
    )
}
_SLACK = 120.0


def main(arguments: list[str]) -> int:
    """Run the scenarios, print the table; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"some of {', '.join(SCENARIOS)}; all by default"
    )
    parser.add_argument("--seconds", type=float, default=3600.0, help="for all together (3600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="one scenario in this process; prints JSON")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    names = given.names or list(SCENARIOS)
    if given.alone:
        print(json.dumps(soak(names[0], SCENARIOS[names[0]], given.seconds, given.seed).plain()))
        return 0
    outcomes = []
    for name in names:
        outcomes.append(in_a_process(name, given.seconds / len(names), given.seed))
        print(f"{name}: {outcomes[-1].rounds} rounds, {len(outcomes[-1].failures)} failures", flush=True)
    print(*table(outcomes), sep="\n")
    for outcome in outcomes:
        for failure in outcome.failures[:3]:
            print(f"\n{outcome.name}: {promise(SCENARIOS[outcome.name])}\n{failure}")
    return int(any(outcome.failures for outcome in outcomes))


def in_a_process(name: str, seconds: float, seed: int) -> Outcome:
    """A scenario in a process of its own, which it may take down."""
    command = [sys.executable, "-m", "tools.soak", name, "--alone", f"--seconds={seconds}", f"--seed={seed}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said, complaints = process.communicate(timeout=seconds * 1.5 + _SLACK)
    except subprocess.TimeoutExpired:
        process.kill()
        said, complaints = process.communicate()
        return Outcome(name, failures=[f"it hung, at {time.ctime()}\n{complaints[-2000:]}"])
    if process.returncode == 0:
        return Outcome.of(json.loads(said.splitlines()[-1]))
    by = (
        f"signal {signal.Signals(-process.returncode).name}"
        if process.returncode < 0
        else str(process.returncode)
    )
    return Outcome(name, failures=[f"its process ended with {by}\n{complaints[-2000:]}"])


def promise(scenario: Scenario) -> str:
    """What a scenario says that holds."""
    return (scenario.__doc__ or "").splitlines()[0]


def table(outcomes: list[Outcome]) -> list[str]:
    """The outcomes in Markdown."""
    lines = [
        "| scenario | rounds | failures | memory, MiB | areas of memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for outcome in outcomes:
        start, end = outcome.start or outcome.end, outcome.end
        memory = f"{start.mib:.0f} - {end.mib:.0f}" if start and end else ""
        maps = f"{start.maps} - {end.maps}" if start and end else ""
        lines.append(f"| `{outcome.name}` | {outcome.rounds} | {len(outcome.failures)} | {memory} | {maps} |")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
