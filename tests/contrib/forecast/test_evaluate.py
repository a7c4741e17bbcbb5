"""Scores of forecasts, and backtests."""

from __future__ import annotations

import logging

import pytest
import torch
from tests.contrib.forecast.series import Regression, Walk

import ember
from ember.contrib.forecast import backtest, eval_crps, eval_mae, eval_rmse
from ember.contrib.forecast.evaluate import DEFAULT_METRICS

NONE = torch.empty(20, 0)


def series() -> torch.Tensor:
    ember.set_rng_seed(1)
    torch.randn(3, 20, 2)
    return torch.randn(20, 1).cumsum(-2)


class Known:
    """A forecaster that forecasts the last value, spread by a half to both sides."""

    made: list[tuple[int, int]] = []

    def __init__(
        self, model: object, data: torch.Tensor, covariates: torch.Tensor, **options: object
    ) -> None:
        self.made.append((data.size(-2), covariates.size(-2)))
        ember.param("scale", torch.tensor(float(data.size(-2))))
        ember.param("many", torch.zeros(2))

    def __call__(self, data, covariates, num_samples, batch_size):
        ahead = covariates.size(-2) - data.size(-2)
        return data[-1, 0] + torch.linspace(-0.5, 0.5, num_samples).reshape(-1, 1, 1).expand(-1, ahead, 1)


def test_scores() -> None:
    pred, truth = torch.randn(51, 4, 2, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    assert eval_mae(pred, truth) == pytest.approx(float((pred.sort(0).values[25] - truth).abs().mean()))
    assert eval_rmse(pred, truth) == pytest.approx(float(((pred.mean(0) - truth) ** 2).mean() ** 0.5))
    pairs = (pred[:, None] - pred).abs().mean((0, 1))
    assert eval_crps(pred, truth) == pytest.approx(float(((pred - truth).abs().mean(0) - pairs / 2).mean()))
    assert set(DEFAULT_METRICS) == {"mae", "rmse", "crps"}


@pytest.mark.parametrize(
    ("options", "windows"),
    [
        ({}, [(0, t, 6) for t in range(1, 6)]),
        ({"train_window": 2, "test_window": 2}, [(0, 2, 4), (1, 3, 5), (2, 4, 6)]),
        ({"min_train_window": 3, "min_test_window": 2}, [(0, 3, 6), (0, 4, 6)]),
        ({"train_window": 1, "stride": 3}, [(0, 1, 6), (3, 4, 6)]),
        ({"train_window": 9}, []),
    ],
)
def test_windows(options: dict[str, int], windows: list[tuple[int, int, int]]) -> None:
    Known.made = []
    data = torch.arange(6.0).unsqueeze(-1)
    results = backtest(data, NONE[:6], Walk, forecaster_fn=Known, num_samples=5, seed=3, **options)
    assert [(r["t0"], r["t1"], r["t2"]) for r in results] == windows
    assert Known.made == [(t1 - t0, t1 - t0) for t0, t1, _ in windows]
    for (t0, t1, t2), result in zip(windows, results, strict=True):
        # The truth is ahead by 1, 2, ...
        steps = torch.arange(1.0, t2 - t1 + 1)
        assert result["mae"] == pytest.approx(float(steps.mean()))
        assert result["rmse"] == pytest.approx(float(steps.square().mean().sqrt()))
        assert result["seed"] == 3 and result["num_samples"] == 5 and result["test_walltime"] >= 0
        assert result["params"] == {"scale": float(t1 - t0)}


def test_scores_and_a_transform_of_the_users(caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def options(**times: int) -> dict[str, int]:
        asked.append(times)
        return {}

    with caplog.at_level(logging.DEBUG, "pyro.contrib.forecast.evaluate"):
        results = backtest(
            torch.arange(4.0).unsqueeze(-1),
            NONE[:4],
            Walk,
            forecaster_fn=Known,
            test_window=1,
            transform=lambda pred, truth: (pred * 2, truth * 2),
            metrics={"shapes": lambda pred, truth: (pred.shape, truth.shape), "mae": eval_mae},
            forecaster_options=options,
        )
    assert results[0]["shapes"] == ((100, 1, 1), (1, 1)) and results[0]["mae"] == pytest.approx(2.0, abs=0.02)
    assert asked == [{"t0": 0, "t1": t, "t2": t + 1} for t in (1, 2, 3)]
    assert "Training on window [0:1], testing on window [1:2]" in caplog.messages
    assert "scale = 3" in caplog.messages


def test_scores_of_a_seed_are_pyros() -> None:
    results = backtest(
        series(), NONE, Regression, min_train_window=8, test_window=4, stride=3, num_samples=6,
        forecaster_options={"num_steps": 4, "log_every": 0},
    )  # fmt: skip
    # Of Pyro 1.9.2 with torch 2.13.
    assert [r["crps"] for r in results] == pytest.approx([8.026327, 9.940705, 7.301093], rel=1e-5)
    assert results[0]["params"]["AutoNormal.locs.log_scale"] == pytest.approx(-0.384301, rel=1e-5)
    assert len(results[-1]["params"]) == 3


def test_a_warm_start_keeps_the_parameters() -> None:
    options = {"num_steps": 2, "log_every": 0, "warm_start": True}
    results = backtest(
        series()[:8], NONE[:8], Walk, min_train_window=5, num_samples=2, forecaster_options=options
    )
    assert len(results) == 3
    assert ember.get_param_store()["AutoNormal.locs.steps"].shape == (7, 1)


def test_where_memory_is_short_fewer_are_drawn_at_a_time() -> None:
    sizes = []

    class Small(Known):
        def __call__(self, data, covariates, num_samples, batch_size):
            sizes.append(batch_size)
            if batch_size is None or batch_size > 3:
                raise RuntimeError("CUDA out of memory")
            return super().__call__(data, covariates, num_samples, batch_size)

    with pytest.warns(RuntimeWarning, match="decreasing batch_size to"):
        backtest(torch.zeros(3, 1), NONE[:3], Walk, forecaster_fn=Small, num_samples=10)
    assert sizes == [None, 5, 3, 3]

    class Broken(Known):
        def __call__(self, data, covariates, num_samples, batch_size):
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        backtest(torch.zeros(3, 1), NONE[:3], Walk, forecaster_fn=Broken)


def test_what_is_wrong_is_named() -> None:
    data = torch.zeros(4, 1)
    for message, options in {
        "min_train_window is a positive": {"min_train_window": 0},
        "min_test_window is a positive": {"min_test_window": 1.5},
        "stride is a positive": {"stride": 0},
        "test_window is a positive": {"test_window": 0},
        "no metrics": {"metrics": {}},
    }.items():
        with pytest.raises(AssertionError, match=message):
            backtest(data, NONE[:4], Walk, **options)
    with pytest.raises(AssertionError, match="as many times, got 4 and 20"):
        backtest(data, NONE, Walk)
    with pytest.raises(ValueError, match="Cannot warm start with moving training window"):
        backtest(data, NONE[:4], Walk, train_window=2, forecaster_options={"warm_start": True})
