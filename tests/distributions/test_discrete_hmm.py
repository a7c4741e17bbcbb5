"""Hidden Markov models with discrete states: against enumeration, and products along chains against loops."""

from __future__ import annotations

import pickle
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.infer import TraceEnum_ELBO
from ember.ops.chain_products import compose_maps, sequential_logmatmulexp

pytestmark = pytest.mark.usefixtures("float64")


@given(time=st.integers(1, 12), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_products_equal_loops(time, seed):
    torch.manual_seed(seed)
    matrices = torch.rand(2, time, 3, 3, dtype=torch.float64)
    matrices[matrices < 0.1] = 0.0
    product = matrices[:, 0]
    for t in range(1, time):
        product = product @ matrices[:, t]
    assert torch.allclose(sequential_logmatmulexp(matrices.log()).exp(), product)
    maps = torch.randint(3, (2, time, 3))
    expected = [maps[:, 0]]
    for t in range(1, time):
        expected.append(maps[:, t].gather(-1, expected[-1]))
    assert torch.equal(compose_maps(maps), torch.stack(expected, -2))


def make(time=None, batch=(), states=3):
    shape = (*batch, 1 if time is None else time)
    observation = dist.Normal(torch.randn(*shape, states), 0.5)
    return dist.DiscreteHMM(torch.randn(*batch, states), torch.randn(*shape, states, states), observation)


def test_density_is_that_of_the_program():
    hmm, data = make(6), torch.randn(6)

    def model():
        x = ember.sample("x", dist.Categorical(logits=hmm.initial_logits), infer={"enumerate": "parallel"})
        for t in ember.markov(range(6)):
            x = ember.sample(
                f"x{t}", dist.Categorical(logits=hmm.transition_logits[t, x]), infer={"enumerate": "parallel"}
            )
            ember.sample(f"y{t}", dist.Normal(hmm.observation_dist.loc[t, x], 0.5), obs=data[t])

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found vars in model but not guide")
        elbo = TraceEnum_ELBO(max_plate_nesting=0)
        assert elbo.loss(model, lambda: None) == pytest.approx(-hmm.log_prob(data).item(), abs=1e-10)
        last = elbo.compute_marginals(model, lambda: None)["x5"]
    assert torch.allclose(hmm.filter(data).probs, last.probs)


def test_shapes():
    hmm = make(4, (2,))
    assert (hmm.batch_shape, hmm.event_shape, hmm.duration) == ((2,), (4,), 4)
    wide = hmm.expand((5, 2))
    value = wide.sample((7,))
    assert value.shape == (7, 5, 2, 4)
    assert wide.log_prob(value).shape == (7, 5, 2)
    assert torch.allclose(wide.log_prob(value), hmm.log_prob(value))
    copied = pickle.loads(pickle.dumps(hmm))
    assert torch.equal(copied.log_prob(value), hmm.log_prob(value))
    assert isinstance(hmm.support, type(constraints.real_vector)) and hmm.support.event_dim == 1


def test_models_without_a_duration_take_sequences_of_any_length():
    hmm = make()
    assert hmm.duration is None and hmm.event_shape == (1,)
    assert hmm.log_prob(torch.randn(9)).shape == ()
    with pytest.raises(AssertionError, match="duration"):
        hmm.sample()
    fixed = dist.DiscreteHMM(hmm.initial_logits, hmm.transition_logits, hmm.observation_dist, duration=9)
    value = fixed.sample()
    assert value.shape == (9,)
    assert torch.allclose(fixed.log_prob(value), hmm.log_prob(value))


def test_densities_sum_to_one_and_samples_follow_them():
    hmm = dist.DiscreteHMM(
        torch.randn(2), torch.randn(2, 2), dist.Bernoulli(torch.tensor([0.1, 0.8])), duration=3
    )
    outcomes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    probs = hmm.log_prob(outcomes).exp()
    assert probs.sum().item() == pytest.approx(1.0)
    count = 4000
    drawn = (hmm.sample((count,)) @ torch.tensor([4.0, 2.0, 1.0])).long()
    frequency = torch.bincount(drawn, minlength=8) / count
    assert ((frequency - probs).abs() < 4.5 * (probs * (1 - probs) / count).sqrt()).all()


def test_gradients_are_finite_where_transitions_are_impossible():
    logits = torch.tensor([[0.0, -torch.inf], [0.3, 0.1]], requires_grad=True)
    hmm = dist.DiscreteHMM(torch.zeros(2), logits, dist.Normal(torch.tensor([0.0, 1.0]), 1.0))
    (gradient,) = torch.autograd.grad(hmm.log_prob(torch.randn(5)), logits)
    assert torch.isfinite(gradient).all()
    transition = logits.detach().softmax(-1)
    assert hmm.transition_logits.exp().detach() == pytest.approx(transition)


def test_refusals():
    normal = dist.Normal(torch.zeros(3), 1.0)
    for arguments, text in (
        ((torch.zeros(()), torch.zeros(3, 3), normal), "initial_logits to have at least one dim"),
        ((torch.zeros(3), torch.zeros(3), normal), "transition_logits to have at least two dims"),
        ((torch.zeros(3), torch.zeros(3, 3), dist.Normal(0.0, 1.0)), "at least one batch dim"),
        ((torch.zeros(3), torch.zeros(4, 3, 3), normal, None, 5), "duration, event_shape mismatch: 5 vs"),
    ):
        with pytest.raises(ValueError, match=text):
            dist.DiscreteHMM(*arguments)
    with pytest.raises(ValueError, match="too few dimensions"):
        make(4).log_prob(torch.zeros(()))
    with pytest.raises(ValueError):
        make(4).log_prob(torch.zeros(5))
