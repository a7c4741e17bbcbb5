"""What enumeration refuses or warns of, and what the messages say."""

from __future__ import annotations

import warnings

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import SVI, Trace_ELBO, TraceEnum_ELBO, TraceTMC_ELBO, config_enumerate
from ember.optim import Adam


def no_guide(*args):
    pass


@pytest.fixture(autouse=True)
def _sites_summed_out_of_the_model_are_not_missing():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found vars in model but not guide")
        yield


def loss(model, guide=no_guide, nesting=1):
    return TraceEnum_ELBO(max_plate_nesting=nesting).loss(model, guide)


def coin(name, p=0.5, **kwargs):
    return ember.sample(name, dist.Bernoulli(p), **kwargs)


def test_sequential_enumeration_in_the_model():
    def model():
        coin("k", infer={"enumerate": "sequential"})

    with pytest.raises(
        NotImplementedError, match=r"'k', model-side sequential enumeration is not implemented"
    ):
        loss(model)


def test_scales_that_differ():
    @config_enumerate
    def model():
        k = coin("k")
        with ember.plate("rows", 10, subsample_size=2):
            coin("x", 0.2 + 0.5 * k, obs=torch.ones(()))

    with pytest.raises(
        ValueError, match=r"Expected all enumerated sample sites to share a common poutine.scale.*'k'"
    ):
        loss(model)


@pytest.mark.parametrize("second", [0.5, 0.25])
def test_scales_given_as_tensors_are_compared_by_value(second):
    @config_enumerate
    def model():
        with poutine.scale(scale=torch.tensor(0.5)):
            k = coin("k")
        with poutine.scale(scale=torch.tensor(second)):
            coin("x", 0.2 + 0.5 * k, obs=torch.ones(()))

    if second == 0.5:
        assert loss(model) == pytest.approx(0.5 * -torch.tensor(0.45).log().item(), abs=1e-6)
    else:
        with pytest.raises(ValueError, match=r"common poutine\.scale"):
            loss(model)


def test_scales_that_are_no_scalars():
    @config_enumerate
    def model():
        with ember.plate("rows", 2), poutine.scale(scale=torch.tensor([0.5, 2.0])):
            coin("k")

    with pytest.raises(ValueError, match=r"enumeration only supports scalar poutine.scale.*'k'.*\(2,\)"):
        loss(model)


def test_plates_that_make_no_tree():
    @config_enumerate
    def model():
        a, b = ember.plate("a", 2, dim=-1), ember.plate("b", 3, dim=-2)
        w = coin("w")
        with a:
            x = coin("x", 0.2 + 0.5 * w)
        with b:
            y = coin("y", 0.2 + 0.5 * w)
        with a, b:
            coin("z", 0.2 + 0.3 * x + 0.2 * y, obs=torch.ones(3, 2))

    with pytest.raises(NotImplementedError, match="Expected tree-structured plate nesting"):
        loss(model, nesting=2)


def test_models_enumerated_further_out_than_their_guides():
    def model():
        x = coin("x", infer={"enumerate": "parallel"})
        with ember.plate("rows", 3):
            coin("y", 0.2 + 0.5 * x)

    def guide():
        with ember.plate("rows", 3):
            coin("y", infer={"enumerate": "parallel"})

    with pytest.raises(
        ValueError,
        match=r"Expected model enumeration to be no more global than guide.*'y' in plate\('rows'\)",
    ):
        loss(model, guide)


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_sites_that_follow_enumerated_sites_inside_a_plate(mode):
    @config_enumerate(default=mode)
    def model():
        with ember.plate("rows", 2):
            coin("inside")
        coin("outside")

    with pytest.warns(
        RuntimeWarning, match=r'(?s)site "outside", possibly invalid dependency.*"inside".*"rows"'
    ):
        loss(model, model)


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_different_iterations_of_a_sequential_plate_are_no_dependency(mode):
    @config_enumerate(default=mode)
    def model():
        rows = ember.plate("rows", 2)
        for i in ember.plate("steps", 3):
            coin(f"outside{i}")
            with rows:
                coin(f"inside{i}")

    assert loss(model, model) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("history", [0, 1])
def test_histories_that_are_too_short(history):
    @config_enumerate
    def model():
        x = y = 0.0
        for t in ember.markov(range(4), history=history):
            x, y = coin(f"x{t}", 0.2 + 0.3 * x + 0.3 * y), x

    with pytest.raises(
        ValueError, match=r"(?s)Enumeration dim conflict at site.*Try increasing pyro.markov history"
    ):
        loss(model, nesting=0)


