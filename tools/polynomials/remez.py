"""The polynomial of a degree that is nearest to a function, where the largest error counts.

E. Ya. Remez, "Sur la determination des polynomes d'approximation de degre donnee", 1934, in the form that changes all points of
the reference at once. Everything is in 50 digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mpmath import chop, cos, lu_solve, matrix, mpf, pi

Real = Callable[[mpf], mpf]
_POINTS_A_TERM = 24


def nearest(function: Real, weight: Real, low: mpf, high: mpf, terms: int) -> list[mpf]:
    """Coefficients, the constant first, that make the largest ``|weight * (function - polynomial)|`` on an interval least."""
    points = grid(low, high, _POINTS_A_TERM * (terms + 1))
    values, weights = [function(x) for x in points], [weight(x) for x in points]
    reference = [round(i * (len(points) - 1) / terms) for i in range(terms + 1)]
    coefficients: list[mpf] = []
    for _ in range(30):
        coefficients, level = _levelled(points, values, weights, reference, terms)
        errors = [w * (f - horner(coefficients, x)) for x, f, w in zip(points, values, weights, strict=True)]
        reference = _alternating(errors, terms + 1)
        if max(map(abs, errors)) <= abs(level) * mpf("1.01"):
            break
    return coefficients


def grid(low: mpf, high: mpf, count: int) -> list[mpf]:
    """Points of an interval that are denser at its ends."""
    return [(low + high) / 2 - (high - low) / 2 * cos(pi * k / (count - 1)) for k in range(count)]


def horner(coefficients: Sequence[mpf], x: mpf) -> mpf:
    """The value of a polynomial, the constant first."""
    value = mpf(0)
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value


def _levelled(
    points: Sequence[mpf], values: Sequence[mpf], weights: Sequence[mpf], reference: Sequence[int], terms: int
) -> tuple[list[mpf], mpf]:
    """The polynomial whose weighted errors at the points of the reference have one size and changing signs, and that size."""
    rows = [
        [points[i] ** k for k in range(terms)] + [(-1) ** n / weights[i]] for n, i in enumerate(reference)
    ]
    solved = lu_solve(matrix(rows), matrix([values[i] for i in reference]))
    return [chop(solved[k], mpf(10) ** -45) for k in range(terms)], solved[terms]


def _alternating(errors: Sequence[mpf], count: int) -> list[int]:
    """Where the largest errors of changing signs stand."""
    peaks: list[int] = []
    for i, error in enumerate(errors):
        if peaks and (error > 0) == (errors[peaks[-1]] > 0):
            if abs(error) > abs(errors[peaks[-1]]):
                peaks[-1] = i
        else:
            peaks.append(i)
    while len(peaks) > count:
        peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
    if len(peaks) < count:
        raise ArithmeticError(
            f"only {len(peaks)} extremes of the error where {count} are needed: fewer terms, or more digits"
        )
    return peaks
