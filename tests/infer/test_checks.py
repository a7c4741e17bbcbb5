"""Models and guides that do not fit together: warnings and errors that name site, shapes and the way out."""

from __future__ import annotations

import warnings

import pytest
import torch

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.traces.checks import check_traces_match
from ember.optim import Adam
from ember.poutine import trace


def _step(model, guide, **elbo):
    svi = SVI(model, guide, Adam({"lr": 0.1}), Trace_ELBO(**elbo))
    return svi.step()


def _normal(name, *shape, event=0, **kwargs):
    def program():
        loc = (
            ember.param(f"loc_{len(shape)}_{event}", torch.zeros(shape))
            if kwargs.get("train")
            else torch.zeros(shape)
        )
        ember.sample(name, dist.Normal(loc, 1.0).to_event(event), infer=kwargs.get("infer"))

    return program


def test_a_right_program_runs_without_a_warning():
    def model():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 3, subsample_size=2):
            ember.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(2))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _step(model, _normal("z", train=True))


def test_a_site_that_the_guide_lacks_warns():
    with pytest.warns(UserWarning, match="Found vars in model but not guide: {'z'}"):
        _step(_normal("z"), lambda: None)


def test_a_site_that_the_model_lacks_warns_unless_it_is_auxiliary():
    def both():
        _normal("z")()
        _normal("extra")()

    def marked():
        _normal("z")()
        _normal("extra", infer={"is_auxiliary": True})()

    with pytest.warns(UserWarning, match="Found non-auxiliary vars in guide but not model"):
        _step(_normal("z"), both)
    _step(_normal("z"), marked)


def test_a_plate_that_the_model_lacks_warns():
    def guide():
        with ember.plate("rows", 2):
            pass

    with pytest.warns(UserWarning, match="Found plate statements in guide but not model: {'rows'}"):
        _step(lambda: None, guide)


def test_an_auxiliary_site_in_the_model_warns():
    with pytest.warns(UserWarning, match="Found auxiliary vars in the model: {'z'}"):
        _step(_normal("z"), _normal("z", infer={"is_auxiliary": True}))


def test_sites_for_enumeration_warn():
    def program():
        ember.sample("z", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})

    with pytest.warns(UserWarning, match="Found sample sites configured for enumeration"):
        _step(program, program)


@pytest.mark.parametrize(
    ("model", "guide", "message"),
    [
        (_normal("z", 3, event=1), _normal("z", 4, event=1), "Model and guide shapes disagree at site 'z'"),
        (_normal("z", 3, event=1), _normal("z"), "Model and guide event_dims disagree at site 'z': 1 vs 0"),
        (
            _normal("z", 3),
            _normal("z", 3),
            'at site "z", invalid log_prob shape\n  Expected \\[\\], actual \\[3\\]',
        ),
    ],
)
def test_shapes_that_disagree_raise_and_make_no_parameter(model, guide, message):
    def guide_with_parameter():
        ember.param("made", torch.tensor(1.0))
        guide()

    with pytest.raises(ValueError, match=message):
        _step(model, guide_with_parameter)
    assert len(ember.get_param_store()) == 0


def test_plates_nested_deeper_than_promised_raise():
    def program():
        with ember.plate("a", 2), ember.plate("b", 3):
            ember.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(
        ValueError,
        match=r'at site "z", plate stack overflow\n  Try increasing max_plate_nesting to at least 2',
    ):
        _step(program, program, max_plate_nesting=1)


def test_the_way_out_is_part_of_the_message():
    with pytest.raises(ValueError, match="to_event"):
        _step(_normal("z", 3), _normal("z", 3))


def test_a_factor_in_a_guide_must_say_whether_it_is_reparameterised():
    def guide():
        ember.factor("f", torch.tensor(1.0))

    with pytest.raises(
        ValueError, match=r'At guide site pyro\.factor\("f",\.\.\.\), missing specification of has_rsample'
    ):
        _step(lambda: None, guide)

    def right():
        ember.factor("f", torch.tensor(1.0), has_rsample=True)

    assert _step(lambda: None, right) == pytest.approx(1.0)


def test_a_site_to_be_enumerated_in_sequence_in_the_model_is_refused():
    def model():
        ember.sample("z", dist.Bernoulli(0.5), infer={"enumerate": "sequential"})

    with pytest.raises(NotImplementedError, match="model-side sequential enumeration"):
        _step(model, lambda: None)


def test_without_validation_nothing_is_checked():
    with ember.validation_enabled(False), warnings.catch_warnings():
        warnings.simplefilter("error")
        _step(_normal("z", 3), lambda: None)


def test_runs_of_one_program_can_be_compared():
    def program(size, extra=False):
        ember.sample("z", dist.Normal(torch.zeros(size), 1.0))
        if extra:
            ember.sample("y", dist.Normal(0.0, 1.0))

    runs = [trace(program).get_trace(*args) for args in ((2,), (2,), (3,), (2, True))]
    check_traces_match(runs[0], runs[1])
    with pytest.raises(ValueError, match="Site dims disagree at site 'z'"):
        check_traces_match(runs[0], runs[2])
    with pytest.warns(UserWarning, match="Model vars changed"):
        check_traces_match(runs[0], runs[3])