def test_batches_without_a_plate():
    @config_enumerate
    def model():
        coin("k", torch.full((3,), 0.5))

    with pytest.raises(ValueError, match='at site "k", invalid log_prob shape'):
        loss(model)


def test_plates_beyond_the_nesting():
    @config_enumerate
    def model():
        with ember.plate("rows", 2):
            coin("k")

    with pytest.raises(ValueError, match="Try increasing max_plate_nesting to at least 1"):
        loss(model, nesting=0)


def test_supports_that_cannot_be_enumerated():
    def model():
        ember.sample("k", dist.Poisson(3.0), infer={"enumerate": "parallel"})

    with pytest.raises(NotImplementedError):
        loss(model)


@pytest.mark.parametrize("objective", [TraceEnum_ELBO, TraceTMC_ELBO])
def test_nothing_to_enumerate(objective):
    def program():
        coin("k")

    with pytest.warns(UserWarning, match="ound no sample sites configured for enumeration"):
        objective(max_plate_nesting=0).loss(program, program)
    quiet = objective(max_plate_nesting=0, strict_enumeration_warning=False)
    assert quiet.loss(program, program) == 0.0


def test_objectives_that_do_not_enumerate():
    program = config_enumerate(lambda: coin("k"))
    with pytest.warns(UserWarning, match="Found sample sites configured for enumeration: k"):
        Trace_ELBO().loss(program, program)


def test_sampling_in_parallel_that_is_biased():
    def model():
        coin("a")
        coin("b")

    def guide():
        coin("a", infer={"enumerate": "parallel", "num_samples": 3})
        coin("b", infer={"enumerate": "parallel", "num_samples": 2})

    with pytest.warns(UserWarning, match="Using different numbers of Monte Carlo samples"):
        loss(model, guide)
    with pytest.warns(RuntimeWarning, match="Site a is multiply sampled in model"):
        loss(config_enumerate(lambda: coin("a"), num_samples=2))


def test_losses_without_a_gradient():
    program = config_enumerate(lambda: coin("k"))
    with pytest.raises(ValueError, match="ELBO is cannot be differentiated"):
        TraceEnum_ELBO(max_plate_nesting=0).differentiable_loss(program, program)


def test_messengers_as_guides():
    class Guide(poutine.Messenger):
        def __call__(self):
            pass

    with pytest.raises(NotImplementedError, match="TraceEnum_ELBO does not support GuideMessenger"):
        loss(no_guide, Guide())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"default": "bogus"}, "Invalid default value"),
        ({"expand": 3}, "Invalid expand value"),
        ({"num_samples": -1}, "Invalid num_samples"),
        ({"num_samples": 2, "default": "sequential"}, 'does not support "sequential" sampling'),
    ],
)
def test_wrong_configurations(options, text):
    with pytest.raises(ValueError, match=text):
        config_enumerate(no_guide, **options)


def test_configurations_leave_alone_what_is_set():
    @config_enumerate
    @config_enumerate(default="sequential", expand=True)
    def program():
        coin("discrete")
        coin("own", infer={"enumerate": None})
        coin("seen", obs=torch.ones(()))
        ember.sample("continuous", dist.Normal(0.0, 1.0))

    sites = poutine.trace(program).get_trace().nodes
    assert sites["discrete"]["infer"] == {"enumerate": "sequential", "expand": True}
    assert sites["own"]["infer"] == {"enumerate": None, "expand": True}
    assert sites["seen"]["infer"] == sites["continuous"]["infer"] == {}
    sampled = poutine.trace(config_enumerate(program, num_samples=4, tmc="full")).get_trace().nodes
    assert sampled["continuous"]["infer"] == {
        "enumerate": "parallel",
        "num_samples": 4,
        "expand": True,
        "tmc": "full",
    }


def test_bad_steps_change_no_parameter():
    """An error on the way leaves no handler and no dim behind, and the store as it was."""

    @config_enumerate
    def model(fail):
        p = ember.param("p", torch.tensor(0.4))
        with ember.plate("rows", 2):
            k = coin("k", p)
            if fail:
                raise ZeroDivisionError
            coin("x", 0.2 + 0.5 * k, obs=torch.ones(2))

    svi = SVI(model, no_guide, Adam({"lr": 0.1}), TraceEnum_ELBO(max_plate_nesting=1))
    svi.step(False)
    before = ember.param("p").detach().clone()
    with pytest.raises(ZeroDivisionError):
        svi.step(True)
    assert torch.equal(ember.param("p"), before)
    svi.step(False)
