"""Forecasts of time series: models that predict, fitted by variational inference, and their backtests."""

from ember.contrib.forecast.evaluate import backtest as backtest
from ember.contrib.forecast.evaluate import eval_crps as eval_crps
from ember.contrib.forecast.evaluate import eval_mae as eval_mae
from ember.contrib.forecast.evaluate import eval_rmse as eval_rmse
from ember.contrib.forecast.forecaster import Forecaster as Forecaster
from ember.contrib.forecast.model import ForecastingModel as ForecastingModel

__all__ = [
    "Forecaster",
    "ForecastingModel",
    "backtest",
    "eval_crps",
    "eval_mae",
    "eval_rmse",
]
