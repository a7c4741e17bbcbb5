"""A fit that stops at any step, or is killed, and goes on from its file ends as one that never stopped, bit for bit."""

from __future__ import annotations

import multiprocessing
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

import ember
import ember.distributions as dist
from ember import optim
from ember.errors import SaveFileError
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal, AutoNormalizingFlow
from ember.train import Callback, Checkpoint, EarlyStopping
from tests.train.regression import data, final, new_svi, of_batch
from tools.soak.killing import Killed
from tools.soak.resuming import Kind, alike, fit, told

MODES = {"eager": False, "compiled": True}
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "Adam": lambda: optim.Adam({"lr": 0.02}),
    "ClippedAdam": lambda: optim.ClippedAdam({"lr": 0.02, "clip_norm": 3.0, "lrd": 0.99}),
    "scheduled": lambda: optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.02}, "gamma": 0.9}
    ),
    "by torch": lambda: optim.PyroOptim(torch.optim.Adafactor, {"lr": 0.02}),
}


class Stopping(Callback):
    every = 1

    def __init__(self, at: int) -> None:
        self.at = at

    def after_steps(self, training: Any) -> None:
        if training.step == self.at:
            training.stop("that is all for now")


# Steps


def steps(svi: SVI, how: str, count: int) -> list[float]:
    if how == "run":
        return svi.run(count, *data(), progress=False).losses.tolist()
    return [svi.step(*data(rows)) for _ in range(count) for rows in (20, 7)]


@modes
@pytest.mark.parametrize("how", ["step", "run"])
@pytest.mark.parametrize(("rule", "before"), [("Adam", 1), ("Adam", 2), *[(rule, 5) for rule in OPTIMIZERS]])
def test_one_file_has_all(before: int, rule: str, how: str, mode: Any, tmp_path: Path) -> None:
    def new() -> SVI:
        return new_svi(guide=AutoNormal(of_batch), optim=OPTIMIZERS[rule](), compile=mode)

    svi = new()
    steps(svi, how, before)
    svi.save(tmp_path / "svi.pt")
    expected = [steps(svi, how, 3), final(svi), torch.get_rng_state().tolist()]
    svi = new()
    ember.set_rng_seed(99)
    svi.load(tmp_path / "svi.pt")
    assert [steps(svi, how, 3), final(svi), torch.get_rng_state().tolist()] == expected
    svi.load(tmp_path / "svi.pt")  # over a fit that goes on, too
    assert [steps(svi, how, 3), final(svi), torch.get_rng_state().tolist()] == expected


def test_random_states_of_numpy_and_python_too(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    svi = new_svi()
    svi.step(*data())
    svi.save(tmp_path / "svi.pt")
    expected = random.random(), numpy.random.rand()
    svi.load(tmp_path / "svi.pt")
    assert (random.random(), numpy.random.rand()) == expected


def with_batch_norm(compile: Any) -> tuple[SVI, nn.Module]:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    net = nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2), nn.Tanh(), nn.Linear(2, 1))

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        with ember.plate("rows", len(x)):
            ember.sample("y", dist.Normal(ember.module("net", net)(x)[:, 0], 1.0), obs=y)

    def nothing(x: torch.Tensor, y: torch.Tensor) -> None:
        ember.sample("w", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})

    return SVI(model, nothing, optim.Adam({"lr": 0.02}), Trace_ELBO(), compile=compile), net


@modes
def test_networks_take_their_parameters_and_buffers(mode: Any, tmp_path: Path) -> None:
    svi, net = with_batch_norm(mode)
    for _ in range(3):
        svi.step(*data())
    svi.save(tmp_path / "svi.pt")
    losses = [svi.step(*data()) for _ in range(3)]
    expected = net.state_dict()
    svi, net = with_batch_norm(mode)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3.0)
    svi.load(tmp_path / "svi.pt")
    assert [svi.step(*data()) for _ in range(3)] == losses
    torch.testing.assert_close(net.state_dict(), expected, rtol=0, atol=0)


# Fits


@pytest.mark.parametrize(
    "kind",
    [
        Kind(False, False, True, 1),
        Kind(True, False, True, None),
        Kind(True, True, False, 3),
        Kind(False, True, False, 3),
    ],
    ids=["eager network", "compiled network", "compiled loader", "eager loader"],
)
@pytest.mark.parametrize("at", [1, 4, 13])
def test_a_fit_goes_on_from_any_step(
    at: int, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(kind, tmp_path / "straight.pt")
    stop: Callable[..., Any] = Callback.after_steps

    def stopping(self: Checkpoint, training: Any) -> None:
        if training.step == at:
            training.save(self.path)
            training.stop("for now")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "after_steps", stopping)
        patch.setattr(Checkpoint, "after_epoch", stop)
        patch.setattr(Checkpoint, "end", lambda self, training: None)
        first = fit(Kind(kind.compile, kind.loader, kind.network, 1), tmp_path / "stopped.pt")
    assert first.num_steps == at
    fit(kind, tmp_path / "stopped.pt")
    straight, found = told(tmp_path / "straight.pt"), told(tmp_path / "stopped.pt")
    assert [key for key in straight if not alike(straight[key], found[key])] == []


KILLED = [
    Kind(True, False, False, 1),
    Kind(False, False, True, 3),
    Kind(True, False, True, 3, "run"),
    Kind(False, False, False, 1, "run"),
    Kind(True, False, False, 1, "step"),
    *([Kind(True, False, True, 1, processes=2)] if distributed.is_available() else []),
]


