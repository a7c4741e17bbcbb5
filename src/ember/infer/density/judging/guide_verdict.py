"""The verdict on a guide as it is: its own moments beside those of its weighed draws."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ember.errors import EmberError
from ember.infer.density.judging.guide_certificate import guide_certificate
from ember.infer.density.judging.guide_rows import GuideRows, Pair
from ember.infer.density.judging.judge import Limits, Weighed, of_ratios
from ember.infer.density.judging.verdict import Numbers, Status, Verdict, shortcomings
from ember.infer.vi.natural_gradient import Certificate
from ember.ops.entries import Scalars
from ember.ops.psis import Moments

_OFF_MEAN, _OFF_SD = 0.1, 0.1
# Two Monte Carlo errors excuse so much, no more.
_MOST_NOISE = 0.03
_LIMITS = Limits()


@dataclass(frozen=True)
class GuideVerdict(Verdict):
    """Says whether a guide can be used as the posterior: what :meth:`ember.infer.SVI.verdict` returns.

    ``ok``: means and standard deviations of the guide itself can be used. ``means only``: its means can.

    Attributes:
        names: names of the entries of the latent sites, ``theta[0]`` for an entry of a site.
        raw: the guide's own moments, of its draws.
        corrected: moments of the same draws with importance weights. They can be used where
            ``corrected_holds``, even if those of the guide cannot.
        corrected_holds: whether the weights are good enough for means and standard deviations.
        mean_off: by how many standard deviations the guide's mean is off, for each entry, ``(Q,)``.
        sd_ratio: the guide's standard deviation divided by the corrected one, ``(Q,)``.
        k_hats: k-hat of the mean of each entry, ``(Q,)``.
        log_weights: log weights of the draws, smoothed and normalised, ``(S,)``.
    """

    names: tuple[str, ...] = ()
    raw: Moments | None = field(default=None, repr=False)
    corrected: Moments | None = field(default=None, repr=False)
    corrected_holds: bool = False
    mean_off: Tensor | None = field(default=None, repr=False)
    sd_ratio: Tensor | None = field(default=None, repr=False)
    k_hats: Tensor | None = field(default=None, repr=False)
    log_weights: Tensor | None = field(default=None, repr=False)


def judge_guide(pair: Pair, draws: int, limits: Limits = _LIMITS) -> GuideVerdict:
    """Judge a guide by draws of it, weighed by the model over all data.

    Args:
        pair: model and guide, with arguments that are all data.
        draws: how many.
        limits: what is asked for.
    """
    try:
        drawn = pair.draw(draws)
    except EmberError as error:
        return GuideVerdict("unverified", (str(error).partition("\n")[0],), None)
    return judge_rows(pair, drawn, limits)


def judge_rows(pair: Pair, drawn: GuideRows, limits: Limits = _LIMITS) -> GuideVerdict:
    """Judge a guide by draws that are there already.

    Args:
        pair: model and guide.
        drawn: draws of the guide with their densities.
        limits: what is asked for.
    """
    entries = Scalars.of(drawn.values)
    names, values = list(entries.names), entries.values
    if not names:
        return GuideVerdict("unverified", ("the model has no latent sites that the guide draws",), None)
    raw = _moments(values)
    points = [name for name, sd in zip(names, raw.sd.tolist(), strict=True) if sd == 0.0]
    if points:
        why = f"the guide puts {_some(points)} on one point: it says nothing of the spread of the posterior"
        return GuideVerdict("poor", (why,), None, dict.fromkeys(names, "poor"), tuple(names), raw)
    weighed = of_ratios(values, drawn.log_p, drawn.log_q, values)
    certificate = guide_certificate(pair, drawn)
    status, reasons, compared = _concluded(weighed, raw, names, certificate, limits)
    return GuideVerdict(
        status,
        reasons,
        Numbers.of(weighed, certificate, None),
        quantities=dict.fromkeys(names, status),
        names=tuple(names),
        raw=raw,
        corrected=weighed.moments,
        corrected_holds=weighed.all_hold(limits),
        mean_off=compared.mean_off,
        sd_ratio=compared.sd_ratio,
        k_hats=weighed.k_means,
        log_weights=weighed.log_weights,
    )


@dataclass(frozen=True)
class _Compared:
    """The guide's own moments beside the corrected ones."""

    mean_off: Tensor
    sd_ratio: Tensor
    bad_means: list[str]
    bad_sds: list[str]


def _concluded(
    weighed: Weighed, raw: Moments, names: list[str], certificate: Certificate | None, limits: Limits
) -> tuple[Status, tuple[str, ...], _Compared]:
    compared = _compared(weighed.moments, raw, names)
    moving = certificate is not None and not certificate.holds
    bad: Status = "not converged" if moving else "poor"
    moves: tuple[str, ...] = ()
    if certificate is not None and moving:
        moves = (
            f"the guide's mean would still move {certificate.mean:.2f} SD, its scale {100 * certificate.scale:.0f} %",
        )
    if not weighed.means_hold(limits):
        return bad, (*moves, *shortcomings(weighed, limits)), compared
    if compared.bad_means:
        correct = _corrected(weighed, limits)
        return bad, (*moves, f"the guide's own mean is off: {_some(compared.bad_means)}", *correct), compared
    if not weighed.all_hold(limits):
        return "means only", (*moves, *shortcomings(weighed, limits)), compared
    if compared.bad_sds:
        why = f"the guide's own SD is off: {_some(compared.bad_sds)}"
        return "means only", (*moves, why, *_corrected(weighed, limits)), compared
    return "ok", ("given that no mode was missed",), compared


def _corrected(weighed: Weighed, limits: Limits) -> tuple[str, ...]:
    if not weighed.all_hold(limits):
        return ()
    return ("the weights are good: verdict.corrected has means and SDs that can be used",)


def _compared(corrected: Moments, raw: Moments, names: list[str]) -> _Compared:
    off = (raw.mean - corrected.mean) / corrected.sd
    ratio = raw.sd / corrected.sd
    mean_noise = 2 * (corrected.mcse_mean.square() + raw.mcse_mean.square()).sqrt() / corrected.sd
    sd_noise = 2 * ((corrected.mcse_sd / corrected.sd).square() + (raw.mcse_sd / raw.sd).square()).sqrt()
    far = off.abs() > _OFF_MEAN + mean_noise.clamp(max=_MOST_NOISE)
    wide = ratio.log().abs() > _OFF_SD + sd_noise.clamp(max=_MOST_NOISE)
    return _Compared(
        off,
        ratio,
        [f"{names[i]} by {off[i]:+.2f} SD" for i in _worst(off.abs(), far)],
        [f"{names[i]} is {ratio[i]:.2f} of it" for i in _worst(ratio.log().abs(), wide)],
    )


def _worst(sizes: Tensor, which: Tensor) -> list[int]:
    order = sizes.nan_to_num(torch.inf).argsort(descending=True).tolist()
    return [i for i in order if bool(which[i]) or not bool(sizes[i].isfinite())]


def _moments(values: Tensor) -> Moments:
    n = len(values)
    sd = values.std(0, unbiased=False)
    fourth = (values - values.mean(0)).pow(4).mean(0)
    sd_error = ((fourth - sd.pow(4)).clamp_min(0.0) / n).sqrt() / (2 * sd).clamp_min(1e-300)
    return Moments(values.mean(0), sd, sd / n**0.5, sd_error)


def _some(items: list[str]) -> str:
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")


__all__ = ["GuideVerdict", "judge_guide", "judge_rows"]
