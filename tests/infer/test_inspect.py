"""Dependencies and relations of models, and their drawings."""

from __future__ import annotations

import builtins
import sys
import types

import pytest
import torch

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.nn import PyroModule, PyroParam, PyroSample
from ember.structure.inspect import (
    _deep_merge,
    generate_graph_specification,
    get_dependencies,
    get_model_relations,
    render_graph,
)

ZERO = torch.tensor(0.0)


def chain():
    a = ember.sample("a", dist.Normal(0.0, 1.0))
    b = ember.sample("b", dist.Normal(a, 1.0))
    ember.sample("c", dist.Normal(b, 1.0), obs=ZERO)


def collider():
    a = ember.sample("a", dist.Normal(0.0, 1.0))
    b = ember.sample("b", dist.LogNormal(0.0, 1.0))
    ember.sample("c", dist.Normal(a, b), obs=ZERO)


def plate_sum():
    with ember.plate("p", 5):
        a = ember.sample("a", dist.Normal(0.0, 1.0))
    ember.sample("b", dist.Normal(a.sum(), 1.0), obs=ZERO)


def plate_rows():
    with ember.plate("p", 5):
        a = ember.sample("a", dist.Normal(0.0, 1.0))
        b = ember.sample("b", dist.Normal(0.0, 1.0))
        ember.sample("c", dist.Normal(a + b, 1.0), obs=torch.zeros(5))


def crossed_plates():
    i, j = ember.plate("i", 2, dim=-1), ember.plate("j", 3, dim=-2)
    with i:
        a = ember.sample("a", dist.Normal(0.0, 1.0))
    with j:
        b = ember.sample("b", dist.Normal(0.0, 1.0))
    with i, j:
        ember.sample("c", dist.Normal(a + b, 1.0), obs=torch.zeros(3, 2))


def through_others():
    a = ember.sample("a", dist.Normal(0.0, 1.0))
    b = ember.deterministic("b", a + 1)
    c = ember.sample("c", dist.Delta(b))
    ember.sample("d", dist.Normal(c, 1.0))


def enumerated():
    z = ember.sample("z", dist.Categorical(torch.ones(3)))
    ember.sample("x", dist.Normal(torch.arange(3.0)[z], 1.0), obs=ZERO)


E: set[str] = set()
PRIOR_AND_POSTERIOR = [
    (
        chain,
        {"a": {"a": E}, "b": {"a": E, "b": E}, "c": {"b": E, "c": E}},
        {"a": {"a": E, "b": E}, "b": {"b": E, "c": E}},
    ),
    (
        collider,
        {"a": {"a": E}, "b": {"b": E}, "c": {"a": E, "b": E, "c": E}},
        {"a": {"a": E, "b": E, "c": E}, "b": {"b": E, "c": E}},
    ),
    (plate_sum, {"a": {"a": E}, "b": {"a": E, "b": E}}, {"a": {"a": {"p"}, "b": E}}),
    (
        plate_rows,
        {"a": {"a": E}, "b": {"b": E}, "c": {"a": E, "b": E, "c": E}},
        {"a": {"a": E, "b": E, "c": E}, "b": {"b": E, "c": E}},
    ),
    (
        crossed_plates,
        {"a": {"a": E}, "b": {"b": E}, "c": {"a": E, "b": E, "c": E}},
        {"a": {"a": E, "b": E, "c": E}, "b": {"b": E, "c": E}},
    ),
    (through_others, {"a": {"a": E}, "d": {"a": E, "d": E}}, {"a": {"a": E, "d": E}, "d": {"d": E}}),
    (enumerated, {"z": {"z": E}, "x": {"z": E, "x": E}}, {"z": {"z": E, "x": E}}),
]


@pytest.mark.parametrize(
    ("model", "prior", "posterior"), PRIOR_AND_POSTERIOR, ids=lambda x: getattr(x, "__name__", "")
)
def test_dependencies(model, prior, posterior):
    assert get_dependencies(model) == {"prior_dependencies": prior, "posterior_dependencies": posterior}


def test_random_state_and_parameters_stay():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    get_dependencies(chain)
    get_model_relations(chain)
    assert torch.equal(torch.get_rng_state(), before)


def full(data):
    scale = ember.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    loc = ember.param("loc", torch.zeros(3))
    m = ember.sample("m", dist.Normal(loc[0], 1.0))
    with ember.plate("outer", 2, dim=-2):
        w = ember.sample("w", dist.Normal(m, scale))
        with ember.plate("inner", 4, dim=-1):
            ember.deterministic("twice", w * 2, event_dim=0)
            ember.sample("x", dist.Normal(w.unsqueeze(-1), 1.0).expand([2, 4, 3]).to_event(1), obs=data)


def test_relations():
    relations = get_model_relations(full, (torch.zeros(2, 4, 3),))
    assert relations == {
        "sample_sample": {"m": [], "w": ["m"], "twice": ["w"], "x": ["w"]},
        "sample_param": {"m": ["loc"], "w": ["scale"], "twice": [], "x": []},
        "sample_dist": {"m": "Normal", "w": "Normal", "twice": "Deterministic", "x": "Normal"},
        "param_constraint": {"scale": "GreaterThan(lower_bound=0.0)", "loc": "Real()"},
        "plate_sample": {"outer": ["w", "twice", "x"], "inner": ["twice", "x"]},
        "observed": ["twice", "x"],
    }
    through = get_model_relations(through_others, include_deterministic=True)
    assert through["sample_sample"]["d"] == ["c"] and through["sample_sample"]["c"] == ["b"]
    assert get_model_relations(through_others)["sample_sample"]["d"] == ["a"]


