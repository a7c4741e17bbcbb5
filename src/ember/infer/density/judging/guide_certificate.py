"""How far a guide is from its own optimum, from its draws and the score of the model: where it is a normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ember.errors import EmberError
from ember.infer.density.density import density
from ember.infer.density.judging.guide_rows import GuideRows, Pair, WholePlates
from ember.infer.vi.natural_gradient import Certificate

_MOST_DIMS = 500


def guide_certificate(pair: Pair, drawn: GuideRows) -> Certificate | None:
    """By how much the mean and the scale of a normal guide would still move (Opper and Archambeau, 2009).

    With ``u = m + L e`` and ``r = L' score(u) + e``, the mean would move by ``E r`` standard deviations, and the scale by the
    fraction ``E e r``. Mean and covariance are those of the draws; where the guide has no correlations, neither has ``L``.

    Args:
        pair: model and guide.
        drawn: draws.

    Returns:
        None for guides that are no normals in unconstrained coordinates, models without a score, and above 500 coordinates.
    """
    try:
        with pair.store.active():
            target = density(WholePlates()(pair.model), *pair.args, **pair.kwargs)
            u = target.unconstrain(drawn.values)
            if u.shape[-1] > _MOST_DIMS or 4 * u.shape[-1] > len(u):
                return None
            log_p, score = target(u)
    except (EmberError, ValueError, RuntimeError, NotImplementedError):
        return None
    possible = log_p.isfinite() & drawn.log_p.isfinite() & u.isfinite().all(-1)
    if not bool(possible.any()):
        return None
    # What the maps to the supports add to the density of the model, they add to that of the guide.
    log_q = (drawn.log_q + log_p.double() - drawn.log_p)[possible]
    u, score = u.double()[possible], score.double()[possible]
    factor = _factor(u, log_q)
    if factor is None:
        return None
    e = torch.linalg.solve_triangular(factor, (u - u.mean(0)).mT, upper=False).mT
    r = score @ factor + e
    return _certificate(r, e * r, float(possible.double().mean()))


def _factor(u: Tensor, log_q: Tensor) -> Tensor | None:
    """The triangular factor of the guide's covariance; None if it is no normal."""
    centred = u - u.mean(0)
    diagonal = torch.diag(centred.square().mean(0).sqrt())
    noise = 0.05 + 1.5 * u.shape[-1] / math.sqrt(len(u))
    full, info = torch.linalg.cholesky_ex(centred.mT @ centred / len(u))
    for factor in [diagonal] if int(info) else [diagonal, full]:
        if not bool((factor.diagonal() > 0).all()):
            return None
        e = torch.linalg.solve_triangular(factor, centred.mT, upper=False)
        apart = log_q + 0.5 * e.square().sum(0)
        if float(apart.std()) < noise:
            return factor
    return None


def _certificate(r: Tensor, er: Tensor, possible: float) -> Certificate:
    root = math.sqrt(len(r))
    mean, mean_se = r.mean(0).abs(), r.std(0) / root
    scale, scale_se = er.mean(0).abs(), er.std(0) / root
    holds = (mean <= Certificate.MEAN + 3 * mean_se.clamp(max=0.05)).all() & (
        scale <= Certificate.SCALE + 3 * scale_se.clamp(max=0.1)
    ).all()
    return Certificate(
        float(mean.max()),
        float(mean_se.max()),
        float(scale.max()),
        float(scale_se.max()),
        possible,
        bool(holds),
    )


__all__ = ["guide_certificate"]
