"""What a prediction is asked for, looked at before anything runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ember import settings
from ember.caller import stacklevel
from ember.errors import ModelError
from ember.infer.posterior.prediction_runs import Layout
from ember.infer.traces.program_checks import check_program
from ember.ops.draws import thinned
from ember.params.fits import FittedPrograms

_WARN_OF_GIVEN_DATA = True
settings.register("warn_of_given_data", __name__, "_WARN_OF_GIVEN_DATA")

Program = Callable[..., Any]
Samples = dict[str, Any]


def of_fit(
    known: FittedPrograms, samples: object, guide: object, num_samples: int | None
) -> tuple[Program, Samples | None, Program | None]:
    """Model, samples and guide of a fit.

    Raises:
        ModelError: if samples or a guide are given beside it, or its parameters have changed.
    """
    if samples is not None or guide is not None:
        raise ModelError(
            "a fit has draws or a guide of its own: give Predictive(fit, num_samples=...) alone, or the model with others"
        )
    known.check_unchanged()
    draws = known.draws
    if draws is not None:
        draws = dict(draws) if num_samples is None else thinned(draws, num_samples)
    return known.model, draws, known.guide


def check_arguments(model: object, posterior_samples: object, guide: object) -> None:
    """Look at what was given in the wrong place, before it fails somewhere else.

    Raises:
        ModelError: says how it is written.
    """
    if posterior_samples is not None and not isinstance(posterior_samples, Mapping):
        how = "a guide is given by its name: Predictive(model, guide=guide, num_samples=100)"
        if isinstance(getattr(posterior_samples, "draws", None), Mapping):
            how = "give its draws: Predictive(model, fit.draws)"
        raise ModelError(
            f"posterior_samples must be a dict of tensors by site, got {type(posterior_samples).__name__}; {how}"
        )
    check_program(model, "model")
    if guide is not None:
        check_program(guide, "guide")


def warn_of_data(layout: Layout) -> None:
    """Say that nothing will be drawn, as the data were given."""
    if layout.only_data and _WARN_OF_GIVEN_DATA:
        warnings.warn(
            f"Predictive draws nothing: the model observes {', '.join(map(repr, layout.only_data))}, so every sample is "
            "the data that it was given\n"
            "The way out: leave the data out, def model(x, y=None): sample(..., obs=y), and call it with x alone.",
            UserWarning,
            stacklevel=stacklevel(),
        )


def number_of(samples: Samples, num_samples: int | None) -> int:
    """How many samples there are, with a warning if another number was asked for.

    Raises:
        ValueError: if neither says it.
    """
    for value in samples.values():
        size = value.shape[0]
        if num_samples is not None and num_samples != size:
            warnings.warn(
                f"Sample's leading dimension size {size} is different from the "
                f"provided {num_samples} num_samples argument. Defaulting to {size}.",
                UserWarning,
                stacklevel=3,
            )
        num_samples = size
    if num_samples is None:
        raise ValueError("No sample sites in posterior samples to infer `num_samples`.")
    return int(num_samples)
