"""Each callback: what it does, and that a fit with it goes on from a file bit for bit."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import ember
import ember.distributions as dist
from ember import optim, train
from ember.errors import ModelError, NonFiniteLossError, OptimizerError
from ember.train import (
    Annealing,
    Callback,
    Checkpoint,
    EarlyStopping,
    History,
    Iterates,
    Plateau,
    Rates,
    Rollback,
    Scheduler,
)
from tests.train.regression import data, final, guide, new_svi, of_batch


@dataclass(frozen=True)
class Row:
    """One callback."""

    name: str
    make: Callable[[Path], Callback]
    optim: Callable[[], Any] = field(default=lambda: optim.Adam({"lr": 0.1}))


def scheduled() -> Any:
    return optim.StepLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "step_size": 1, "gamma": 0.8}
    )


ROWS_OF_TABLE = [
    Row("Annealing", lambda folder: Annealing(steps=12, start=0.2, every=2)),
    Row("Checkpoint", lambda folder: Checkpoint(folder / "other.pt", every=3, best=folder / "best.pt")),
    Row("EarlyStopping", lambda folder: EarlyStopping(patience=2, least=3.0)),
    Row("History", lambda folder: History(every=4)),
    Row("Iterates", lambda folder: Iterates(every=3)),
    Row("Plateau", lambda folder: Plateau(patience=1, least=3.0)),
    Row("Rates", lambda folder: Rates(lambda step: 0.9**step, every=3)),
    Row("Rollback", lambda folder: Rollback(every=5)),
    Row("Scheduler", lambda folder: Scheduler(every=5), scheduled),
]


def test_each_has_a_row() -> None:
    kinds = {
        name for name, value in vars(train).items() if isinstance(value, type) and issubclass(value, Callback)
    }
    # UntilConverged begins anew where a fit was resumed, as it says.
    assert kinds - {"Callback", "UntilConverged"} == {row.name for row in ROWS_OF_TABLE}


@pytest.mark.parametrize("mode", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("row", ROWS_OF_TABLE, ids=lambda row: row.name)
def test_a_fit_with_it_goes_on_bit_for_bit(row: Row, mode: Any, tmp_path: Path) -> None:
    def fitted(path: Path, steps: int) -> Any:
        svi = new_svi(optim=row.optim(), compile=mode)
        mine = row.make(tmp_path)
        result = svi.fit(
            data(),
            steps=steps,
            batch_size=16,
            validation=data(10, 4),
            validate_every=4,
            progress=False,
            callbacks=[mine, Checkpoint(path, every=7)],
            resume=path,
        )
        rates = svi.optim.get_lr()
        return result.losses.tolist(), result.validation, final(svi), rates, getattr(mine, "rows", None)

    straight = fitted(tmp_path / "straight.pt", 21)
    fitted(tmp_path / "fit.pt", 9)
    assert fitted(tmp_path / "fit.pt", 21) == straight


def fitted(
    *callbacks: Callback, model: Any = of_batch, rate: float = 0.05, compile: Any = False, **options: Any
) -> Any:
    svi = new_svi(model, optim=optim.Adam({"lr": rate}), compile=compile)
    options = {"batch_size": 16, "progress": False, **options}
    return svi, svi.fit(data(), callbacks=list(callbacks), **options)


def test_hooks_come_in_order() -> None:
    seen: list[Any] = []

    class Noting(Callback):
        every = 3

        def begin(self, training: Any) -> None:
            seen.append("begin")

        def after_steps(self, training: Any) -> None:
            seen.append(training.step)

        def after_epoch(self, training: Any) -> None:
            seen.append(f"epoch {training.epoch}")

        def after_validation(self, training: Any) -> None:
            seen.append("validation")

        def end(self, training: Any) -> None:
            seen.append("end")

        def close(self) -> None:
            seen.append("close")

    fitted(Noting(), epochs=2, validation=data(10))
    assert seen == ["begin", 3, "validation", "epoch 1", 6, "validation", "epoch 2", "end", "close"]


def test_early_stopping_goes_back_to_the_best_state() -> None:
    class Noting(Callback):
        def begin(self, training: Any) -> None:
            self.states: list[Any] = []

        def after_validation(self, training: Any) -> None:
            self.states.append(training.fitted.fitted_params())

    noting = Noting()
    _svi, result = fitted(noting, EarlyStopping(patience=4), rate=0.3, epochs=200, validation=data(30, 4))
    losses = [loss for _, loss in result.validation]
    best = losses.index(min(losses))
    assert result.epochs == best + 5 < 200 and "no better than" in result.stopped
    for name, value in noting.states[best].items():
        assert torch.equal(result.params[name], value)


def test_early_stopping_needs_sense() -> None:
    for arguments in ({"patience": 0}, {"patience": 1.5}, {"least": -1.0}, {"least": math.nan}):
        with pytest.raises(ModelError, match="patience must be"):
            EarlyStopping(**arguments)


def test_plateau_makes_rates_smaller_and_ends() -> None:
    svi, result = fitted(
        Plateau(factor=0.5, patience=2, least=1e9, stop_after=3), epochs=50, validation=data(10)
    )
    # The first loss is the best; 2 no better ones make a plateau.
    assert result.epochs == 7 and "plateau 3" in result.stopped
    assert set(svi.optim.get_lr().values()) == {0.05 / 4}


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_rates_follow_the_function_without_another_program(compile: Any) -> None:
    svi, _ = fitted(
        Rates(lambda step: 1 / (1 + step), every=1), steps=9, compile=compile, shuffle=False, drop_last=True
    )
    assert svi.optim.get_lr()["loc"] == pytest.approx(0.05 / 10)
    if compile:
        assert len(ember.capture.explain(svi).captures) == 1


def test_schedulers() -> None:
    svi = new_svi(optim=scheduled())
    svi.fit(data(), epochs=3, batch_size=16, callbacks=[Scheduler()], progress=False)
    assert svi.optim.get_lr()["loc"] == pytest.approx(0.1 * 0.8**3)
    plateau = optim.ReduceLROnPlateau(
        {
            "optimizer": torch.optim.Adam,
            "optim_args": {"lr": 0.1},
            "patience": 0,
            "threshold": 1e9,
            "factor": 0.5,
        }
    )
    svi = new_svi(optim=plateau)
    svi.fit(
        data(),
        epochs=4,
        batch_size=16,
        callbacks=[Scheduler(on_validation=True)],
        validation=data(9),
        progress=False,
    )
    assert svi.optim.get_lr()["loc"] == pytest.approx(0.1 * 0.5**4)
    with pytest.raises(OptimizerError, match="needs an optimizer with a scheduler"):
        fitted(Scheduler(), epochs=1)


def test_history() -> None:
    history = History(every=5)
    _, result = fitted(history, steps=12)
    assert [row["step"] for row in history.rows] == [5, 10]
    assert history.rows[0]["loss"] == pytest.approx(result.losses[:5].mean().item())
    assert history.rows[0]["largest rate"] == 0.05


def test_progress_shows_loss_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    fitted(Callback(), epochs=4, validation=data(10), progress=True)
    shown = capsys.readouterr().err.split("\r")[-1]
    assert "16/16" in shown and "step/s" in shown and "<00:00" in shown, "steps, rate, time left"
    assert "epoch=4" in shown and "loss=" in shown and "validation=" in shown
    fitted(Callback(), epochs=1, progress=False)
    assert capsys.readouterr().err == ""


# Annealing


def test_annealing_weighs_the_divergence_alone() -> None:
    def value(weight: float) -> float:
        svi = new_svi()
        annealing = Annealing(weight=lambda step: weight)
        return svi.fit(data(), steps=1, callbacks=[annealing], progress=False).losses.item()

    ember.set_rng_seed(0)
    w = dist.Normal(torch.zeros(3), 1.0).sample()
    x, y = data()
    likelihood = dist.Normal(x @ w, 0.3).log_prob(y).sum().item()
    # The guide begins at the prior: all weights give the same; so does none.
    assert value(0.0) == pytest.approx(-likelihood, rel=1e-5) == value(1.0)

    def scaled(weight: float) -> float:
        def wide(x: torch.Tensor, y: torch.Tensor) -> None:
            ember.sample("w", dist.Normal(torch.ones(3), 2.0).to_event(1))

        svi = new_svi(guide=wide)
        return svi.fit(
            data(), steps=1, callbacks=[Annealing(weight=lambda step: weight)], progress=False
        ).losses.item()

    ember.set_rng_seed(0)
    w = dist.Normal(torch.ones(3), 2.0).sample()
    divergence = (dist.Normal(1.0, 2.0).log_prob(w) - dist.Normal(0.0, 1.0).log_prob(w)).sum().item()
    assert scaled(0.5) - scaled(0.0) == pytest.approx(0.5 * divergence, rel=1e-3)


def test_annealing_never_captures_anew_and_leaves_validation_alone() -> None:
    svi, result = fitted(
        Annealing(steps=60, every=1), epochs=20, compile=True, drop_last=True, validation=data(10)
    )
    assert len(ember.capture.explain(svi).captures) == 2, "a step, and a loss"
    svi, plain = fitted(epochs=20, compile=True, drop_last=True, validation=data(10))
    assert not torch.equal(result.losses, plain.losses)


def test_annealing_refuses_what_it_would_make_wrong() -> None:
    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        ember.sample("k", dist.Bernoulli(0.5))
        of_batch(x, y)

    def discrete(x: torch.Tensor, y: torch.Tensor) -> None:
        ember.sample("k", dist.Bernoulli(ember.param("p", torch.tensor(0.5))))
        guide(x, y)

    with pytest.raises(ModelError, match="'k' is drawn from Bernoulli"):
        new_svi(model, discrete).fit(data(), steps=1, callbacks=[Annealing()], progress=False)
    with pytest.raises(ModelError, match="steps must be"):
        Annealing(steps=0)


# Losses that are not finite


def sometimes_bad(x: torch.Tensor, y: torch.Tensor) -> None:
    """NaN for batches with a row of large y."""
    of_batch(x, torch.where((y > 3.0).any(), y * math.nan, y))


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_rollback_goes_on_with_smaller_rates(compile: Any) -> None:
    _x, y = data()
    assert (y > 3.0).sum() == 6, "rows that make a batch bad"
    rollback = Rollback(factor=0.5, every=2, most=100)
    with ember.validation_enabled(False):
        svi, result = fitted(rollback, model=sometimes_bad, epochs=2, batch_size=5, compile=compile)
    bad = result.losses.isnan().sum()
    assert 4 <= bad <= 12 and len(rollback.returns) == bad and result.num_steps == 20
    assert set(svi.optim.get_lr().values()) == {0.05 * 0.5 ** bad.item()}
    assert all(leaf.isfinite().all() for leaf in result.params.values())


def test_rollback_gives_up() -> None:
    with ember.validation_enabled(False), pytest.raises(NonFiniteLossError) as caught:
        fitted(Rollback(most=1), model=sometimes_bad, epochs=9, batch_size=5)
    assert any("gone back 1 times" in note for note in caught.value.__notes__)


def test_without_it_the_error_says_where() -> None:
    with ember.validation_enabled(False), pytest.raises(NonFiniteLossError) as caught:
        fitted(model=sometimes_bad, epochs=9, batch_size=5)
    assert any("of the fit, epoch 1" in note for note in caught.value.__notes__)


# Checkpoints


def test_the_best_state_is_a_file_of_its_own(tmp_path: Path) -> None:
    keeping = Checkpoint(tmp_path / "fit.pt", best=tmp_path / "best.pt")
    svi, result = fitted(keeping, rate=0.3, epochs=30, validation=data(30, 4))
    losses = [loss for _, loss in result.validation]
    svi.load(tmp_path / "best.pt")
    again = svi.fit(data(), steps=0, progress=False)
    assert again.num_steps == 0
    resumed = new_svi(optim=optim.Adam({"lr": 0.3})).fit(
        data(),
        steps=0,
        batch_size=16,
        validation=data(30, 4),
        callbacks=[Checkpoint(tmp_path / "x.pt")],
        progress=False,
        resume=tmp_path / "best.pt",
    )
    assert len(resumed.validation) == losses.index(min(losses)) + 1


def test_a_signal_ends_a_fit_with_its_state_kept(tmp_path: Path) -> None:
    class Ending(Callback):
        every = 1

        def after_steps(self, training: Any) -> None:
            if training.step == 6:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    path = tmp_path / "fit.pt"
    _, result = fitted(Ending(), Checkpoint(path, every=1000, at_signal=signal.SIGTERM), epochs=5)
    assert result.stopped == "signal SIGTERM" and result.num_steps in (6, 7)
    assert signal.getsignal(signal.SIGTERM) == before
    straight = fitted(Callback(), Checkpoint(tmp_path / "other.pt"), epochs=5)[1]
    svi = new_svi()
    resumed = svi.fit(
        data(), epochs=5, batch_size=16, callbacks=[Callback(), Checkpoint(path)], resume=path, progress=False
    )
    assert torch.equal(resumed.losses, straight.losses)
