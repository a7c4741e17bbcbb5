"""The step contract: what a step returns, changes and leaves alone, also when something goes wrong."""

from __future__ import annotations

import copy
import gc
import math
import threading

import pytest
import torch
from tests import zoo

import ember
import ember.distributions as dist
from ember import poutine
from ember.errors import NonFiniteLossError
from ember.infer import SVI, Trace_ELBO
from ember.optim import SGD, Adam, ClippedAdam, ExponentialLR
from ember.params import ParamStoreDict


def _svi(known, optim=None, loss=None, **kwargs):
    return SVI(known.model, known.guide, optim or Adam({"lr": 0.05}), loss or Trace_ELBO(), **kwargs)


def _snapshot(svi):
    """Copies of all parameters, gradients and optimizer state."""
    store = svi.param_store if svi.param_store is not None else ember.get_param_store()
    leaves = {
        name: (leaf.detach().clone(), copy.deepcopy(leaf.grad)) for name, leaf in store.named_parameters()
    }
    return leaves, copy.deepcopy(svi.optim.get_state())


def _assert_same(a, b):
    assert type(a) is type(b), (a, b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), (a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            _assert_same(x, y)
    else:
        assert a == b


def test_step_returns_the_loss_before_the_step_and_leaves_zero_gradients():
    known = zoo.normal_normal()
    svi = _svi(known)
    known.guide(*known.args)
    ember.set_rng_seed(1)
    before = Trace_ELBO().loss(known.model, known.guide, *known.args)
    ember.set_rng_seed(1)
    loss = svi.step(*known.args)
    assert type(loss) is float and loss == pytest.approx(before, rel=1e-6)
    for _, leaf in ember.get_param_store().named_parameters():
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))
    assert type(svi.evaluate_loss(*known.args)) is float


def test_only_touched_parameters_are_stepped_and_late_ones_start_fresh():
    def model(late):
        ember.sample("x", dist.Normal(0.0, 1.0))

    def guide(late):
        name = "late" if late else "early"
        ember.sample("x", dist.Delta(ember.param(name, torch.tensor(3.0))))

    svi = SVI(model, guide, Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(5):
        svi.step(False)
    early = ember.param("early").item()
    svi.step(True)
    assert ember.param("early").item() == early
    # Adam's first step is lr, whatever the gradient.
    assert ember.param("late").item() == pytest.approx(2.9, abs=1e-5)
    state = svi.optim.get_state()
    assert state["early"]["state"][0]["step"] == 5 and state["late"]["state"][0]["step"] == 1


def test_blocked_parameters_are_frozen():
    known = zoo.normal_normal()
    svi = SVI(known.model, poutine.block(known.guide, hide=["scale"]), Adam({"lr": 0.1}), Trace_ELBO())
    svi.step(*known.args)
    loc, scale = ember.param("loc").item(), ember.param("scale").item()
    svi.step(*known.args)
    assert ember.param("scale").item() == scale and ember.param("loc").item() != loc


@pytest.mark.parametrize("make", zoo.ALL)
def test_evaluate_loss_changes_nothing(make):
    known = make()
    svi = _svi(known)
    for _ in range(3):
        svi.step(*known.args)
    before = _snapshot(svi)
    leaves = dict(ember.get_param_store().named_parameters())
    for _ in range(5):
        svi.evaluate_loss(*known.args)
    _assert_same(_snapshot(svi), before)
    assert all(leaf is leaves[name] for name, leaf in ember.get_param_store().named_parameters())


def test_evaluate_loss_may_make_parameters_but_no_optimizer_state():
    known = zoo.normal_normal()
    svi = _svi(known)
    svi.evaluate_loss(*known.args)
    assert set(ember.get_param_store()) == {"loc", "scale"}
    assert svi.optim.get_state() == {} and not svi.optim.optim_objs
    assert all(
        leaf.grad is None and leaf.requires_grad for _, leaf in ember.get_param_store().named_parameters()
    )


def test_keyword_arguments_reach_model_and_guide():
    seen = []

    def model(x, *, flag):
        seen.append(("model", x, flag))
        ember.sample("z", dist.Normal(0.0, 1.0))

    def guide(x, *, flag):
        seen.append(("guide", x, flag))
        ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.0)), 1.0))

    svi = SVI(model, guide, SGD({"lr": 0.1}), Trace_ELBO())
    svi.step(1, flag="a")
    svi.evaluate_loss(2, flag="b")
    assert seen == [("guide", 1, "a"), ("model", 1, "a"), ("guide", 2, "b"), ("model", 2, "b")]


