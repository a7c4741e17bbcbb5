"""How good forecasts are: scores, and backtests over a moving window."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ember.contrib.forecast.forecaster import Forecaster, check_times
from ember.ops.stats import crps_empirical
from ember.params.param_store import get_param_store
from ember.rng import set_rng_seed

Options = dict[str, Any]
Metric = Callable[[Tensor, Tensor], Any]
Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# The logger that programs written for Pyro turn down.
logger = logging.getLogger("pyro.contrib.forecast.evaluate")


@torch.no_grad()
def eval_mae(pred: Tensor, truth: Tensor) -> float:
    """The mean absolute error of the median.

    Args:
        pred: draws of a forecast, on dim 0.
        truth: what came.

    >>> eval_mae(torch.tensor([[1.0], [2.0], [9.0]]), torch.tensor([0.0]))
    2.0
    """
    return (pred.median(0).values - truth).abs().mean().item()


@torch.no_grad()
def eval_rmse(pred: Tensor, truth: Tensor) -> float:
    """The root of the mean squared error of the mean.

    Args:
        pred: draws of a forecast, on dim 0.
        truth: what came.

    >>> eval_rmse(torch.tensor([[1.0], [2.0], [9.0]]), torch.tensor([0.0]))
    4.0
    """
    return float((pred.mean(0) - truth).square().mean().item() ** 0.5)


@torch.no_grad()
def eval_crps(pred: Tensor, truth: Tensor) -> float:
    """The mean continuous ranked probability score.

    Args:
        pred: draws of a forecast, on dim 0.
        truth: what came.

    References:
        T. Gneiting, A. E. Raftery (2007), "Strictly proper scoring rules, prediction, and estimation".

    >>> round(eval_crps(torch.tensor([[0.0], [2.0]]), torch.tensor([1.0])), 2)
    0.5
    """
    return crps_empirical(pred, truth).mean().item()


DEFAULT_METRICS: dict[str, Metric] = {"mae": eval_mae, "rmse": eval_rmse, "crps": eval_crps}


def backtest(
    data: Tensor,
    covariates: Tensor,
    model_fn: Callable[[], Any],
    *,
    forecaster_fn: Callable[..., Any] = Forecaster,
    metrics: Mapping[str, Metric] | None = None,
    transform: Transform | None = None,
    train_window: int | None = None,
    min_train_window: int = 1,
    test_window: int | None = None,
    min_test_window: int = 1,
    stride: int = 1,
    seed: int = 1234567890,
    num_samples: int = 100,
    batch_size: int | None = None,
    forecaster_options: Options | Callable[..., Options] = {},  # noqa: B006 - Pyro's default, and never changed
) -> list[dict[str, Any]]:
    """Fit a model to a window of times and score its forecasts of the next ones, window by window.

    The parameter store is cleared before every fit, but for ``warm_start``.

    Args:
        data: ``(..., time, n)``.
        covariates: ``(..., time, m)``; ``torch.empty(time, 0)`` for none.
        model_fn: makes a model.
        forecaster_fn: makes a forecaster of a model, data, covariates and options.
        metrics: scores by name, functions of draws and truth; :data:`DEFAULT_METRICS` if None.
        transform: what becomes of draws and truth before they are scored.
        train_window: times that are fitted; all from the beginning if None.
        min_train_window: the fewest, in that case.
        test_window: times that are forecast; all to the end if None.
        min_test_window: the fewest, in that case.
        stride: times between two windows.
        seed: set before every fit.
        num_samples: draws of a forecast.
        batch_size: draws at a time; halved, with a warning, where memory is short.
        forecaster_options: for the forecaster; or a function of ``t0``, ``t1`` and ``t2`` that gives them.

    Returns:
        One dict a window: ``t0``, ``t1`` and ``t2``, between which it was fitted and scored; ``seed``,
            ``num_samples``, ``train_walltime``, ``test_walltime``; ``params``, those that are single numbers;
            and each score by its name.

    Raises:
        AssertionError: if data and covariates are of other lengths, or a window is too short.
        ValueError: for a warm start in a window that moves.
    """
    check_times(data, covariates)
    windows = _Windows(train_window, min_train_window, test_window, min_test_window, stride)
    scores = DEFAULT_METRICS if metrics is None else metrics
    assert scores, "no metrics specified"
    options_of = _asked(forecaster_options, train_window is not None)
    store = get_param_store()
    store.clear()
    results = []
    for t0, t1, t2 in windows.over(data.size(-2)):
        logger.info(f"Training on window [{t0}:{t1}], testing on window [{t1}:{t2}]")
        set_rng_seed(seed)
        options = options_of(t0=t0, t1=t1, t2=t2)
        if not options.get("warm_start"):
            store.clear()
        times: dict[str, Any] = {"t0": t0, "t1": t1, "t2": t2, "seed": seed, "num_samples": num_samples}
        seen, known, ahead = data[..., t0:t1, :], covariates[..., t0:t1, :], covariates[..., t0:t2, :]
        started = perf_counter()
        forecaster = forecaster_fn(model_fn(), seen, known, **options)
        times["train_walltime"] = perf_counter() - started
        started = perf_counter()
        pred, batch_size = _forecast(forecaster, seen, ahead, num_samples, batch_size)
        times["test_walltime"] = perf_counter() - started
        del forecaster  # it may hold much memory
        results.append(
            times | {"params": _single_numbers()} | _scored(pred, data[..., t1:t2, :], transform, scores)
        )
        del pred
        _log(results[-1])
    return results


def _asked(given: Options | Callable[..., Options], moves: bool) -> Callable[..., Options]:
    """The options of a window, asked for by its times."""

    def fixed(**times: int) -> Options:
        assert not callable(given)
        return given

    options_of = given if callable(given) else fixed
    if moves and options_of().get("warm_start"):
        raise ValueError(
            "Cannot warm start with moving training window; either set warm_start=False or train_window=None"
        )
    return options_of


@dataclass(frozen=True)
class _Windows:
    """Which times are fitted, and which are forecast."""

    train: int | None
    min_train: int
    test: int | None
    min_test: int
    stride: int

    def __post_init__(self) -> None:
        for name, least in (("min_train_window", self.min_train), ("min_test_window", self.min_test)):
            assert isinstance(least, int) and least >= 1, (
                f"{name} is a positive number of times, got {least!r}"
            )
        for name, size in (("train_window", self.train), ("test_window", self.test), ("stride", self.stride)):
            assert size is None or size >= 1, f"{name} is a positive number of times, got {size!r}"

    def over(self, duration: int) -> Iterator[tuple[int, int, int]]:
        """Where fitting begins, where the forecast begins, and where it ends."""
        first = self.min_train if self.train is None else self.train
        last = duration - (self.min_test if self.test is None else self.test)
        for t1 in range(first, last + 1, self.stride):
            yield (
                0 if self.train is None else t1 - self.train,
                t1,
                duration if self.test is None else t1 + self.test,
            )


def _scored(
    pred: Tensor, truth: Tensor, transform: Transform | None, scores: Mapping[str, Metric]
) -> Options:
    if transform is not None:
        pred, truth = transform(pred, truth)
    return {name: score(pred, truth) for name, score in scores.items()}


def _forecast(
    forecaster: Any, data: Tensor, covariates: Tensor, num_samples: int, batch_size: int | None
) -> tuple[Tensor, int | None]:
    """Draws, and how many at a time there was memory for."""
    while True:
        try:
            return forecaster(data, covariates, num_samples=num_samples, batch_size=batch_size), batch_size
        except RuntimeError as error:
            size = num_samples if batch_size is None else batch_size
            if "out of memory" not in str(error) or size <= 1:
                raise
            batch_size = (size + 1) // 2
            warnings.warn(
                f"out of memory, decreasing batch_size to {batch_size}", RuntimeWarning, stacklevel=3
            )


def _single_numbers() -> dict[str, Any]:
    return {name: value.item() for name, value in get_param_store().items() if value.numel() == 1}


def _log(result: dict[str, Any]) -> None:
    for values in (result, result["params"]):
        for name, value in sorted(values.items()):
            if isinstance(value, (int, float)):
                logger.debug(f"{name} = {value:0.6g}")
