"""Rows where there is no C compiler: all at once by vmap, with the answers of the loop over rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ember
from ember import capture
from ember import distributions as dist
from ember.capture.rows import batched, program
from ember.errors import NoCompilerError
from ember.infer.density.density import Density
from tests.capture.rows.test_rows import FUNCTIONS, by_loop, factor, picked
from tests.infer.density.test_compiled import MODELS


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch):
    def missing(*args: object) -> Any:
        raise NoCompilerError("there is no compiler here")

    monkeypatch.setattr(program, "NativeRows", missing)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("block", [2**27, 1])
def test_what_the_loop_gives(name: str, block: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(batched, "_MOST_BYTES", block)
    rows = capture.rows(FUNCTIONS[name])
    u = torch.randn(50, 3)
    torch.testing.assert_close(rows(u), by_loop(FUNCTIONS[name], u))
    assert rows.explain() == "vmap (not native: there is no compiler here)"


@pytest.mark.parametrize(
    ("function", "rows", "bad", "error"),
    [
        (factor, torch.tensor([0.1, 2.0, 0.3, 0.4, 3.0]).repeat(9), [1, 4], torch.linalg.LinAlgError),
        (picked, torch.tensor([1, 9, 0, 3, -20]).repeat(9), [1, 4], IndexError),
    ],
)
def test_a_row_that_fails_changes_no_other(function: Any, rows: Tensor, bad: Any, error: Any) -> None:
    like = function(rows[0])
    captured = capture.rows(function, instead=lambda _: torch.full_like(like, torch.nan))
    found = captured(rows)
    assert captured.backend == "vmap"
    for index, row in enumerate(rows):
        if index % 5 in bad:
            assert found[index].isnan().all()
        else:
            torch.testing.assert_close(found[index], function(row))
    with pytest.raises(error) as caught:
        capture.rows(function)(rows)
    assert caught.value.__notes__[-1].startswith("at row ")


def test_draws_are_made_row_by_row(monkeypatch: Any) -> None:
    monkeypatch.setattr(program, "lacks_compiler", lambda inputs: True)

    def noisy(b: Tensor) -> Tensor:
        return b + torch.randn(3)

    rows = capture.rows(noisy)
    u = torch.randn(4, 3)
    torch.manual_seed(1)
    wanted = by_loop(noisy, u)
    torch.manual_seed(1)
    torch.testing.assert_close(rows(u), wanted)
    assert rows.backend == "interpreter"


@pytest.mark.parametrize("name", MODELS)
def test_a_density_and_its_score(name: str) -> None:
    made, args = MODELS[name]
    target = ember.density(made() if isinstance(made, type) else made, *args)
    u = target.start + 0.3 * torch.randn(20, target.dim)
    value, score = target(u)
    assert target.explain().startswith("vmap")
    torch.testing.assert_close((value, score), Density(target.joint, compile=False)(u))


def test_a_fit() -> None:
    def model(y: Tensor) -> None:
        mean = ember.sample("mean", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(mean, 1.0), obs=y)

    y = torch.tensor([0.5, 1.0, 1.5])
    fit = ember.fit(model, y, progress=False, seed=0)
    assert fit.verdict.status == "ok"
    assert abs(float(fit.draws["mean"].mean()) - 0.75) < 0.05
