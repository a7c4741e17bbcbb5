"""The parts of a step, measured: what the user wrote is named, and nothing is changed by measuring."""

from __future__ import annotations

import pickle

import pytest
import torch

import ember
import ember.distributions as dist
from ember import capture
from ember.errors import CaptureError
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam

X, Y = torch.randn(2_000, 3), torch.randn(2_000)


def model(x: torch.Tensor, y: torch.Tensor) -> None:
    slopes = ember.sample("slopes", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with ember.plate("rows", len(x)):
        ember.sample("y", dist.StudentT(4.0, x @ slopes, 1.0), obs=y)


def fitted(backend: str = "native", steps: int = 4) -> SVI:
    svi = SVI(model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO(), compile=True, backend=backend)
    for _ in range(steps):
        svi.step(X, Y)
    return svi


def test_sites_and_kinds():
    found = capture.profile(fitted(), 50)
    sites = {site for part in found.parts for site in part.sites}
    assert {"site 'y'", "site 'slopes_unconstrained'"} <= sites
    kinds = found.by_kind()
    assert {"draws", "update"} <= set(kinds) and {"both", "backward"} & set(kinds)
    assert found.microseconds == pytest.approx(sum(kinds.values()))
    slowest = found.parts[0]
    assert "site 'y'" in slowest.sites and slowest.microseconds >= found.parts[-1].microseconds
    assert slowest.estimate > 10 * min(part.estimate for part in found.parts)


def test_it_prints_a_table():
    lines = str(capture.profile(fitted(), 5)).splitlines()
    assert "µs a step over 5 steps" in lines[0] and "MiB beside the inputs" in lines[0]
    assert any("site 'y'" in line for line in lines[2:])


def test_nothing_changes():
    svi, other = fitted(), None
    state = ember.get_param_store().get_state()["params"]
    kept = {name: value.clone() for name, value in state.items()}
    random = torch.get_rng_state()
    capture.profile(svi, 10)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(state[name], value) for name, value in kept.items())
    mine = svi.step(X, Y)
    ember.clear_param_store()
    assert other is None and torch.isfinite(torch.tensor(mine))


def test_memory_is_told():
    report = capture.explain(fitted())
    (record,) = [one for one in report.captures if one.what == "step"]
    assert 0 < record.memory_bytes < 2_000 * 32 and "MiB beside its inputs" in str(report)


@pytest.mark.parametrize("steps", [1, 4])
def test_without_a_native_program(steps):
    with pytest.raises(CaptureError, match="no program to measure"):
        capture.profile(fitted("interpreter", steps))


def test_a_number_of_steps():
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        capture.profile(fitted(), 0)


def test_a_report_can_be_pickled():
    report = fitted().capture_report
    assert str(pickle.loads(pickle.dumps(report))) == str(report)


class TestEstimates:
    """What ``explain`` says without running anything."""

    @staticmethod
    def kinds(svi: SVI) -> dict[str, float]:
        return dict(svi.capture_report.captures[0].estimates)

    def test_explain_says_the_time_by_part(self):
        svi = fitted()
        text = str(capture.explain(svi))
        kinds = self.kinds(svi)
        assert {"draws", "update"} <= kinds.keys() and all(time > 0 for time in kinds.values())
        assert f"about {sum(kinds.values()) / 1e3:.3g} µs a step by the table of costs (" in text
        assert all(f"{kind} " in text for kind in kinds)

    def test_it_is_what_a_profile_gives_beside_the_measured_time(self):
        svi = fitted()
        profiled = capture.profile(svi, 5)
        assert sum(self.kinds(svi).values()) / 1e3 == pytest.approx(
            sum(part.estimate for part in profiled.parts)
        )

    @pytest.mark.parametrize("rows", [1_000, 100_000])
    def test_it_grows_with_the_rows(self, rows):
        def line(y):
            mean = ember.sample("mean", dist.Normal(0.0, 1.0))
            with ember.plate("rows", len(y)):
                ember.sample("y", dist.StudentT(4.0, mean, 1.0), obs=y)

        ember.clear_param_store()
        svi = SVI(line, AutoNormal(line), Adam({"lr": 0.01}), Trace_ELBO(), compile=True, backend="native")
        for _ in range(2):
            svi.step(torch.zeros(rows))
        nanoseconds = sum(self.kinds(svi).values())
        assert 0.1 * rows < nanoseconds < 20 * rows + 2000

    def test_products_of_large_matrices_are_what_takes_time(self):
        def process(x, y):
            length = ember.sample("length", dist.LogNormal(0.0, 0.5))
            kernel = torch.exp(-(((x[:, None] - x) / length) ** 2)) + 0.1 * torch.eye(len(x))
            factor = torch.linalg.cholesky(kernel)
            ember.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), scale_tril=factor), obs=y)

        ember.clear_param_store()
        svi = SVI(
            process, AutoNormal(process), Adam({"lr": 0.01}), Trace_ELBO(), compile=True, backend="native"
        )
        for _ in range(2):
            svi.step(torch.linspace(0.0, 1.0, 100), torch.zeros(100))
        kinds = self.kinds(svi)
        assert kinds["torch"] > 0.5 * sum(kinds.values())