def test_callable_losses():
    def simple_elbo(model, guide, *args):
        guide_trace = poutine.trace(guide).get_trace(*args)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args)
        return -(model_trace.log_prob_sum() - guide_trace.log_prob_sum())

    known = zoo.normal_normal()
    losses = {}
    for name, loss in {
        "objective": Trace_ELBO(),
        "callable": simple_elbo,
        "method": Trace_ELBO().differentiable_loss,
    }.items():
        ember.clear_param_store()
        ember.set_rng_seed(0)
        svi = _svi(known, loss=loss)
        losses[name] = [svi.step(*known.args) for _ in range(20)] + [svi.evaluate_loss(*known.args)]
    assert losses["callable"] == pytest.approx(losses["objective"], rel=1e-5)
    assert losses["method"] == pytest.approx(losses["objective"], rel=1e-5)


def test_loss_and_grads_argument_and_tuples_of_losses():
    def loss_and_grads(model, guide, *args):
        loss = Trace_ELBO().differentiable_loss(model, guide, *args)
        loss.backward()
        return loss, torch.tensor(2.0)

    known = zoo.normal_normal()
    svi = SVI(
        known.model, known.guide, Adam({"lr": 0.1}), lambda *args: (1.0, torch.tensor(2.0)), loss_and_grads
    )
    result = svi.step(*known.args)
    assert type(result) is tuple and result[1] == 2.0 and all(type(x) is float for x in result)
    assert svi.evaluate_loss(*known.args) == (1.0, 2.0)


def test_programs_without_parameters_or_sites_are_legal():
    def nothing():
        pass

    assert SVI(nothing, nothing, Adam({"lr": 0.1}), Trace_ELBO()).step() == 0.0

    def model():
        ember.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))

    expected = 0.5 + 0.5 * math.log(2 * math.pi)
    assert SVI(model, nothing, Adam({"lr": 0.1}), Trace_ELBO()).step() == pytest.approx(expected)


def test_an_optimizer_that_is_none_of_ours_is_refused():
    with pytest.raises(ValueError, match=r"pyro\.optim\.PyroOptim"):
        SVI(lambda: None, lambda: None, torch.optim.Adam([torch.zeros(1)]), Trace_ELBO())


@pytest.mark.parametrize("scheduled", [False, True])
def test_saved_and_resumed_equals_never_stopped(tmp_path, scheduled):
    known = zoo.beta_bernoulli()

    def optimizer():
        if scheduled:
            return ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": 0.9})
        return Adam({"lr": 0.1})

    def train(svi, steps):
        losses = []
        for _ in range(steps):
            losses.append(svi.step(*known.args))
            if scheduled:
                svi.optim.step()
        return losses

    whole = _svi(known, optimizer())
    uninterrupted = train(whole, 30)
    final = {name: leaf.detach().clone() for name, leaf in ember.get_param_store().named_parameters()}

    ember.clear_param_store()
    ember.set_rng_seed(0)
    first = _svi(known, optimizer())
    losses = train(first, 12)
    ember.get_param_store().save(tmp_path / "params")
    first.optim.save(tmp_path / "optim")
    rng = torch.get_rng_state()

    ember.clear_param_store()
    ember.set_rng_seed(123)
    second = _svi(known, optimizer())
    ember.get_param_store().load(tmp_path / "params")
    second.optim.load(tmp_path / "optim")
    torch.set_rng_state(rng)
    losses += train(second, 18)

    assert losses == uninterrupted
    _assert_same({name: leaf.detach() for name, leaf in ember.get_param_store().named_parameters()}, final)


class Broken(Exception):
    pass


