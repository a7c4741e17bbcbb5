"""PyroModule: names, effects, caching, assignment, the tree, and generated classes."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints
from ember.nn import PyroModule, PyroParam, PyroSample, pyro_method
from ember.nn.module import PyroModuleList, clear, to_pyro_module_
from ember.structure.inspect import get_model_relations


class Names(PyroModule):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(0.0))
        self.y = PyroParam(torch.tensor(1.0), constraint=constraints.positive)
        self.m = nn.Module()
        self.m.u = nn.Parameter(torch.tensor(2.0))
        self.p = PyroModule()
        self.p.v = nn.Parameter(torch.tensor(3.0))
        self.p.w = PyroParam(torch.tensor(4.0), constraint=constraints.positive)

    def forward(self):
        return self.x + self.y + self.m.u + self.p.v + self.p.w


def param_names(fn, *args):
    trace = poutine.trace(fn, param_only=True).get_trace(*args)
    return set(trace.nodes)


def test_names():
    model = Names()
    assert {name for name, _ in model.named_parameters()} == {
        *("x", "y_unconstrained", "m.u", "p.v", "p.w_unconstrained")
    }
    assert {name for name, _ in model.named_pyro_params()} == {"x", "y", "m.u", "p.v", "p.w"}
    assert len(ember.get_param_store()) == 0
    assert param_names(model) == {"x", "y", "m$$$u", "p.v", "p.w"}
    assert set(ember.get_param_store()) == {"x", "y", "m$$$u", "p.v", "p.w"}


def test_named_pyro_params_have_constrained_values_and_prefixes():
    model = Names()
    values = dict(model.named_pyro_params(prefix="top", recurse=False))
    assert list(values) == ["top.x", "top.y"]
    assert values["top.x"] is model.x
    assert values["top.y"].item() == pytest.approx(1.0)


def test_root_name_is_a_prefix():
    model = PyroModule("root")
    model.a = PyroModule()
    model.a.b = PyroParam(torch.tensor(1.0))
    model.forward = lambda: model.a.b
    assert param_names(model) == {"root.a.b"}


def test_no_effects_outside_of_calls():
    model = PyroModule()
    model.x = PyroParam(torch.tensor(2.0), constraints.positive)
    model.z = PyroSample(dist.Normal(0.0, 1.0))
    with poutine.trace() as trace:
        assert model.x.item() == pytest.approx(2.0)
        assert model.z is not model.z
    assert not trace.trace.nodes
    assert len(ember.get_param_store()) == 0
    assert model.x.unconstrained() is model.x_unconstrained


def test_fullname_needs_a_call():
    with pytest.raises(AssertionError, match="fullname is not yet defined"):
        PyroModule()._pyro_get_fullname("x")


def test_parameters_are_the_same_object_in_the_store():
    model = Names()
    model()
    store = ember.get_param_store()
    assert store["x"] is model.x
    assert store["y"].unconstrained() is model.y_unconstrained
    assert store["m$$$u"] is model.m.u


def test_samples_are_cached_for_the_outermost_call():
    class Inner(PyroModule):
        def forward(self):
            return self.z, self.z

    class Outer(PyroModule):
        def __init__(self):
            super().__init__()
            self.inner = Inner()
            self.inner.z = PyroSample(dist.Normal(0.0, 1.0))

        @pyro_method
        def again(self):
            return self.inner.z

        def forward(self):
            return (*self.inner(), self.again(), self.inner.z)

    outer = Outer()
    first, second = outer(), outer()
    assert all(value is first[0] for value in first)
    assert first[0] is not second[0]
    assert outer._pyro_context is outer.inner._pyro_context
    assert not outer._pyro_context.active and not outer._pyro_context.cache


def test_context_is_left_after_an_error():
    class Fails(PyroModule):
        def forward(self):
            assert self.z is self.z
            raise ZeroDivisionError

    model = Fails()
    model.z = PyroSample(dist.Normal(0.0, 1.0))
    with pytest.raises(ZeroDivisionError):
        model()
    assert not model._pyro_context.active and not model._pyro_context.cache


def test_samples_may_depend_on_each_other_and_be_deterministic():
    class Model(PyroModule):
        @PyroSample
        def x(self):
            return dist.Normal(0.0, 1.0)

        @PyroSample
        def y(self):
            return dist.Normal(self.x, 1.0)

        z = PyroSample(lambda self: self.y**2)

        def forward(self):
            return self.z

    model = Model()
    trace = poutine.trace(model).get_trace()
    assert [name for name in trace.nodes if name[0] != "_"] == ["x", "y", "z"]
    assert trace.nodes["y"]["fn"].loc is trace.nodes["x"]["value"]
    assert trace.nodes["z"]["infer"] == {"_deterministic": True}
    assert trace.nodes["z"]["value"] == trace.nodes["y"]["value"] ** 2
    with poutine.condition(data={"x": torch.tensor(0.0), "y": torch.tensor(3.0)}):
        assert model().item() == 9.0


def test_prior_takes_one_argument():
    with pytest.raises(AssertionError, match="prior should take the single argument 'self'"):
        PyroSample(lambda: dist.Normal(0.0, 1.0))


def test_an_instance_may_have_another_prior_than_its_class():
    class Model(PyroModule):
        @PyroSample
        def x(self):
            return dist.Normal(0.0, 1.0)

        def forward(self):
            return self.x

    model = Model()
    model.x = PyroSample(dist.Delta(torch.tensor(7.0)))
    assert model().item() == 7.0 and Model()().item() != 7.0


def test_param_decorators():
    class Model(PyroModule):
        def __init__(self):
            super().__init__()
            self.calls = 0

        @PyroParam
        def x(self):
            self.calls += 1
            return torch.zeros(2)

        @PyroParam(constraint=constraints.positive, event_dim=1)
        def y(self):
            return torch.ones(3) * 2

        def forward(self):
            return self.x.sum() + self.y.sum()

    model = Model()
    assert model().item() == pytest.approx(6.0)
    assert model().item() == pytest.approx(6.0) and model.calls == 1
    assert {name for name, _ in model.named_parameters()} == {"x_unconstrained", "y_unconstrained"}
    assert param_names(model) == {"x", "y"}
    assert Model().x.shape == (2,)


def test_lazy_init_inside_and_outside_of_a_call():
    class Model(PyroModule):
        def forward(self):
            if not hasattr(self, "a"):
                self.a = PyroParam(lambda: torch.tensor(3.0), constraints.positive)
                self.b = nn.Parameter(torch.tensor(1.0))
            return self.a + self.b

    model = Model()
    assert param_names(model) == {"a", "b"}
    assert isinstance(model.a_unconstrained, nn.Parameter)
    assert ember.get_param_store()._params["a"] is model.a_unconstrained
    model.c = PyroParam(lambda: torch.tensor(4.0), constraints.positive)
    assert model.c.item() == pytest.approx(4.0)


def test_a_recorded_lazy_parameter_has_the_leaf_that_is_trained():
    class Model(PyroModule):
        def forward(self):
            self.a = PyroParam(torch.tensor(3.0), constraints.positive)

    model = Model()
    trace = poutine.trace(model, param_only=True).get_trace()
    assert trace.nodes["a"]["value"].unconstrained() is model.a_unconstrained


SHAPES = [
    ((), constraints.real),
    ((4,), constraints.real),
    ((3, 2), constraints.positive),
    ((5,), constraints.simplex),
    ((5, 10), constraints.simplex),
    ((5, 5), constraints.lower_cholesky),
    ((2,), constraints.unit_interval),
]


@pytest.mark.parametrize(("shape", "constraint"), SHAPES, ids=str)
def test_constrained_attributes(shape, constraint):
    module = PyroModule()
    module.x = PyroParam(torch.full(shape, 1e-4), constraint)
    leaf = module.x_unconstrained
    assert isinstance(leaf, nn.Parameter)
    assert module.x.shape == shape and constraint.check(module.x).all()
    value = torch.distributions.transform_to(constraint)(torch.randn(leaf.shape))
    module.x = value
    assert module.x_unconstrained is leaf
    assert torch.allclose(module.x, value, atol=1e-5)
    del module.x
    for name in ("x", "x_unconstrained"):
        with pytest.raises(AttributeError):
            getattr(module, name)
    module.x = PyroParam(torch.full(shape, 0.5), constraint)
    assert module.x.shape == shape


def test_assignment_and_deletion_reach_the_store():
    model = Names()
    model()
    store = ember.get_param_store()
    leaf = model.y_unconstrained
    model.y = torch.tensor(5.0)
    assert model.y_unconstrained is leaf and store["y"].item() == pytest.approx(5.0)
    del model.y
    del model.x
    del model.p
    assert set(store) == {"m$$$u"}
    with pytest.raises(AttributeError):
        model.y  # noqa: B018
    model.y = PyroParam(torch.tensor(0.5), constraints.positive)
    assert model.y.item() == pytest.approx(0.5)


def test_deleting_a_child_leaves_those_with_longer_names():
    class Model(PyroModule):
        def forward(self):
            return self.a.w, self.ab.w

    model = Model()
    for name in ("a", "ab"):
        child = PyroModule()
        child.w = PyroParam(torch.zeros(()))
        setattr(model, name, child)
    model()
    del model.a
    assert set(ember.get_param_store()) == {"ab.w"}


def test_clear():
    model = Names()
    model()
    clear(model)
    assert len(ember.get_param_store()) == 0 and not list(model.parameters())
    with pytest.raises(AssertionError):
        clear(nn.Linear(2, 2))


def test_an_error_in_an_initial_value_leaves_the_attribute():
    module = PyroModule()
    module.x = PyroParam(torch.tensor(2.0), constraints.positive)
    with pytest.raises(ValueError, match=r"'x'.*outside its constraint"):
        module.x = PyroParam(torch.tensor(-2.0), constraints.positive)
    assert module.x.item() == pytest.approx(2.0)


def test_attributes_follow_a_loaded_store(tmp_path):
    model = Names()
    model()
    with torch.no_grad():
        for leaf in model.parameters():
            leaf.fill_(1.5)
    expected = model().item()
    ember.get_param_store().save(str(tmp_path / "store"))
    ember.clear_param_store()
    other = Names()
    ember.get_param_store().load(str(tmp_path / "store"))
    for child in (other.m,):
        child.u.data.fill_(
            1.5
        )  # a plain module is updated by ember.module(..., update_module_params=True) only
    assert other().item() == pytest.approx(expected)
    assert isinstance(other.y_unconstrained, nn.Parameter) and isinstance(other.x, nn.Parameter)
    assert ember.get_param_store()._params["y"] is other.y_unconstrained
    assert ember.get_param_store()._params["x"] is other.x


def test_two_roots_with_the_same_names_keep_their_plain_parameters():
    first, second = PyroModule[nn.Linear](2, 3), PyroModule[nn.Linear](4, 5)
    first(torch.zeros(2))
    weight = second.weight
    assert second(torch.zeros(4)).shape == (5,) and second.weight is weight


def test_frozen_parameters_are_constants():
    model = Names()
    for leaf in model.parameters():
        leaf.requires_grad_(False)
    model.m.eval()
    assert param_names(model) == set()
    model.y_unconstrained.requires_grad_(True)
    assert param_names(model) == {"y"}
    assert not model.x.requires_grad


def test_a_frozen_parameter_is_subsampled_by_plates():
    class Model(PyroModule):
        def forward(self):
            with ember.plate("rows", 10, subsample=torch.tensor([1, 4])):
                return self.w

    model = Model()
    model.w = PyroParam(torch.arange(1.0, 11.0), constraints.positive, event_dim=0)
    assert torch.allclose(model(), torch.tensor([2.0, 5.0]))
    model.w_unconstrained.requires_grad_(False)
    assert torch.allclose(model(), torch.tensor([2.0, 5.0]))


def test_handlers_change_what_is_read():
    model = PyroModule[nn.Linear](1, 1)
    x = torch.ones(1)
    fixed = {"weight": torch.full((1, 1), 2.0), "bias": torch.full((1,), 3.0)}
    assert poutine.substitute(model, data=fixed)(x).item() == 5.0
    lifted = poutine.lift(model, prior={"weight": dist.Delta(torch.full((1, 1), 4.0)).to_event(2)})
    assert torch.allclose(lifted(x), 4.0 + model.bias)


def test_parameters_made_of_followed_values_do_not_follow_them():
    class Model(PyroModule):
        def forward(self):
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            self.start = PyroParam(z.exp(), constraints.positive)
            self.lazy = PyroParam(lambda: z * 2)
            ember.sample("x", dist.Normal(self.start + self.lazy, 1.0))

    model = Model()
    relations = get_model_relations(model)
    assert relations["sample_sample"]["x"] == [] and set(relations["sample_param"]["x"]) == {"start", "lazy"}
    assert all(type(p) is nn.Parameter for p in model.parameters())
    assert all(type(leaf) is nn.Parameter for _, leaf in ember.get_param_store().named_parameters())


class TestMixin:
    def test_classes_are_cached(self):
        assert PyroModule[nn.Module] is PyroModule
        assert PyroModule[PyroModule] is PyroModule
        assert PyroModule[nn.Linear] is PyroModule[nn.Linear]
        assert PyroModule[PyroModule[nn.Linear]] is PyroModule[nn.Linear]
        assert issubclass(PyroModule[nn.GRU], PyroModule[nn.RNNBase])
        assert PyroModule[nn.ModuleList] is PyroModuleList

    def test_type(self):
        module = PyroModule[nn.Linear](2, 3)
        assert type(module).__name__ == "PyroLinear"
        assert isinstance(module, nn.Linear) and isinstance(module, PyroModule)
        with pytest.raises(AssertionError):
            PyroModule[int]

    def test_pickle_and_deepcopy(self):
        model = PyroModule[nn.Sequential](PyroModule[nn.Linear](2, 3), PyroModule[nn.Tanh]())
        model[0].weight = PyroSample(dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2))
        model[0].scale = PyroParam(torch.tensor(2.0), constraints.positive)
        model(torch.zeros(2))
        for other in (copy.deepcopy(model), through_a_file(model)):
            ember.clear_param_store()
            assert type(other) is type(model) and type(other[0]) is type(model[0])
            assert torch.equal(other[0].bias, model[0].bias)
            assert other[0].scale.item() == pytest.approx(2.0)
            trace = poutine.trace(other).get_trace(torch.zeros(2))
            assert list(trace.stochastic_nodes) == ["0.weight"]
            assert other[0]._pyro_context is other._pyro_context is not model._pyro_context

    def test_pickle_of_written_subclasses(self):
        module = Written(2, 3)
        other = through_a_file(module)
        assert type(other) is Written and torch.equal(other.weight, module.weight)

    def test_to_pyro_module_is_like_direct_construction(self):
        x = torch.randn(5, 4)
        for recurse_by in (lambda n: to_pyro_module_(n),):
            plain = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Tanh(), nn.Linear(3, 2)))
            direct = PyroModule[nn.Sequential](
                PyroModule[nn.Linear](4, 3),
                PyroModule[nn.Sequential](PyroModule[nn.Tanh](), PyroModule[nn.Linear](3, 2)),
            )
            direct.load_state_dict(plain.state_dict())
            recurse_by(plain)
            assert set(plain.__dict__) == set(direct.__dict__)
            assert plain[1][1]._pyro_name == direct[1][1]._pyro_name == "1.1"
            assert plain[1][1]._pyro_context is plain._pyro_context
            assert torch.equal(plain(x), direct(x))
            ember.clear_param_store()
            assert param_names(plain, x) == {"0.weight", "0.bias", "1.1.weight", "1.1.bias"}

    def test_to_pyro_module_without_recursion(self):
        plain = nn.Sequential(nn.Linear(4, 3))
        to_pyro_module_(plain, recurse=False)
        assert isinstance(plain, PyroModule) and not isinstance(plain[0], PyroModule)
        with pytest.raises(TypeError, match=r"Expected an nn.Module instance"):
            to_pyro_module_(3)


class Written(PyroModule[nn.Linear]):
    pass


def through_a_file(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


class Decorated(PyroModule):
    @PyroSample
    def x(self):
        return dist.Normal(0.0, 1.0)

    @PyroParam
    def y(self):
        return torch.zeros(3)

    def forward(self):
        return self.x + self.y


def test_decorated_attributes_are_pickled():
    model = Decorated()
    model()
    other = through_a_file(model)
    ember.clear_param_store()
    assert set(poutine.trace(other).get_trace().nodes) == {"x", "y", "_INPUT", "_RETURN"}


def test_state_dict_round_trip():
    model, other = Names(), Names()
    model.y = torch.tensor(9.0)
    other.load_state_dict(model.state_dict())
    assert other.y.item() == pytest.approx(9.0)
    assert set(model.state_dict()) == {"x", "y_unconstrained", "m.u", "p.v", "p.w_unconstrained"}


def test_module_list():
    class Model(PyroModule):
        def __init__(self):
            super().__init__()
            self.layers = PyroModuleList([PyroModule[nn.Linear](2, 2) for _ in range(3)])
            for layer in self.layers:
                layer.weight = PyroSample(dist.Normal(0.0, 1.0).expand([2, 2]).to_event(2))

        def forward(self, x):
            for layer in self.layers[:-1]:
                x = layer(x)
            return self.layers[-1](x)

    model = Model()
    assert type(model.layers[1:]) is nn.ModuleList and len(model.layers[1:]) == 2
    trace = poutine.trace(model).get_trace(torch.zeros(2))
    assert list(trace.stochastic_nodes) == [f"layers.{i}.weight" for i in range(3)]
    assert model.layers[0] is model.layers[:1][0]
    nested = PyroModuleList([PyroModuleList([PyroModule[nn.Linear](1, 1)])])
    assert nested[0][0]._pyro_name == "0.0"


@pytest.mark.parametrize("make", [PyroModule[nn.GRU], PyroModule[nn.LSTM], PyroModule[nn.RNN]])
def test_recurrent_networks_use_random_weights(make):
    torch.manual_seed(0)
    net = make(3, 2, num_layers=2)
    for name, value in list(net.named_parameters(recurse=False)):
        prior = dist.Normal(0.0, 1.0).expand(value.shape).to_event(value.dim())
        setattr(net, name, PyroSample(prior))
    x = torch.randn(5, 1, 3)
    first, second = net(x)[0], net(x)[0]
    assert first.shape == (5, 1, 2) and not torch.equal(first, second)
    assert not list(net.parameters())
    assert len(poutine.trace(net).get_trace(x).stochastic_nodes) == 8


def test_recurrent_network_trains_its_parameters():
    net = PyroModule[nn.GRU](3, 2)
    assert param_names(net, torch.randn(5, 1, 3)) == {
        "weight_ih_l0",
        "weight_hh_l0",
        "bias_ih_l0",
        "bias_hh_l0",
    }
    assert all(a is b for a, b in zip(net._flat_weights, net.parameters(), strict=True))


def test_submodule_that_ran_alone_cannot_be_added():
    child = PyroModule()
    child.grandchild = PyroModule[nn.Linear](1, 1)
    child.grandchild(torch.zeros(1))
    with pytest.raises(AssertionError, match="has executed outside of supermodule"):
        PyroModule().child = child


def test_calls_in_threads_do_not_share_samples():
    import threading

    class Model(PyroModule):
        def forward(self):
            value = self.z
            barrier.wait(5)
            return value, self.z

    model = Model()
    model.z = PyroSample(dist.Normal(0.0, 1.0))
    barrier = threading.Barrier(2)
    results = []
    threads = [threading.Thread(target=lambda: results.append(model())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (a, b), (c, d) = results
    assert a is b and c is d and a is not c


@pytest.mark.parametrize("kind", [PyroModule[nn.Sequential], lambda *parts: PyroModuleList(parts)])
def test_a_plain_layer_in_a_list_is_not_noticed(kind):
    parts = kind(nn.Linear(2, 2), PyroModule[nn.Linear](2, 1))

    class Root(PyroModule):
        def __init__(self):
            super().__init__()
            self.parts = parts

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    assert param_names(Root(), torch.zeros(2)) == {"parts.1.weight", "parts.1.bias"}
