"""`ember.fit` on reference posteriors, a few of them; `python -m tools.trust.references` has all, with five seeds."""

from __future__ import annotations

import pytest

from tools.trust.references import fit


@pytest.mark.parametrize("name", ["eight_schools_noncentred", "incomes", "ar2", "beetles"])
def test_the_default_fit_is_right_and_says_so(name: str) -> None:
    outcome = fit(name, seed=0, budget=600.0)  # however busy the machine is
    assert outcome.status == "ok", outcome.why
    assert outcome.judgement == "right" and outcome.found is not None and outcome.found.all_hold, outcome