@pytest.mark.parametrize("where", ["model", "guide", "optimizer", "interrupt"])
@pytest.mark.parametrize("steps_before", [0, 3])
def test_an_error_in_the_middle_changes_nothing(where, steps_before, monkeypatch):
    known = zoo.local_normals()
    breaking = False

    def model(data):
        known.model(data)
        ember.sample(
            "more",
            dist.Normal(ember.param("late" if breaking else "theta", torch.tensor(0.0)), 1.0),
            obs=data[0],
        )
        if breaking and where in ("model", "interrupt"):
            raise KeyboardInterrupt if where == "interrupt" else Broken

    def guide(data):
        known.guide(data)
        if breaking and where == "guide":
            with ember.plate("outer", 2, dim=-2):
                raise Broken

    svi = SVI(model, guide, Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(steps_before):
        svi.step(*known.args)
    before = _snapshot(svi)
    breaking = True

    def fail(*args, **kwargs):
        raise Broken

    if where == "optimizer":
        monkeypatch.setattr(svi.optim, "__class__", type("Failing", (type(svi.optim),), {"__call__": fail}))
    with pytest.raises((Broken, KeyboardInterrupt)):
        svi.step(*known.args)
    monkeypatch.undo()
    _assert_same(_snapshot(svi), before)
    assert poutine.runtime._PYRO_STACK == [] and poutine.runtime._DIM_ALLOCATOR._stack == []
    breaking = False
    svi.step(*known.args)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_names_the_site_and_changes_nothing(bad):
    factor = torch.tensor(0.0)

    def model(data):
        zoo_model.model(data)
        # Without validation: with it, NaN is refused as an argument of the factor already.
        ember.sample("culprit", dist.Unit(factor, validate_args=False), obs=torch.zeros(0))

    zoo_model = zoo.normal_normal()
    svi = SVI(model, zoo_model.guide, Adam({"lr": 0.1}), Trace_ELBO())
    svi.step(*zoo_model.args)
    before = _snapshot(svi)
    factor = torch.tensor(bad)
    with pytest.raises(NonFiniteLossError, match="model site 'culprit': its log density"):
        svi.step(*zoo_model.args)
    _assert_same(_snapshot(svi), before)
    if math.isnan(bad):
        with pytest.warns(UserWarning, match=r"Encountered NaN: loss.*\n.*culprit"):
            assert math.isnan(svi.evaluate_loss(*zoo_model.args))
        with (
            ember.settings.context(nonfinite_loss="warn"),
            pytest.warns(UserWarning, match="Encountered NaN: loss"),
        ):
            assert math.isnan(svi.step(*zoo_model.args))
    else:
        assert svi.evaluate_loss(*zoo_model.args) == -bad


def test_a_callable_loss_that_is_not_finite_changes_nothing():
    known = zoo.normal_normal()
    svi = _svi(
        known,
        loss=lambda model, guide, *args: Trace_ELBO().differentiable_loss(model, guide, *args) * math.nan,
    )
    with pytest.raises(NonFiniteLossError):
        svi.step(*known.args)
    assert len(ember.get_param_store()) == 0 and svi.optim.get_state() == {}


def test_private_stores_keep_two_models_apart():
    a, b = zoo.normal_normal(), zoo.local_normals()
    stores = ParamStoreDict(), ParamStoreDict()
    first, second = _svi(a, param_store=stores[0]), _svi(b, param_store=stores[1])
    for _ in range(5):
        first.step(*a.args)
        second.step(*b.args)
    assert stores[0]["loc"].shape == () and stores[1]["loc"].shape == (3,)
    assert len(ember.get_param_store()) == 0
    with stores[0].active():
        assert ember.param("loc") is stores[0]["loc"]


def test_one_optimizer_object_serves_two_private_stores():
    known = zoo.normal_normal()
    alone = _svi(known, SGD({"lr": 0.1, "momentum": 0.9}), param_store=ParamStoreDict())
    ember.set_rng_seed(0)
    expected = [alone.step(*known.args) for _ in range(10)]
    shared = SGD({"lr": 0.1, "momentum": 0.9})
    first, second = (_svi(known, shared, param_store=ParamStoreDict()) for _ in range(2))
    for svi in (first, second):
        ember.set_rng_seed(0)
        assert [svi.step(*known.args) for _ in range(10)] == expected


def test_threads_train_as_they_do_alone():
    """Maximum a posteriori fits draw no random numbers (torch's generator is shared by all threads)."""

    def program(shift):
        def model(data):
            z = ember.sample("z", dist.Normal(0.0, 3.0))
            with ember.plate("data", len(data)):
                ember.sample("x", dist.Normal(z + shift, 1.0), obs=data)

        def guide(data):
            ember.sample("z", dist.Delta(ember.param("mode", torch.tensor(0.0))))

        return model, guide

    data = torch.linspace(-1, 2, 7)

    def train(shift, results):
        svi = SVI(*program(shift), Adam({"lr": 0.05}), Trace_ELBO(), param_store=ParamStoreDict())
        losses = [svi.step(data) for _ in range(200)]
        results[shift] = (losses, svi.param_store["mode"].item())

    alone, together = {}, {}
    for shift in (0.0, 5.0):
        train(shift, alone)
    threads = [threading.Thread(target=train, args=(shift, together)) for shift in (0.0, 5.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_threads_with_random_guides_both_reach_their_posteriors():
    results = {}

    def train(make):
        known = make()
        optim, loss = (
            ClippedAdam({"lr": 0.1, "lrd": 0.01 ** (1 / 600)}),
            Trace_ELBO(20, vectorize_particles=True),
        )
        svi = _svi(known, optim, loss, param_store=ParamStoreDict())
        for _ in range(600):
            svi.step(*known.args)
        with svi.param_store.active():
            results[known.name] = known.moments(), known.posterior

    threads = [
        threading.Thread(target=train, args=(make,)) for make in (zoo.normal_normal, zoo.beta_bernoulli)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for moments, posterior in results.values():
        for site, (mean, sd) in posterior.items():
            assert moments[site][0] == pytest.approx(mean, abs=0.1 * sd)
            assert moments[site][1] == pytest.approx(sd, rel=0.1)
    assert len(results) == 2


def test_an_error_in_one_thread_leaves_the_other_alone():
    known = zoo.normal_normal()
    good = _svi(known, param_store=ParamStoreDict())
    started, failed = threading.Event(), threading.Event()

    def fail():
        def model():
            with ember.plate("outer", 3):
                started.set()
                raise Broken

        try:
            SVI(model, lambda: None, Adam({"lr": 0.1}), Trace_ELBO()).step()
        except Broken:
            failed.set()

    with ember.plate("mine", 2), poutine.scale(scale=2.0):
        depth = len(poutine.runtime._PYRO_STACK)
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        assert started.is_set() and failed.is_set()
        assert len(poutine.runtime._PYRO_STACK) == depth
        assert poutine.runtime._DIM_ALLOCATOR._stack == ["mine"]
    assert math.isfinite(good.step(*known.args))


def test_memory_is_flat_over_20_000_steps():
    def model():
        with ember.plate("rows", 4, subsample_size=2):
            ember.sample("x", dist.Normal(ember.param("theta", torch.tensor(0.5)), 1.0), obs=torch.zeros(2))

    svi = SVI(model, lambda: None, SGD({"lr": 1e-3, "momentum": 0.5}), Trace_ELBO())

    def live():
        gc.collect()
        objects = gc.get_objects()
        return sum(issubclass(type(x), torch.Tensor) for x in objects), len(objects)

    with ember.validation_enabled(False):
        for _ in range(200):
            svi.step()
        tensors, objects = live()
        for _ in range(19_800):
            svi.step()
    tensors_after, objects_after = live()
    assert tensors_after <= tensors
    assert objects_after < objects + 100


def test_deprecated_arguments_warn():
    with pytest.warns(FutureWarning, match="num_steps"):
        SVI(lambda: None, lambda: None, Adam({}), Trace_ELBO(), num_steps=3)
    with pytest.warns(FutureWarning, match="num_samples"):
        SVI(lambda: None, lambda: None, Adam({}), Trace_ELBO(), num_samples=3)
