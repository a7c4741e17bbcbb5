"""Reparameterisation in programs: fits, strategies, handlers around it, and what is said when it does not fit."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

import ember
import ember.distributions as dist
from ember import poutine
from ember.capture import Interpreter
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide.dependent.structured import AutoStructured
from ember.infer.autoguide.packed.diagonal_normal import AutoDiagonalNormal
from ember.infer.autoguide.sitewise.normal import AutoNormal
from ember.infer.reparam import (
    AutoReparam,
    ConjugateReparam,
    DiscreteCosineReparam,
    GumbelSoftmaxReparam,
    HaarReparam,
    LatentStableReparam,
    LocScaleReparam,
    MinimalReparam,
    NeuTraReparam,
    ProjectedNormalReparam,
    SplitReparam,
    StableReparam,
    StructuredReparam,
    StudentTReparam,
    SymmetricStableReparam,
    TransformReparam,
    UnitJacobianReparam,
)
from ember.infer.reparam.reparam import Reparam
from ember.infer.reparam.strategies import Strategy
from ember.optim import Adam

from .reparam_table import BIJECTIVE, NOISY, SPLIT, latent_names

DATA = torch.tensor([[0.3, -0.2, 0.9, 0.1], [1.0, 0.4, -0.6, 0.2], [0.0, 0.5, 0.3, -0.9]])


def fit(model, guide, steps=6, compile=False):
    ember.clear_param_store()
    ember.set_rng_seed(0)
    svi = SVI(model, guide, Adam({"lr": 0.05}), Trace_ELBO(), compile=compile)
    if compile:
        svi.programs.backend = Interpreter()
    return [svi.step() for _ in range(steps)]


@pytest.mark.parametrize("row", [*BIJECTIVE, *NOISY, SPLIT], ids=lambda row: row.name)
def test_compiled_steps_are_eager_steps(row):
    """Parameters reach the site through its distribution, and all of them are trained."""

    def model():
        loc = ember.param("loc", torch.full((3, 4), 0.2))
        scale = ember.param("scale", torch.full((3, 4), 0.7), constraint=dist.constraints.positive)
        with ember.plate("rows", 3):
            x = ember.sample("x", row.fn(loc, scale))
            ember.sample("y", dist.Normal(x, 0.5).to_event(1), obs=DATA)

    losses = {}
    for compile in (False, True):
        reparam_model = poutine.reparam(model, config={"x": row.reparam()})
        guide = (lambda: None) if row.name == "Conjugate" else AutoNormal(reparam_model)
        losses[compile] = fit(reparam_model, guide, compile=compile)
        if not compile:
            assert (ember.param("scale").detach() != 0.7).all()
            assert row.name == "Conjugate" or (ember.param("loc").detach() != 0.2).all()
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)
    assert all(map(math.isfinite, losses[True]))


def test_decentering_finds_the_posterior():
    """A mean-field guide of the decentered model; exact answer by one quadrature over the shared scale."""
    data = torch.tensor([0.9, 1.1, 0.7, 1.3])

    def model():
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        with ember.plate("groups", 4):
            x = ember.sample("x", dist.Normal(mu, 0.3))
            ember.sample("y", dist.Normal(x, 1.0), obs=data)

    reparam_model = poutine.reparam(model, config={"x": LocScaleReparam(0.0)})
    guide = AutoDiagonalNormal(reparam_model, init_scale=0.3)
    svi = SVI(reparam_model, guide, Adam({"lr": 0.02}), Trace_ELBO(num_particles=8, vectorize_particles=True))
    for _ in range(800):
        svi.step()
    # mu | data is normal: precision 1 + 4 / (0.3^2 + 1), mean sum(data) / 1.09 / precision.
    precision = 1 + 4 / 1.09
    expected = data.sum() / 1.09 / precision
    assert abs(guide.median()["mu"] - expected) < 0.1


def test_strategies_choose_by_family():
    scale = torch.ones(3)
    table = {
        "normal": (dist.Normal(0.0, scale), LocScaleReparam, type(None)),
        "masked": (dist.Normal(0.0, scale).mask(True), LocScaleReparam, type(None)),
        "student": (dist.StudentT(3.0, scale, scale), LocScaleReparam, type(None)),
        "lognormal": (dist.LogNormal(0.0, scale), TransformReparam, type(None)),
        "halfnormal": (dist.HalfNormal(scale), type(None), type(None)),
        "gamma": (dist.Gamma(scale, scale), type(None), type(None)),
        "softmax": (dist.RelaxedOneHotCategorical(scale[0], logits=scale), GumbelSoftmaxReparam, type(None)),
        "direction": (dist.ProjectedNormal(scale), ProjectedNormalReparam, ProjectedNormalReparam),
        "stable": (dist.Stable(scale, 0.0), LocScaleReparam, LatentStableReparam),
        "own density": (dist.StableWithLogProb(scale, 0.0), LocScaleReparam, type(None)),
        "exp stable": (
            dist.TransformedDistribution(dist.Stable(scale, 0.0), [dist.transforms.ExpTransform()]),
            TransformReparam,
            TransformReparam,
        ),
        "event": (dist.Stable(scale, 0.0).to_event(1), LocScaleReparam, LatentStableReparam),
    }
    auto, minimal = AutoReparam(), MinimalReparam()
    for name, (fn, by_auto, by_minimal) in table.items():
        msg = {"name": name, "fn": fn, "is_observed": False}
        assert type(auto(msg)) is by_auto, name
        assert type(minimal(msg)) is by_minimal, name
        assert auto(msg) is auto.config[name]
    for strategy in (auto, minimal):
        seen = {"name": "a", "fn": dist.Stable(scale, 0.0), "is_observed": True}
        assert type(strategy(seen)) is SymmetricStableReparam
        seen = {"name": "b", "fn": dist.Stable(scale, 0.1), "is_observed": True}
        assert type(strategy(seen)) is StableReparam
        assert strategy({"name": "c", "fn": dist.Normal(0.0, 1.0), "is_observed": True}) is None


def test_strategies_follow_what_they_make():
    @AutoReparam(centered=0.0)
    def model():
        return ember.sample("x", dist.LogNormal(1.0, 2.0))

    nodes = poutine.trace(model).get_trace().nodes
    assert list(nodes)[1:-1] == ["x_base_decentered", "x_base", "x"]
    noise = nodes["x_base_decentered"]["value"]
    assert_close(nodes["x"]["value"], (1 + 2 * noise).exp())


def test_a_strategy_of_ones_own_is_asked_once_a_site():
    class Mine(Strategy):
        asked = 0

        def configure(self, msg):
            self.asked += 1
            return LocScaleReparam(0.0) if msg["name"] == "x" else None

    def model():
        ember.sample("x", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(0.0, 1.0))

    mine = Mine()
    for reparam_model in (mine(model), poutine.reparam(model, config=mine)):
        names = list(poutine.trace(reparam_model).get_trace().nodes)
        assert names[1:-1] == ["x_decentered", "x", "y"]
    assert mine.asked == 3  # x_decentered is a site of its own
    assert (
        list(poutine.trace(poutine.reparam(model, config=mine.config)).get_trace().nodes)[1:-1] == names[1:-1]
    )


def test_sequences_can_be_coupled_across_a_plate():
    loc = torch.randn(2, 5)

    def model():
        with ember.plate("series", 2, dim=-2), ember.plate("time", 5, dim=-1):
            return ember.sample("x", dist.Normal(loc, 1.0))

    for reparam in (HaarReparam, DiscreteCosineReparam):
        plain = poutine.reparam(model, config={"x": reparam()})
        with pytest.raises(
            ValueError, match=r"'x'.*Cannot transform along batch dimension.*experimental_allow_batch"
        ):
            plain()
        coupled = poutine.reparam(model, config={"x": reparam(experimental_allow_batch=True)})
        trace = poutine.trace(coupled).get_trace()
        name = next(n for n in trace.nodes if n.startswith("x_"))
        assert trace.nodes[name]["fn"].batch_shape == (2, 1) and trace.nodes[name]["fn"].event_shape == (5,)
        assert [f.name for f in trace.nodes[name]["cond_indep_stack"]] == ["series"]
        x = trace.nodes["x"]["value"]
        assert x.shape == (2, 5)
        assert_close(trace.log_prob_sum(), dist.Normal(loc, 1.0).log_prob(x).sum())
        seen = poutine.trace(
            poutine.reparam(
                poutine.condition(model, data={"x": x}), config={"x": reparam(experimental_allow_batch=True)}
            )
        )
        assert_close(seen.get_trace().log_prob_sum(), trace.log_prob_sum())
    too_far = poutine.reparam(model, config={"x": HaarReparam(-3, experimental_allow_batch=True)})
    with pytest.raises(ValueError, match="needs 3 batch dims"):
        too_far()


def test_neutra_keeps_the_density_up_to_the_transform():
    def model():
        a = ember.sample("a", dist.Normal(0.0, 1.0))
        b = ember.sample("b", dist.HalfNormal(1.0))
        with ember.plate("rows", 4):
            x = ember.sample("x", dist.Normal(a, b))
            ember.sample("y", dist.Normal(x, 1.0), obs=DATA[0])

    guide = AutoDiagonalNormal(model)
    guide()
    neutra = NeuTraReparam(guide)
    trace = poutine.trace(neutra.reparam(model)).get_trace()
    z = trace.nodes["a_shared_latent"]["value"]
    values = neutra.transform_sample(z)
    for name, value in values.items():
        assert_close(value, trace.nodes[name]["value"])
    original = poutine.trace(poutine.condition(model, data=values)).get_trace().log_prob_sum()
    x = neutra.transform(z)
    jacobian = neutra.transform.log_abs_det_jacobian(z, x).sum() + values["b"].log()
    assert_close(trace.log_prob_sum(), original + jacobian)
    with poutine.mask(mask=False):
        assert poutine.trace(neutra.reparam(model)).get_trace().log_prob_sum() == 0
    # Around the fitted guide, a second one fits what is left.
    second = AutoDiagonalNormal(neutra.reparam(model))
    assert all(map(math.isfinite, fit(neutra.reparam(model), second)))
    with pytest.raises(NotImplementedError, match=r"'a'.*does not support observe"):
        neutra.reparam(poutine.condition(model, data={"a": torch.tensor(0.0)}))()
    with pytest.raises(TypeError, match="expected an AutoContinuous guide"):
        NeuTraReparam(model)


def test_structured_keeps_the_density_up_to_the_transform():
    def model():
        a = ember.sample("a", dist.Normal(0.0, 1.0))
        b = ember.sample("b", dist.HalfNormal(1.0))
        with ember.plate("rows", 4):
            x = ember.sample("x", dist.Normal(a, b))
            ember.sample("y", dist.Normal(x, 1.0), obs=DATA[0])

    guide = AutoStructured(model, conditionals="normal", dependencies={"x": {"a": "linear", "b": "linear"}})
    guide()
    structured = StructuredReparam(guide)
    assert not any(p.requires_grad for p in guide.parameters())
    reparam_model = structured.reparam(model)
    densities = []
    for _ in range(2):
        trace = poutine.trace(reparam_model).get_trace()
        assert latent_names(trace) == ("a_aux", "b_aux", "x_aux")
        values = {name: trace.nodes[name]["value"] for name in ("a", "b", "x")}
        auxiliary = {name: trace.nodes[f"{name}_aux"]["value"] for name in values}
        moved = structured.transform_samples({f"{name}_aux": z for name, z in auxiliary.items()})
        for name, value in moved.items():
            assert_close(value, values[name])
        original = poutine.trace(poutine.condition(model, data=values)).get_trace().log_prob_sum()
        # What is left is the log of the volume, which at fixed scales depends on b only.
        densities.append(trace.log_prob_sum() - original - values["b"].log())
    scales = [getattr(guide.scales, name) for name in ("a", "b", "x")]
    assert_close(
        densities, [sum(scale.expand(n).log().sum() for scale, n in zip(scales, (1, 1, 4), strict=True))] * 2
    )
    with pytest.raises(NotImplementedError, match="does not support observe"):
        structured.reparam(poutine.condition(model, data={"a": torch.tensor(0.0)}))()
    with pytest.raises(TypeError, match="expected an AutoStructured guide"):
        StructuredReparam(model)


def test_reparameterisers_see_the_arguments_of_the_model():
    def guide(n, k):
        return dist.Beta(1.0 + k, 1.0 + n - k)

    def model(n, k):
        return ember.sample("p", dist.Beta(1.0, 1.0))

    reparam = ConjugateReparam(guide)
    assert 0 < poutine.reparam(model, config={"p": reparam})(10, k=3) < 1
    assert reparam.args_kwargs is None
    with pytest.raises(AssertionError, match=r"'p'.*rather than as a context manager"):
        with poutine.reparam(config={"p": reparam}):
            model(10, 3)
    with pytest.raises(AssertionError, match=r"'p'.*expected a distribution"):
        poutine.reparam(model, config={"p": ConjugateReparam(lambda n, k: 3.0)})(10, 3)
    with pytest.raises(NotImplementedError):
        with poutine.reparam(config={"x": ConjugateReparam(dist.Normal(0.0, 1.0))}):
            ember.sample("x", dist.Normal(0.0, 1.0))


def test_the_old_interface_still_works_and_warns():
    class Old(Reparam):
        def __call__(self, name, fn, obs):
            noise = ember.sample(f"{name}_noise", dist.Normal(0.0, 1.0))
            return dist.Delta(noise), noise

    with pytest.warns(DeprecationWarning, match=r"deprecated in favor of .apply\(\)"):
        with poutine.trace() as tr, poutine.reparam(config={"x": Old()}):
            ember.sample("x", dist.Normal(0.0, 1.0))
    assert tr.trace.nodes["x"]["is_observed"] and "x_noise" in tr.trace.nodes
    with pytest.warns(DeprecationWarning), pytest.raises(NotImplementedError):
        with poutine.reparam(config={"x": Reparam()}):
            ember.sample("x", dist.Normal(0.0, 1.0))


POSITIVE = torch.tensor([1.0, 2.0])
MISFITS = {
    "LocScale": (
        LocScaleReparam(),
        dist.Gamma(POSITIVE, 1.0),
        "LocScaleReparam needs .* loc and scale, got Gamma",
    ),
    "Transform": (
        TransformReparam(),
        dist.Gamma(POSITIVE, 1.0),
        "TransformReparam expected a TransformedDistribution",
    ),
    "GumbelSoftmax": (
        GumbelSoftmaxReparam(),
        dist.Dirichlet(POSITIVE),
        "GumbelSoftmaxReparam expected a RelaxedOneHot",
    ),
    "ProjectedNormal": (
        ProjectedNormalReparam(),
        dist.Dirichlet(POSITIVE),
        "ProjectedNormalReparam expected a Proj",
    ),
    "StudentT": (StudentTReparam(), dist.Cauchy(POSITIVE, 1.0), "StudentTReparam expected a StudentT"),
    "Stable": (StableReparam(), dist.Cauchy(POSITIVE, 1.0), "StableReparam expected a Stable"),
    "coords": (LatentStableReparam(), dist.Stable(1.5, 0.1, coords="S"), "supports only .*'S0'"),
    "own density": (
        StableReparam(),
        dist.StableWithLogProb(1.5, 0.1),
        "StableWithLogProb to its own density",
    ),
    "split dim": (SplitReparam([1, 1], -1), dist.Normal(POSITIVE, 1.0), "cannot split dim -1 of event shape"),
    "split sizes": (SplitReparam([1, 2], -1), dist.Normal(POSITIVE, 1.0).to_event(1), "whose sum is 3"),
    "class": (LocScaleReparam, dist.Normal(0.0, 1.0), "expected None or an instance of a Reparam"),
}


@pytest.mark.parametrize(("reparam", "fn", "message"), MISFITS.values(), ids=MISFITS.keys())
def test_misfits_name_the_site(reparam, fn, message):
    with pytest.raises(AssertionError, match=f"(?s)'my_site'.*{message}"):
        with poutine.reparam(config={"my_site": reparam}):
            ember.sample("my_site", fn)


@pytest.mark.parametrize(
    ("reparam", "fn"),
    [
        (GumbelSoftmaxReparam(), dist.RelaxedOneHotCategorical(torch.tensor(0.5), logits=POSITIVE)),
        (ProjectedNormalReparam(), dist.ProjectedNormal(POSITIVE)),
        (LatentStableReparam(), dist.Stable(1.5, 0.1 * POSITIVE).to_event(1)),
    ],
    ids=["softmax", "direction", "stable"],
)
def test_observed_sites_are_refused_where_there_is_no_density(reparam, fn):
    with pytest.raises(NotImplementedError, match=r"'x'.*Reparam does not support observe statements"):
        with poutine.reparam(config={"x": reparam}):
            ember.sample("x", fn, obs=torch.tensor([0.6, 0.8]))


def test_symmetric_stable_checks_its_site():
    for fn, message in [
        (dist.Stable(1.5, 0.3), "SymmetricStableReparam found nonzero skew"),
        (dist.Stable(2.0, 0.0), "SymmetricStableReparam found stability >= 2"),
    ]:
        with (
            pytest.raises(ValueError, match=message),
            poutine.reparam(config={"x": SymmetricStableReparam()}),
        ):
            ember.sample("x", fn)


def test_wrong_settings_are_refused():
    for wrong in (
        lambda: poutine.reparam(config=3),
        lambda: LocScaleReparam(1),
        lambda: LocScaleReparam(1.5),
        lambda: LocScaleReparam(torch.tensor([0.5, -0.1])),
        lambda: LocScaleReparam(shape_params="df"),
        lambda: SplitReparam((1, 2), -1),
        lambda: SplitReparam([1, 2], 0),
        lambda: AutoReparam(centered=0),
        lambda: DiscreteCosineReparam(dim=0),
    ):
        with pytest.raises(AssertionError):
            wrong()


def test_one_of_ones_own():
    class Halved(Reparam):
        def apply(self, msg):
            twice = ember.sample(f"{msg['name']}_twice", dist.Normal(2 * msg["fn"].loc, 2 * msg["fn"].scale))
            value = twice / 2
            return {"fn": dist.Delta(value), "value": value, "is_observed": True}

    def model():
        return ember.sample("x", dist.Normal(3.0, 0.1))

    trace = poutine.trace(poutine.reparam(model, config={"x": Halved()})).get_trace()
    assert latent_names(trace) == ("x_twice",)
    assert_close(trace.nodes["x"]["value"], trace.nodes["x_twice"]["value"] / 2)
    assert abs(trace.nodes["_RETURN"]["value"] - 3.0) < 1.0


def test_a_change_of_shape_is_refused():
    class Bad(Reparam):
        def apply(self, msg):
            value = torch.zeros(3)
            return {"fn": dist.Delta(value), "value": value, "is_observed": True}

    with pytest.raises(
        AssertionError, match=r"'x', Bad changed the shape of the value from \(2,\) to \(3,\)"
    ):
        with poutine.reparam(config={"x": Bad()}):
            ember.sample("x", dist.Normal(torch.zeros(2), 1.0), obs=torch.zeros(2))


def test_unit_jacobian_names_its_site():
    transform = dist.transforms.Permute(torch.tensor([1, 0]))
    with poutine.trace() as tr, poutine.reparam(config={"x": UnitJacobianReparam(transform)}):
        x = ember.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    assert_close(tr.trace.nodes["x_transformed"]["value"], x.flip(-1))


@pytest.mark.parametrize("kind", [LatentStableReparam, SymmetricStableReparam, StableReparam])
def test_stable_noise_of_some_rows_only(kind):
    def model():
        with poutine.reparam(config={"x": kind()}), ember.plate("rows", 10):
            return ember.sample("x", dist.Stable(1.5, 0.0))

    guide = AutoNormal(model, create_plates=lambda: ember.plate("rows", 10, subsample_size=3))
    assert math.isfinite(Trace_ELBO().loss(model, guide))
    assert {tuple(value.shape) for value in ember.get_param_store().values()} == {(10,)}


@pytest.mark.parametrize("support", [dist.constraints.real, dist.constraints.positive])
def test_a_flat_density_is_split(support):
    def model():
        x = ember.sample("x", dist.ImproperUniform(support, (), (3,)))
        ember.sample("y", dist.Normal(x, 1.0).to_event(1), obs=torch.tensor([1.0, 2.0, 3.0]))

    split = poutine.reparam(model, config={"x": SplitReparam([1, 2], -1)})
    guide = AutoNormal(split)
    assert math.isfinite(Trace_ELBO().loss(split, guide))
    assert {name: tuple(value.shape) for name, value in guide.median().items()} == {
        "x_split_0": (1,),
        "x_split_1": (2,),
    }