def test_relations_of_modules():
    class Net(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = PyroModule[torch.nn.Linear](2, 1)
            self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
            self.sd = PyroParam(torch.tensor(1.0), constraints.positive)

        def forward(self, x):
            ember.sample("y", dist.Normal(self.linear(x), self.sd).to_event(1))

    net = Net()
    relations = get_model_relations(net, (torch.ones(2),))
    assert relations["sample_sample"]["y"] == ["linear.weight"]
    assert set(relations["sample_param"]["y"]) == {"linear.bias", "sd"}
    assert relations["param_constraint"]["sd"] == "GreaterThan(lower_bound=0.0)"
    assert type(net.linear.bias) is torch.nn.Parameter
    assert type(net.sd_unconstrained) is torch.nn.Parameter
    assert ember.get_param_store()._params["linear.bias"] is net.linear.bias


def test_overlapping_plates_are_split():
    relations = get_model_relations(crossed_plates)
    assert relations["plate_sample"] == {"i": ["a", "c"], "j": ["c"], "j__CLONE": ["b"]}


def test_specification():
    relations = get_model_relations(full, (torch.zeros(2, 4, 3),))
    specification = generate_graph_specification(relations, render_params=True)
    assert specification["plate_groups"] == {
        "outer": ["w", "twice", "x"],
        "inner": ["twice", "x"],
        None: ["m", "loc", "scale"],
    }
    assert specification["plate_data"] == {"outer": {"parent": None}, "inner": {"parent": "outer"}}
    assert set(specification["edge_list"]) == {
        *(("m", "w"), ("w", "twice"), ("w", "x"), ("loc", "m"), ("scale", "w")),
    }
    assert specification["node_data"]["x"] == {"is_observed": True, "distribution": "Normal"}
    assert specification["node_data"]["scale"] == {
        "is_observed": False,
        "constraint": "GreaterThan(lower_bound=0.0)",
        "distribution": None,
    }
    assert set(generate_graph_specification(relations)["node_data"]) == {"m", "w", "twice", "x"}
    overlapping = {**relations, "plate_sample": {"p": ["m", "w"], "q": ["w", "x"]}}
    with pytest.raises(NotImplementedError, match="Overlapping non-nested plates 'p','q'"):
        generate_graph_specification(overlapping)


def test_deep_merge():
    assert _deep_merge([{"a": True, "b": {"c": 1}}, {"a": False, "b": {"c": 2, "d": 3}}]) == {
        "a": None,
        "b": {"c": 1, "d": 3},
    }
    assert _deep_merge([True, True]) is True and _deep_merge([False, False]) is False
    assert _deep_merge([["x"]]) == ["x"]


class Digraph:
    """As much of the package graphviz as is used."""

    def __init__(self, name=None):
        self.name, self.nodes, self.edges, self.attributes, self.inner, self.files = name, {}, [], {}, [], []

    def attr(self, **kwargs):
        self.attributes.update(kwargs)

    def node(self, name, **kwargs):
        self.nodes[name] = kwargs

    def edge(self, source, target):
        self.edges.append((source, target))

    def subgraph(self, graph):
        self.inner.append(graph)

    def render(self, path, **kwargs):
        self.files.append((path, kwargs))


@pytest.fixture
def graphviz(monkeypatch):
    module = types.ModuleType("graphviz")
    module.Digraph = Digraph
    monkeypatch.setitem(sys.modules, "graphviz", module)


@pytest.mark.usefixtures("graphviz")
def test_drawing():
    graph = ember.render_model(
        full,
        (torch.zeros(2, 4, 3),),
        filename="out/model.pdf",
        render_distributions=True,
        render_params=True,
        render_deterministic=True,
    )
    (outer,) = graph.inner
    (inner,) = outer.inner
    assert (outer.name, inner.name) == ("cluster_outer", "cluster_inner")
    assert outer.attributes["label"] == "outer"
    assert inner.nodes["x"]["fillcolor"] == "gray" and graph.nodes["m"]["fillcolor"] == "white"
    assert inner.nodes["twice"]["style"] == "filled,dashed"
    assert graph.nodes["loc"]["shape"] == "plain" and graph.nodes["m"]["shape"] == "ellipse"
    label = graph.nodes["distribution_description_node"]["label"]
    assert r"m ~ Normal\l" in label and r"loc : Real()\l" in label
    assert ("m", "w") in graph.edges
    assert graph.files == [("out/model", {"view": False, "cleanup": True, "format": "pdf"})]


@pytest.mark.usefixtures("graphviz")
def test_drawing_of_several_calls():
    def model(x=None):
        ember.sample("x", dist.Normal(0.0, 1.0), obs=x)

    for kwargs in ({"model_args": [(), (ZERO,)]}, {"model_kwargs": [{}, {"x": ZERO}]}):
        assert ember.render_model(model, **kwargs).nodes["x"]["fillcolor"] == "gray:white"
    with pytest.raises(AssertionError, match="2 model_args, but 1 model_kwargs"):
        ember.render_model(model, [(), ()], [{}])


@pytest.mark.usefixtures("graphviz")
def test_split_plates_have_one_label():
    graph = ember.render_model(crossed_plates)
    labels = []

    def visit(part):
        labels.extend(inner.attributes["label"] for inner in part.inner)
        for inner in part.inner:
            visit(inner)

    visit(graph)
    assert sorted(labels) == ["i", "j", "j"]


def test_the_package_is_asked_for(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "graphviz":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "graphviz", raising=False)
    specification = generate_graph_specification(get_model_relations(chain))
    with pytest.raises(ImportError, match="pip install graphviz"):
        render_graph(specification)
