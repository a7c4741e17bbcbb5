"""Places with mass, held against proposals that draw there and that do not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ember.infer.density.judging.judge import Limits, weigh
from ember.infer.density.judging.places import Place, is_above
from ember.infer.vi.density import Counted, FunctionDensity
from ember.infer.vi.families.mixture import Mixture
from ember.infer.vi.families.normal import Normal
from ember.infer.vi.families.widened import Widened

LIMITS = Limits()


def unit(at: float = 0.0, scale: float = 1.0, dim: int = 3) -> Normal:
    return Normal(torch.full((dim,), at, dtype=torch.double), scale * torch.eye(dim, dtype=torch.double))


def of(parts: Mixture | Normal) -> Counted:
    return Counted(FunctionDensity(parts.dim, parts.log_prob))


def themselves(u: Tensor) -> Tensor:
    return u


def missed(p: Counted, place: Normal, proposal: Normal | Mixture) -> bool:
    at = Place.of(p, themselves, place, place, 256, 0)
    return at.is_missed(proposal, weigh(p, proposal, themselves, 4096, 1), LIMITS)


def test_a_mode_is_missed_by_the_normal_of_the_other() -> None:
    left, right = unit(-10.0), unit(10.0)
    p = of(Mixture((left, right), (0.5, 0.5)))
    assert missed(p, right, left)
    assert not missed(p, right, Mixture((left, right), (0.9, 0.1)))


def test_a_spike_is_missed_by_the_bulk_around_it() -> None:
    bulk, narrow = unit(), unit(0.1, 0.01)
    p = of(Mixture((bulk, narrow), (0.8, 0.2)))
    assert missed(p, narrow, bulk)
    assert not missed(p, narrow, Mixture((bulk, narrow), (0.5, 0.5)))


def test_a_place_of_the_target_itself_is_not_missed_however_narrow_its_normal_is() -> None:
    assert not missed(of(unit()), unit(0.3, 0.01), unit())


def test_mass_that_moves_nothing_is_not_missed() -> None:
    bulk, narrow = unit(), unit(0.1, 0.01)
    assert not missed(of(Mixture((bulk, narrow), (0.999, 0.001))), narrow, bulk)


def test_little_mass_far_away_is_missed() -> None:
    bulk, far = unit(), unit(30.0)
    assert missed(of(Mixture((bulk, far), (0.99, 0.01))), far, bulk)


def test_about_four_hundred_times_a_proposal_is_above_it() -> None:
    normal = unit(dim=1)
    log_q = normal.log_prob(normal.loc.unsqueeze(0))
    for times, above in ((380, False), (440, True)):
        assert bool(is_above(normal.loc.unsqueeze(0), log_q + math.log(times), normal, 0.0)) is above


def test_the_unseen_mass_is_measured() -> None:
    bulk, far = unit(), unit(30.0)
    p = of(Mixture((bulk, far), (0.75, 0.25)))
    unseen = Place.of(p, themselves, far, far, 256, 0).unseen(bulk, torch.tensor(0.75).log().item())
    assert abs(float(unseen.sum()) - 1 / 3) < 1e-6


def test_wide_copies_meet_a_bulk_around_a_spike() -> None:
    narrow = unit(0.1, 0.01)
    p = of(Mixture((unit(), narrow), (0.7, 0.3)))
    around = Place.of(p, themselves, narrow, Widened(narrow), 4096, 0)
    unseen = around.unseen(narrow, torch.tensor(0.3).log().item())
    assert abs(float(unseen.sum()) - 7 / 3) < 0.5


def test_the_density_of_wide_copies_integrates_to_one() -> None:
    wide = Widened(unit(dim=1))
    u = torch.cat([-torch.logspace(5, -4, 20001).double(), torch.logspace(-4, 5, 20001).double()])
    assert abs(float(torch.trapezoid(wide.log_prob(u.unsqueeze(-1)).exp(), u)) - 1) < 1e-3
    drawn, log_q = wide.sample(1 << 12, 0)
    torch.testing.assert_close(wide.log_prob(drawn), log_q)