def fifty_kills(folder: Path) -> None:
    killed, kills, kinds = Killed(random.Random(3), folder), 0, cycle(KILLED)
    while kills < 50:
        kind = next(kinds)
        kills += len(list(killed.kills(kind, 8 if kind.processes == 1 else 2))) - 1
    assert killed.straight.keys() == set(KILLED)


def test_killed_at_fifty_random_moments(tmp_path: Path) -> None:
    """More of them, of all kinds: ``make soak ARGS=killed_while_fitting``."""
    # The process that forks has taken no gradients: a torch for CUDA could take none in its children.
    alone = multiprocessing.get_context("spawn").Process(target=fifty_kills, args=(tmp_path,))
    alone.start()
    alone.join()
    assert alone.exitcode == 0


def test_in_a_new_process(tmp_path: Path) -> None:
    kind = Kind(True, False, True, 3)
    fit(kind, tmp_path / "straight.pt")
    code = (
        "import sys; from pathlib import Path; from tools.soak.resuming import *; "
        f"fit(Kind(True, False, True, 3), Path({str(tmp_path / 'fit.pt')!r}))"
    )
    # Killed after the first file is there.
    process = subprocess.Popen([sys.executable, "-c", code])
    while process.poll() is None and not (tmp_path / "fit.pt").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    fit(kind, tmp_path / "fit.pt")
    straight, found = told(tmp_path / "straight.pt"), told(tmp_path / "fit.pt")
    assert [key for key in straight if not alike(straight[key], found[key])] == []


def test_early_stopping_goes_on_with_its_best_state(tmp_path: Path) -> None:
    def fitted(steps: int, path: Path) -> Any:
        svi = new_svi(optim=optim.Adam({"lr": 0.3}))
        callbacks = [EarlyStopping(patience=3), Checkpoint(path, every=1)]
        return svi.fit(
            data(),
            steps=steps,
            batch_size=20,
            validation=data(10, 4),
            validate_every=2,
            callbacks=callbacks,
            progress=False,
            resume=path,
        )

    straight = fitted(200, tmp_path / "straight.pt")
    assert straight.stopped is not None and straight.num_steps < 200
    # The file of a fit that has ended early has the last state, not the best one: it is made when it stops.
    for steps in range(5, 200, 5):
        found = fitted(steps, tmp_path / "fit.pt")
        if found.stopped:
            break
    assert found.validation == straight.validation
    assert all(torch.equal(found.params[name], straight.params[name]) for name in straight.params)


# What does not fit


def test_files_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    svi = new_svi()
    svi.step(*data())
    before = [
        final(svi),
        svi.optim.get_state()["loc"]["state"][0]["exp_avg"].tolist(),
        torch.get_rng_state().tolist(),
    ]

    def refuses(path: Path, match: str, load: Any = svi.load) -> None:
        with pytest.raises(SaveFileError, match=match):
            load(path)
        now = [
            final(svi),
            svi.optim.get_state()["loc"]["state"][0]["exp_avg"].tolist(),
            torch.get_rng_state().tolist(),
        ]
        assert now == before

    svi.store().save(str(tmp_path / "params.pt"))
    refuses(tmp_path / "params.pt", "holds no state of a fit")
    svi.save(tmp_path / "svi.pt")
    content = (tmp_path / "svi.pt").read_bytes()
    (tmp_path / "damaged.pt").write_bytes(content[:900] + b"x" + content[901:])
    refuses(tmp_path / "damaged.pt", "cannot be read")
    refuses(
        tmp_path / "svi.pt",
        "does not say how far a fit had come",
        lambda path: svi.fit(data(), epochs=1, resume=path, progress=False),
    )
    torch.save({"ember fit": 99, "versions": {"ember": "9.9"}}, tmp_path / "newer.pt")
    refuses(tmp_path / "newer.pt", "form 99")
    other, _ = with_batch_norm(False)
    other.step(*data())
    other.save(tmp_path / "network.pt")
    svi = new_svi()
    svi.step(*data())
    refuses(tmp_path / "network.pt", "buffers .*running_mean", svi.load)
    scheduled = new_svi(optim=OPTIMIZERS["scheduled"]())
    scheduled.step(*data())
    scheduled.save(tmp_path / "scheduled.pt")
    svi = new_svi()
    svi.step(*data())
    refuses(tmp_path / "scheduled.pt", "optimizer", svi.load)


def test_networks_that_a_guide_makes_late(tmp_path: Path) -> None:
    from tests.infer.autoguide.guide_table import IAF

    assert AutoNormalizingFlow is not None
    svi = new_svi(guide=IAF(of_batch))
    svi.step(*data())
    svi.save(tmp_path / "svi.pt")
    expected = [svi.step(*data()) for _ in range(3)]
    svi = new_svi(guide=IAF(of_batch))
    if dict(svi.guide.named_buffers()) == {} and _has_buffers(tmp_path / "svi.pt"):
        with pytest.raises(SaveFileError, match=r"guide.prepare"):
            svi.load(tmp_path / "svi.pt")
    ember.set_rng_seed(5)
    svi.guide.prepare(*data())
    svi.load(tmp_path / "svi.pt")
    assert [svi.step(*data()) for _ in range(3)] == expected


def _has_buffers(path: Path) -> bool:
    from ember.infer.step.training.saved import read_file

    return bool(read_file(path)[0]["buffers"])
