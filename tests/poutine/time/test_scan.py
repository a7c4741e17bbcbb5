"""Loops over time: one site for each name, whose density is the sum over the steps."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.errors import ModelError
from ember.infer.autoguide import AutoNormalMessenger
from ember.infer.reparam import LocScaleReparam
from ember.structure.dependencies import get_dependencies
from tests.poutine.time.models import LEVEL, NOISE, ROWS, STEPS, data, local_level

ALL = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


def given(row, seed=1):
    return torch.randn(STEPS, *row.event_shape, generator=torch.Generator().manual_seed(seed))


@ALL
def test_a_run_has_one_site_of_each_name(row):
    x = data()
    trace = poutine.trace(row.model).get_trace(x)
    assert trace.nodes["z"].value.shape == (STEPS, *row.event_shape)
    assert trace.nodes["z"].fn.batch_shape == () == trace.nodes["x"].fn.batch_shape
    assert torch.equal(trace.nodes["x"].value, x)
    assert trace.observation_nodes.count("x") == 1 and trace.stochastic_nodes == ["z"]


@ALL
def test_the_density_is_that_by_hand(row):
    x = data()
    drawn = poutine.trace(row.model).get_trace(x)
    assert torch.allclose(drawn.log_prob_sum(), row.by_hand(x, drawn.nodes["z"].value), rtol=1e-4)
    z = given(row)
    replayed = poutine.trace(poutine.condition(row.model, data={"z": z})).get_trace(x)
    assert torch.equal(replayed.nodes["z"].value, z)
    assert torch.allclose(replayed.log_prob_sum(), row.by_hand(x, z), rtol=1e-4)


@ALL
def test_the_gradient_is_that_by_hand(row):
    x, z = data(), given(row).requires_grad_()
    trace = poutine.trace(poutine.condition(row.model, data={"z": z})).get_trace(x)
    found = torch.autograd.grad(trace.log_prob_sum(), z)[0]
    wanted = torch.autograd.grad(row.by_hand(x, z), z)[0]
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)


@ALL
def test_replay_gives_results_and_density_of_the_run(row):
    x = data()
    first = poutine.trace(row.model).get_trace(x)
    again = poutine.trace(poutine.replay(row.model, trace=first)).get_trace(x)
    assert torch.allclose(again.log_prob_sum(), first.log_prob_sum(), rtol=1e-5)
    one, other = first.nodes["_RETURN"].value, again.nodes["_RETURN"].value
    for a, b in zip(ember.tree.tensors(one), ember.tree.tensors(other), strict=True):
        assert a.shape == b.shape and torch.allclose(a, b, rtol=1e-5)


def test_draws_are_those_of_a_loop_of_single_sites():
    x = data()

    def plain():
        level = torch.tensor(0.0)
        for k in range(STEPS):
            level = ember.sample(f"z_{k}", dist.Normal(level, LEVEL))
            ember.sample(f"x_{k}", dist.Normal(level, NOISE), obs=x[k])

    traces = []
    for model, args in ((local_level, (x,)), (plain, ())):
        torch.manual_seed(5)
        traces.append(poutine.trace(model).get_trace(*args))
    loop = torch.stack([traces[1].nodes[f"z_{k}"].value for k in range(STEPS)])
    assert torch.equal(traces[0].nodes["z"].value, loop)
    assert torch.allclose(traces[0].log_prob_sum(), traces[1].log_prob_sum(), rtol=1e-5)


def test_the_evidence_of_a_local_level_is_that_of_its_normal_distribution():
    # With z integrated out, x is normal with covariance LEVEL^2 min(s, t) + NOISE^2 [s = t]; Bayes' rule at any z gives it.
    x, z = data(), given(ROWS["local_level"])
    times = torch.arange(1.0, STEPS + 1)
    prior = LEVEL**2 * torch.minimum(times[:, None], times)
    evidence = dist.MultivariateNormal(torch.zeros(STEPS), prior + NOISE**2 * torch.eye(STEPS)).log_prob(x)
    gain = torch.linalg.solve(prior + NOISE**2 * torch.eye(STEPS), prior).T
    spread = prior - gain @ prior
    posterior = dist.MultivariateNormal(gain @ x, (spread + spread.T) / 2)
    joint = poutine.trace(poutine.condition(local_level, data={"z": z})).get_trace(x).log_prob_sum()
    assert torch.allclose(joint - posterior.log_prob(z), evidence, rtol=1e-3)


def test_plates_are_left_of_time():
    x = data(0, 3)

    def model(x):
        with ember.plate("series", 3):
            local_level(x)

    trace = poutine.trace(model).get_trace(x)
    site = trace.nodes["z"]
    assert site.value.shape == (3, STEPS) and site.fn.batch_shape == (3,)
    assert torch.equal(trace.nodes["x"].value, x.T)
    alone = [ROWS["local_level"].by_hand(x[:, k], site.value[k]) for k in range(3)]
    trace.compute_log_prob()
    assert torch.allclose(site.log_prob + trace.nodes["x"].log_prob, torch.stack(alone), rtol=1e-4)


def test_plates_inside_a_step():
    x = data(0, 3)

    def model(x):
        def step(level, x):
            level = ember.sample("z", dist.Normal(level, LEVEL))
            with ember.plate("sensors", 3):
                ember.sample("x", dist.Normal(level, NOISE), obs=x)
            return level, None

        ember.scan(step, torch.tensor(0.0), x)

    z = given(ROWS["local_level"])
    trace = poutine.trace(poutine.condition(model, data={"z": z})).get_trace(x)
    assert trace.nodes["x"].fn.batch_shape == (3,) and trace.nodes["x"].plates[0].name == "sensors"
    before = torch.cat([torch.zeros(1), z[:-1]])
    wanted = dist.Normal(before, LEVEL).log_prob(z).sum() + dist.Normal(z[:, None], NOISE).log_prob(x).sum()
    assert torch.allclose(trace.log_prob_sum(), wanted, rtol=1e-4)


def test_a_subsampled_plate_around_the_loop_scales_it():
    x = data(0, 6)

    def model(x):
        with ember.plate("series", 6, subsample=torch.tensor([4, 1])) as rows:
            local_level(x[:, rows])

    trace = poutine.trace(model).get_trace(x)
    value = trace.nodes["z"].value
    alone = [ROWS["local_level"].by_hand(x[:, row], value[k]) for k, row in enumerate((4, 1))]
    assert torch.allclose(trace.log_prob_sum(), 3 * sum(alone), rtol=1e-4)


@pytest.mark.parametrize("condition", [True, False])
def test_masks_of_steps(condition):
    x = data()
    masks = torch.arange(STEPS) < 7

    def model(x):
        def step(level, inputs):
            x, counts = inputs
            with poutine.mask(mask=counts):
                level = ember.sample("z", dist.Normal(level, LEVEL))
                ember.sample("x", dist.Normal(level, NOISE), obs=x)
            return level, None

        ember.scan(step, torch.tensor(0.0), (x, masks))

    run = poutine.condition(model, data={"z": given(ROWS["local_level"])}) if condition else model
    trace = poutine.trace(run).get_trace(x)
    z = trace.nodes["z"].value
    before = torch.cat([torch.zeros(1), z[:-1]])
    terms = dist.Normal(before, LEVEL).log_prob(z) + dist.Normal(z, NOISE).log_prob(x)
    assert torch.allclose(trace.log_prob_sum(), terms[:7].sum(), rtol=1e-4)


def test_handlers_around_the_loop_see_the_path():
    x = data()
    plain = ROWS["local_level"].by_hand
    scaled = poutine.trace(poutine.scale(local_level, scale=2.0)).get_trace(x)
    assert torch.allclose(scaled.log_prob_sum(), 2 * plain(x, scaled.nodes["z"].value), rtol=1e-4)
    masked = poutine.trace(poutine.mask(local_level, mask=False)).get_trace(x)
    assert masked.log_prob_sum() == 0
    hidden = poutine.trace(poutine.block(local_level, hide=["z"])).get_trace(x)
    assert "z" not in hidden and "x" in hidden
    free = poutine.trace(poutine.uncondition(local_level)).get_trace(x)
    assert not free.nodes["x"].is_observed and not torch.equal(free.nodes["x"].value, x)
    assert torch.equal(free.nodes["x"].observation, x)
    other = torch.zeros(STEPS)
    observed = poutine.trace(poutine.condition(local_level, data={"x": other})).get_trace(x)
    assert torch.equal(observed.nodes["x"].value, other)


def test_scale_inside_a_step():
    def model(x):
        def step(level, x):
            with poutine.scale(scale=3.0):
                ember.sample("x", dist.Normal(level, NOISE), obs=x)
            return level, None

        ember.scan(step, torch.tensor(0.0), x)

    x = data()
    trace = poutine.trace(model).get_trace(x)
    assert torch.allclose(trace.log_prob_sum(), 3 * dist.Normal(0.0, NOISE).log_prob(x).sum())


def test_a_loop_in_a_loop():
    x = torch.randn(4, 10, generator=torch.Generator().manual_seed(2))

    def model(x):
        def day(level, x):
            level = ember.sample("day", dist.Normal(level, LEVEL))

            def hour(state, x):
                state = ember.sample("hour", dist.Normal(state, 0.1))
                ember.sample("x", dist.Normal(state, NOISE), obs=x)
                return state, None

            ember.scan(hour, level, x)
            return level, None

        ember.scan(day, torch.tensor(0.0), x)

    trace = poutine.trace(model).get_trace(x)
    day, hour = trace.nodes["day"].value, trace.nodes["hour"].value
    assert day.shape == (4,) and hour.shape == (4, 10) and trace.nodes["hour"].fn.batch_shape == ()
    total = dist.Normal(torch.cat([torch.zeros(1), day[:-1]]), LEVEL).log_prob(day).sum()
    total = total + dist.Normal(torch.cat([day[:, None], hour[:, :-1]], 1), 0.1).log_prob(hour).sum()
    total = total + dist.Normal(hour, NOISE).log_prob(x).sum()
    assert torch.allclose(trace.log_prob_sum(), total, rtol=1e-4)
    again = poutine.trace(poutine.replay(model, trace=trace)).get_trace(x)
    assert torch.allclose(again.log_prob_sum(), total, rtol=1e-4)


def test_outside_of_inference_it_is_a_loop():
    carry, ys = ember.scan(lambda c, x: (c + x, {"twice": 2 * c}), torch.tensor(1.0), torch.arange(4.0))
    assert carry == 7.0 and ys["twice"].tolist() == [2.0, 2.0, 4.0, 8.0]
    carry, ys = ember.scan(lambda c, x: (c + 1, None), 0, length=5)
    assert carry == 5 and ys is None


def _step(level, x):
    level = ember.sample("z", dist.Normal(level, 1.0))
    return level, None


def _with(change):
    def step(level, x):
        if int(x) == 3:
            return change(level)
        return _step(level, x)

    return lambda: ember.scan(step, torch.tensor(0.0), torch.arange(6.0))


def _twice(level):
    _step(level, None)
    return _step(level, None)


def _another(level):
    ember.sample("other", dist.Normal(0.0, 1.0))
    return _step(level, None)


def _observed(level):
    return ember.sample("z", dist.Normal(level, 1.0), obs=torch.tensor(0.0)), None


def _wider(level):
    ember.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    return level, None


def _scaled(level):
    with poutine.scale(scale=2.0):
        return _step(level, None)


def _subsampled(level, x):
    with ember.plate("rows", 10, subsample_size=3):
        ember.sample("z", dist.Normal(0.0, 1.0))
    return level, None


def _enumerated(level, x):
    ember.sample("z", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    return level, None


ZERO = torch.tensor(0.0)
ERRORS = {
    "no length": (lambda: ember.scan(_step, ZERO), "give length="),
    "other length": (lambda: ember.scan(_step, ZERO, torch.zeros(3), length=4), "length=4, but xs has 3"),
    "no steps": (lambda: ember.scan(_step, ZERO, torch.zeros(0)), "0 steps"),
    "sizes": (lambda: ember.scan(_step, ZERO, (torch.zeros(3), torch.zeros(4))), r"\[3, 4\]"),
    "no tensor": (lambda: ember.scan(_step, ZERO, [1.0, 2.0]), "steps along dim 0"),
    "no pair": (lambda: ember.scan(lambda c, x: c, ZERO, torch.zeros(3)), "pair"),
    "structure": (lambda: ember.scan(lambda c, x: ((c, c), x), ZERO, torch.zeros(3)), "structure"),
    "first shape": (lambda: ember.scan(lambda c, x: (c[0], x), torch.zeros(2), torch.zeros(3)), "broadcasts"),
    "later shape": (_with(lambda level: (level.expand(2), None)), "after step 3"),
    "dtype": (lambda: ember.scan(lambda c, x: (c.double(), x), ZERO, torch.zeros(3)), "float64"),
    "missing": (_with(lambda level: (level, None)), "'z' in a scan is missing in step 3"),
    "new": (_with(_another), "'other' in a scan appears in step 3"),
    "twice": (_with(_twice), "two sites named 'z'"),
    "observed": (_with(_observed), "'z' in a scan is observed in some steps"),
    "event shape": (_with(_wider), "site 'z' in a scan: .*event shape"),
    "scale": (_with(_scaled), "'z' in a scan is scaled"),
    "subsample": (lambda: ember.scan(_subsampled, ZERO, length=3), "plate 'rows' in a scan"),
    "enumerate": (lambda: ember.scan(_enumerated, ZERO, length=3), "'z' in a scan asks for enumeration"),
}


@pytest.mark.parametrize("run, text", ERRORS.values(), ids=ERRORS.keys())
def test_errors_say_what_does_not_fit(run, text):
    with pytest.raises(ModelError, match=text), poutine.block():
        run()
    assert not poutine.runtime.THREAD.stack


def test_a_value_of_another_length_is_refused():
    model = poutine.condition(local_level, data={"z": torch.zeros(STEPS + 1)})
    with pytest.raises(ModelError, match=rf"site 'z' in a scan of {STEPS} steps: .*\({STEPS + 1},\)"):
        model(data())


REFUSED = {
    "reparam": (
        lambda f: poutine.reparam(f, config={"z": LocScaleReparam()}),
        "makes a statement of its own",
    ),
    "do": (lambda f: poutine.do(f, data={"z": torch.zeros(STEPS)}), "makes a statement of its own"),
    "equalize": (lambda f: poutine.equalize(f, ["x", "z"]), "poutine.equalize around the scan"),
    "guide": (AutoNormalMessenger, "changes its distribution"),
}


@pytest.mark.parametrize("handler, text", REFUSED.values(), ids=REFUSED.keys())
def test_handlers_that_need_the_whole_path_at_once_are_refused(handler, text):
    with pytest.raises(ModelError, match=f"site 'z' in a scan.*{text}"):
        handler(local_level)(data())
    assert not poutine.runtime.THREAD.stack


def test_interventions_and_equal_sites_inside_of_a_step():
    def step(level, x):
        return ember.sample("z", dist.Normal(level, LEVEL)), level

    model = lambda f: lambda: ember.scan(f, torch.tensor(0.0), torch.zeros(STEPS))
    trace = poutine.trace(model(poutine.do(step, data={"z": torch.tensor(3.0)}))).get_trace()
    (last, levels) = trace.nodes["_RETURN"].value
    assert last == 3.0 and levels[1:].eq(3.0).all()
    assert trace.nodes["z"].value.shape == (STEPS,) and not trace.nodes["z"].value.eq(3.0).any()


def test_what_depends_on_what_is_seen_through_the_steps():
    found = get_dependencies(local_level, (data(),))["prior_dependencies"]
    assert found == {"z": {"z": set()}, "x": {"x": set(), "z": set()}}


def test_a_reparameterised_step():
    def step(level, x):
        level = ember.sample("z", dist.Normal(level, LEVEL))
        ember.sample("x", dist.Normal(level, NOISE), obs=x)
        return level, None

    def model(x):
        centered = LocScaleReparam(centered=0.0)
        ember.scan(poutine.reparam(step, config={"z": centered}), torch.tensor(0.0), x)

    x = data()
    trace = poutine.trace(model).get_trace(x)
    noise, z = trace.nodes["z_decentered"].value, trace.nodes["z"].value
    assert trace.stochastic_nodes == ["z_decentered"] and torch.allclose(
        z, LEVEL * noise.cumsum(0), atol=1e-5
    )
    wanted = dist.Normal(0.0, 1.0).log_prob(noise).sum() + dist.Normal(z, NOISE).log_prob(x).sum()
    assert torch.allclose(trace.log_prob_sum(), wanted, rtol=1e-4)


def test_equal_sites_inside_of_a_step():
    def step(level, x):
        one = ember.sample("one", dist.Normal(level, 1.0))
        return ember.sample("other", dist.Normal(level, 1.0)), one

    equal = poutine.equalize(step, ["one", "other"])
    trace = poutine.trace(lambda: ember.scan(equal, torch.tensor(0.0), length=5)).get_trace()
    assert torch.equal(trace.nodes["one"].value, trace.nodes["other"].value)


@pytest.mark.parametrize("steps", [3, 12])
def test_parameters_deterministic_sites_and_factors_inside_of_a_step(steps):
    def step(level, x):
        scale = ember.param("scale", torch.tensor(0.5))
        level = ember.sample("z", dist.Normal(level, scale))
        ember.deterministic("square", level**2)
        ember.factor("penalty", -level.abs())
        return level, None

    z = torch.linspace(-1.0, 1.0, steps)
    model = poutine.condition(lambda: ember.scan(step, ZERO, length=steps), data={"z": z})
    trace = poutine.trace(model).get_trace()
    assert torch.equal(trace.nodes["square"].value, z**2) and trace.param_nodes == ["scale"]
    before = torch.cat([torch.zeros(1), z[:-1]])
    wanted = dist.Normal(before, 0.5).log_prob(z).sum() - z.abs().sum()
    assert torch.allclose(trace.log_prob_sum(), wanted, rtol=1e-4)
