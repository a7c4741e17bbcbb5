"""What happens when a loss is NaN or infinite; the setting ``nonfinite_loss``.

``"raise"``, Ember's default, raises before any parameter changes. ``"warn"`` does as Pyro does: warns of NaN and goes on.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch

from ember import settings
from ember.errors import NonFiniteLossError
from ember.ops.scalars import torch_item
from ember.poutine.trace_struct import Trace

_NONFINITE_LOSS = "raise"


@settings.register("nonfinite_loss", __name__, "_NONFINITE_LOSS")
def _validate(value: Any) -> None:
    if value not in ("raise", "warn"):
        raise ValueError(f"nonfinite_loss must be 'raise' or 'warn', got {value!r}")


def raises_on_nonfinite() -> bool:
    """Whether a loss that is not finite raises."""
    return _NONFINITE_LOSS == "raise"


def check_training_loss(
    loss: float, model_trace: Trace | None = None, guide_trace: Trace | None = None
) -> None:
    """Raise, or under ``"warn"`` warn of NaN, if a loss that is to be trained on is not finite.

    Raises:
        NonFiniteLossError: names the sites whose values or log densities are not finite.
    """
    if math.isfinite(loss):
        return
    if raises_on_nonfinite():
        raise NonFiniteLossError(
            loss,
            f"the loss is {loss}; parameters and optimizer state are unchanged.{_culprits(model_trace, guide_trace)}\n"
            "Try a smaller learning rate, clip_args, other initial values, or a guide whose samples stay inside the "
            'supports of the model. settings.set(nonfinite_loss="warn") goes on instead, as Pyro does.',
        )
    warn_of_nan_loss(loss, model_trace, guide_trace)


def warn_of_nan_loss(loss: float, model_trace: Trace | None = None, guide_trace: Trace | None = None) -> None:
    """Warn if a loss is NaN."""
    if math.isnan(loss):
        warnings.warn(
            f"Encountered NaN: loss.{_culprits(model_trace, guide_trace)}", UserWarning, stacklevel=3
        )


def _culprits(model_trace: Trace | None, guide_trace: Trace | None) -> str:
    findings = []
    for role, recorded in (("guide", guide_trace), ("model", model_trace)):
        for name, site in recorded.nodes.items() if recorded is not None else ():
            if site["type"] == "sample":
                findings += [f"\n  at {role} site '{name}': {finding}" for finding in _findings(site)]
            elif site["type"] == "param" and not _all_finite(site["value"]):
                findings.append(f"\n  at {role} parameter '{name}': its value is not finite")
    return "".join(findings)


def _findings(site: Any) -> list[str]:
    found = []
    if not _all_finite(site["value"]):
        found.append("its value is not finite")
    if "log_prob_sum" in site and not _all_finite(site["log_prob_sum"]):
        found.append(f"its log density is {torch_item(site['log_prob_sum'])}")
    return found


def _all_finite(value: Any) -> bool:
    return not isinstance(value, torch.Tensor) or bool(torch.isfinite(value).all())
