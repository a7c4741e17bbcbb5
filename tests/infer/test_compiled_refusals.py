"""What cannot be captured, or not compiled by Ember's own backend, says so and how to go on; nothing gives other numbers."""

from __future__ import annotations

import warnings

import pytest
import torch
from tests.infer.everywhere import Program, assert_everywhere, assert_same, fit

import ember
import ember.distributions as dist
from ember.errors import CaptureError
from ember.infer import SVI, Trace_ELBO, autoguide
from ember.optim import Adam

pytestmark = pytest.mark.usefixtures("float64")
DATA = torch.tensor([-1.8, -2.3, 2.1, 1.7, 2.4, -2.0], dtype=torch.float64)


def directions(x):
    """Torch draws until all of its proposals are accepted: how often is for their values to say."""
    z = ember.sample("z", dist.VonMises(0.3, 2.0).expand([40]).to_event(1))
    ember.sample("x", dist.Normal(z[0], 1.0).expand(x.shape).to_event(1), obs=x)


def directions_guide(x):
    loc = ember.param("loc", torch.tensor(0.1))
    ember.sample("z", dist.VonMises(loc, 2.0).expand([40]).to_event(1))


def some_rows(x):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    for i in ember.plate("rows", len(x), subsample_size=2):
        ember.sample(f"x{i}", dist.Normal(z, 1.0), obs=x[i])


def some_rows_guide(x):
    ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.1)), 1.0))


@pytest.mark.parametrize("model, guide", [(directions, directions_guide), (some_rows, some_rows_guide)])
def test_what_cannot_be_captured_says_so_and_runs_eagerly_under_auto(model, guide):
    program = Program(lambda: (model, guide, (DATA,)))
    with pytest.raises(CaptureError, match=r"asks for the value of a tensor(.|\n)*The way out"):
        fit(program, "compiled", "native")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        automatic = fit(program, "auto")
    assert len(caught) == 1 and "SVI runs eagerly" in str(caught[0].message)
    assert_same(automatic, fit(program, "eager"))


def test_what_the_native_backend_refuses_says_so():
    def model(x):
        z = ember.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))
        spectrum = torch.view_as_real(torch.fft.rfft(z))
        ember.sample("x", dist.Normal(spectrum.sum(), 1.0), obs=x[0])

    program = Program(lambda: (model, autoguide.AutoNormal(model), (DATA,)))
    with pytest.raises(
        CaptureError, match=r'the native backend: the dtype complex128\nThe way out: .*backend="auto"'
    ):
        fit(program, "compiled", "native")
    assert_everywhere(program, ("compiled",), "interpreter")


def test_a_matrix_that_cannot_be_factorised_is_an_error_in_a_compiled_step_too():
    scale = torch.ones(())

    def model():
        m = ember.param("m", torch.zeros(2))
        # Validation would have found it before.
        matrix = dist.MultivariateNormal(m, scale * torch.eye(2), validate_args=False)
        ember.sample("x", matrix, obs=torch.ones(2))

    ember.clear_param_store()
    svi = SVI(model, lambda: None, Adam({"lr": 0.1}), Trace_ELBO(), compile=True, backend="native")
    for _ in range(4):
        svi.step()
    scale.fill_(-1.0)
    before = ember.param("m").detach().clone()
    with pytest.raises(torch.linalg.LinAlgError, match="not positive-definite"):
        svi.step()
    assert torch.equal(ember.param("m"), before)
    scale.fill_(1.0)
    svi.step()


def test_one_hot_vectors_of_data_and_of_draws():
    """torch looks at the values to see whether they are in range."""

    def model(x):
        w = ember.param("w", torch.linspace(0.0, 1.0, 3))
        k = ember.sample("k", dist.OneHotCategoricalStraightThrough(torch.ones(3)))
        rows = torch.nn.functional.one_hot(torch.tensor([2, 0]), 3).to(w)
        ember.sample("x", dist.Normal((rows + k) @ w, 1.0).to_event(1), obs=x[:2])

    def guide(x):
        logits = ember.param("logits", torch.tensor([0.1, 0.2, 0.3]))
        ember.sample("k", dist.OneHotCategoricalStraightThrough(logits=logits))

    assert_everywhere(Program(lambda: (model, guide, (DATA,))))
