"""A fit that is saved and goes on in a new process gives what it would have given without the stop, bit for bit, compiled too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ember
import ember.distributions as dist
from ember import optim
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal

BEFORE, AFTER = 5, 5
SIZES = {"step": (20,), "run": (20,), "two kinds": (20, 7)}


def model(x: torch.Tensor, y: torch.Tensor) -> None:
    w = ember.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    s = ember.sample("s", dist.LogNormal(0.0, 1.0))
    with ember.plate("rows", len(y)):
        ember.sample("obs", dist.Normal(x @ w, s), obs=y)


def by_hand(x: torch.Tensor, y: torch.Tensor) -> None:
    loc = ember.param("loc", lambda: torch.randn(3))
    scale = ember.param("scale", torch.ones(3), constraint=dist.constraints.positive)
    ember.sample("w", dist.Normal(loc, scale).to_event(1))
    ember.sample(
        "s", dist.Delta(ember.param("mode", torch.tensor(1.0), constraint=dist.constraints.positive))
    )


OPTIMIZERS = {
    "Adam": lambda: optim.Adam({"lr": 0.02}),
    "ClippedAdam": lambda: optim.ClippedAdam({"lr": 0.02, "clip_norm": 3.0, "lrd": 0.99}),
    "SGD": lambda: optim.SGD({"lr": 0.001}),
    "scheduled": lambda: optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.02}, "gamma": 0.9}
    ),
    "by torch": lambda: optim.PyroOptim(torch.optim.Adafactor, {"lr": 0.02}),
}
GUIDES = {"auto": lambda: AutoNormal(model), "by hand": lambda: by_hand}
CASES = [(guide, rule, how) for guide in GUIDES for rule in OPTIMIZERS for how in SIZES]


def batches(kinds: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(7)
    x, y = torch.randn(20, 3, generator=generator), torch.randn(20, generator=generator)
    return [(x[:size], y[:size]) for size in SIZES[kinds]]


def new_svi(guide: str, rule: str, backend: Any = "native") -> SVI:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    return SVI(model, GUIDES[guide](), OPTIMIZERS[rule](), Trace_ELBO(), compile=True, backend=backend)


def steps(svi: SVI, how: str, count: int) -> list[float]:
    if how == "run":
        scheduled = isinstance(svi.optim, optim.PyroLRScheduler)
        return svi.run(count, *batches(how)[0], progress=False, scheduled=scheduled).losses.tolist()
    return [svi.step(*batch) for _ in range(count) for batch in batches(how)]


def save(svi: SVI, name: Path) -> None:
    ember.get_param_store().save(f"{name}.params")
    svi.optim.save(f"{name}.optim")
    torch.save(torch.get_rng_state(), f"{name}.random")


def load(svi: SVI, name: Path) -> None:
    ember.get_param_store().load(f"{name}.params")
    svi.optim.load(f"{name}.optim")
    torch.set_rng_state(torch.load(f"{name}.random"))


def final() -> list[Any]:
    return [leaf.tolist() for _, leaf in sorted(ember.get_param_store().named_parameters())]


def go_on(folder: str) -> None:
    """What the new process does."""
    found = []
    for index, (guide, rule, how) in enumerate(CASES):
        svi = new_svi(guide, rule)
        load(svi, Path(folder) / str(index))
        found.append([steps(svi, how, AFTER), final(), ember.capture.explain(svi).eager_calls])
    print(json.dumps(found))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any]]:
    """What a process that is never stopped gives after the save, and what a new one does."""
    folder = tmp_path_factory.mktemp("saved")
    expected = []
    for index, (guide, rule, how) in enumerate(CASES):
        svi = new_svi(guide, rule)
        steps(svi, how, BEFORE)
        save(svi, folder / str(index))
        expected.append([steps(svi, how, AFTER), final(), 0])
    ember.clear_param_store()
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return expected, json.loads(done.stdout)


@pytest.mark.parametrize("index", range(len(CASES)), ids=["-".join(case) for case in CASES])
def test_a_new_process_goes_on_bit_for_bit(index: int, both: tuple[list[Any], list[Any]]) -> None:
    expected, found = both
    assert found[index] == expected[index]


@pytest.mark.parametrize("how", ["step", "run"])
def test_loaded_over_a_fit_that_goes_on(how: str, tmp_path: Path) -> None:
    svi = new_svi("auto", "Adam")
    steps(svi, how, 4)
    save(svi, tmp_path / "saved")
    straight = steps(svi, how, 4)
    load(svi, tmp_path / "saved")
    assert steps(svi, how, 4) == straight


def test_what_changes_itself_runs_once_in_the_first_step(tmp_path: Path) -> None:
    """A count of its own runs would be ahead, if they were taken back."""
    svi = new_svi("by hand", "Adam")
    steps(svi, "step", 3)
    save(svi, tmp_path / "saved")

    def found(compile: Any) -> list[float]:
        runs = []

        def counting(x: torch.Tensor, y: torch.Tensor) -> None:
            runs.append(1)
            model(x + 0.1 * len(runs), y)

        ember.clear_param_store()
        svi = SVI(counting, by_hand, OPTIMIZERS["Adam"](), Trace_ELBO(), compile=compile)
        load(svi, tmp_path / "saved")
        return steps(svi, "step", 5)

    with pytest.warns(UserWarning, match="changes 'runs'"):
        assert found("auto") == pytest.approx(found(False), rel=1e-6)


def test_buffers_and_random_state_are_put_back(tmp_path: Path) -> None:
    """The run that tells what a recording needs leaves the running statistics of a network as they were."""

    def make() -> tuple[SVI, torch.nn.Module, torch.Tensor]:
        ember.clear_param_store()
        ember.set_rng_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.BatchNorm1d(1))

        def regression(x: torch.Tensor) -> None:
            with ember.plate("rows", len(x)):
                ember.sample(
                    "y",
                    dist.Normal(ember.module("net", net)(x)[:, 0], 1.0),
                    obs=x[:, 0],
                )

        def nothing(x: torch.Tensor) -> None:
            ember.sample("w", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})

        return (
            SVI(regression, nothing, OPTIMIZERS["Adam"](), Trace_ELBO(), compile=True),
            net,
            batches("step")[0][0],
        )

    svi, net, x = make()
    for _ in range(3):
        svi.step(x)
    save(svi, tmp_path / "saved")
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    straight = [svi.step(x) for _ in range(3)]
    expected = {name: value.clone() for name, value in net.named_buffers()}
    svi, net, x = make()
    load(svi, tmp_path / "saved")
    ember.module("net", net, update_module_params=True)
    net.load_state_dict(buffers, strict=False)
    assert [svi.step(x) for _ in range(3)] == straight
    torch.testing.assert_close(dict(net.named_buffers()), expected, rtol=0, atol=0)


if __name__ == "__main__":
    go_on(sys.argv[1])
