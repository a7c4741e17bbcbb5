"""Which functions are replaced by polynomials, where, and with how many terms: one row each."""

from __future__ import annotations

from dataclasses import dataclass

from mpmath import atanh, cos, euler, expm1, findroot, log, log1p, loggamma, mp, mpf, pi, psi, sin, sqrt

from tools.polynomials.remez import Real

mp.dps = 50

_HALF_LOG_2 = log(2) / 2 * mpf("1.0001")
_TINY = mpf(10) ** -9
ROOT = findroot(lambda x: psi(0, x), mpf("1.4616"))
"""Where digamma is zero."""


@dataclass(frozen=True)
class Row:
    """A function and the polynomials for it. The error that counts is ``weight`` times the difference."""

    name: str
    meaning: str
    function: Real
    weight: Real
    low: mpf
    high: mpf
    terms: dict[str, int]
    """How many for which precision."""


def _exp_rest(x: mpf) -> mpf:
    return (expm1(x) - x) / x**2 if abs(x) > _TINY else mpf(1) / 2 + x / 6


def _log_rest(z: mpf) -> mpf:
    s = sqrt(z)
    return (2 * atanh(s) - 2 * s) / s**3 if z > _TINY**2 else mpf(2) / 3 + 2 * z / 5


def _log_bend(x: mpf) -> mpf:
    return (x - log1p(x)) / x**2 if abs(x) > _TINY else mpf(1) / 2 - x / 3


def _lgamma_rest(u: mpf) -> mpf:
    return (loggamma(2 + u) - (1 - euler) * u) / u**2 if abs(u) > _TINY else (pi**2 / 6 - 1) / 2


def _stirling_rest(z: mpf) -> mpf:
    if z < _TINY:
        return mpf(1) / 12 - z / 360
    x = 1 / sqrt(z)
    return (loggamma(x) - ((x - mpf(1) / 2) * log(x) - x + log(2 * pi) / 2)) * x


def _digamma_rest(z: mpf) -> mpf:
    if z < _TINY:
        return mpf(1) / 12 - z / 120
    x = 1 / sqrt(z)
    return (log(x) - 1 / (2 * x) - psi(0, x)) * x**2


def _trigamma_rest(z: mpf) -> mpf:
    if z < _TINY:
        return mpf(1) / 6 - z / 30
    x = 1 / sqrt(z)
    return (psi(1, x) - 1 / x - 1 / (2 * x**2)) * x**3


def _digamma_slope(u: mpf) -> mpf:
    """The slope of the chord of digamma(1 + x) from the root on."""
    x = ROOT + u
    return (psi(0, 1 + x) - 1 / ROOT) / u if abs(u) > _TINY else psi(1, 1 + ROOT)


def _sinpi_rest(z: mpf) -> mpf:
    r = sqrt(z)
    return (sin(pi * r) / (pi * r) - 1) / z if z > _TINY else -(pi**2) / 6 + pi**4 / 120 * z


def _cospi(z: mpf) -> mpf:
    return cos(pi * sqrt(z)) / (1 - 4 * z) if abs(1 - 4 * z) > _TINY else pi / 4


def _relative(function: Real) -> Real:
    return lambda x: 1 / abs(function(x))


ROWS = (
    Row(
        "exp_rest",
        "(exp(x) - 1 - x) / x^2 for |x| <= log(2) / 2",
        _exp_rest,
        lambda x: abs(x) + _TINY,
        -_HALF_LOG_2,
        _HALF_LOG_2,
        {"f64": 11, "f32": 5},
    ),
    Row(
        "log_rest",
        "(2 artanh(s) - 2 s) / s^3 at x = s^2, for s = (m - 1) / (m + 1) and m from sqrt(1/2) to sqrt(2)",
        _log_rest,
        lambda z: z + _TINY,
        mpf(0),
        mpf("0.02944"),
        {"f64": 7},
    ),
    Row(
        "log_bend",
        "(x - log(1 + x)) / x^2 for 1 + x from sqrt(1/2) to sqrt(2)",
        _log_bend,
        lambda x: abs(x) + _TINY,
        sqrt(mpf("0.4999")) - 1,
        sqrt(mpf("2.0001")) - 1,
        {"f32": 9},
    ),
    Row(
        "lgamma_rest",
        "(log gamma(2 + x) - (1 - C) x) / x^2 for |x| <= 1/2, C being Euler's constant",
        _lgamma_rest,
        lambda u: abs(u) + _TINY,
        mpf("-0.5"),
        mpf("0.5"),
        {"f64": 18, "f32": 8},
    ),
    Row(
        "stirling_rest",
        "z (log gamma(z) - (z - 1/2) log(z) + z - log(2 pi) / 2) at x = 1 / z^2, for z >= 3.5",
        _stirling_rest,
        _relative(_stirling_rest),
        mpf(0),
        1 / mpf("3.5") ** 2,
        {"f64": 10, "f32": 3},
    ),
    Row(
        "digamma_slope",
        "(digamma(1 + a + x) - digamma(1 + a)) / x for 0 <= a + x <= 2.3, a being the root of digamma",
        _digamma_slope,
        lambda u: abs(u / psi(0, ROOT + u)) if abs(u) > _TINY else 1 / psi(1, ROOT),
        _TINY - ROOT,
        mpf("2.3") - ROOT,
        {"f64": 30, "f32": 13},
    ),
    Row(
        "digamma_rest",
        "z^2 (log(z) - 1 / (2 z) - digamma(z)) at x = 1 / z^2, for z >= 2.3",
        _digamma_rest,
        lambda z: z / abs(psi(0, 1 / sqrt(z))) if z > _TINY else _TINY,
        mpf(0),
        1 / mpf("2.3") ** 2,
        {"f64": 13, "f32": 4},
    ),
    Row(
        "trigamma_rest",
        "z^3 (trigamma(z) - 1 / z - 1 / (2 z^2)) at x = 1 / z^2, for z >= 3",
        _trigamma_rest,
        _relative(_trigamma_rest),
        mpf(0),
        mpf(1) / 9,
        {"f64": 13, "f32": 5},
    ),
    Row(
        "sinpi_rest",
        "(sin(pi r) / (pi r) - 1) / r^2 at x = r^2, for |r| <= 1/2",
        _sinpi_rest,
        lambda z: z + _TINY,
        mpf(0),
        mpf(1) / 4,
        {"f64": 8, "f32": 4},
    ),
    Row(
        "cospi",
        "cos(pi r) / (1 - 4 r^2) at x = r^2, for |r| <= 1/2",
        _cospi,
        _relative(_cospi),
        mpf(0),
        mpf(1) / 4,
        {"f64": 9, "f32": 5},
    ),
)
