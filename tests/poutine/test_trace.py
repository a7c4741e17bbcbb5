"""Traces: what is recorded, edges, order, log densities, tables of shapes, and errors with a table."""

from __future__ import annotations

import itertools

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints
from ember.poutine import Trace

NORMAL = dist.Normal(0.0, 1.0)
KEYS = {
    *("type", "name", "fn", "is_observed", "args", "kwargs", "value", "infer", "scale", "mask"),
    *("cond_indep_stack", "done", "stop", "continuation"),
}


def model(loc=0.0):
    p = ember.param("p", torch.tensor(1.0), constraint=constraints.positive)
    x = ember.sample("x", dist.Normal(loc, p), infer={"note": 1})
    with ember.plate("rows", 4, 2):
        y = ember.sample("y", dist.Normal(x, 1.0))
        ember.sample("seen", dist.Normal(y, 1.0), obs=torch.ones(2))
    ember.sample("coin", dist.Bernoulli(0.5))
    ember.factor("f", torch.tensor(2.0))
    ember.deterministic("d", x)
    return x


def test_nodes():
    trace = poutine.trace(model).get_trace(0.5)
    assert list(trace) == ["_INPUT", "p", "x", "rows", "y", "seen", "coin", "f", "d", "_RETURN"]
    assert len(trace) == 10 and "x" in trace and "nope" not in trace
    for name, site in trace.nodes.items():
        assert isinstance(site, dict)
        assert name[0] == "_" or set(site) == KEYS
    assert set(trace.nodes["_INPUT"]) == {"name", "type", "args", "kwargs"}
    assert set(trace.nodes["_RETURN"]) == {"name", "type", "value"}
    assert trace.nodes["_INPUT"]["args"] == (0.5,)
    assert trace.nodes["_RETURN"]["value"] is trace.nodes["x"]["value"]
    assert trace.nodes["p"]["infer"] == {} and trace.nodes["x"]["infer"] == {"note": 1}
    assert trace.nodes["d"]["infer"] == {"_deterministic": True}
    assert trace.nodes["f"]["infer"] == {"is_auxiliary": True}
    assert trace.param_nodes == ["p"]
    assert trace.observation_nodes == ["seen", "f", "d"]
    assert trace.stochastic_nodes == ["x", "rows", "y", "coin"]
    assert set(trace.reparameterized_nodes) == {"x", "y"}
    assert set(trace.nonreparam_stochastic_nodes) == {"rows", "coin"}
    assert [name for name, _ in trace.iter_stochastic_nodes()] == trace.stochastic_nodes


def test_sites_are_typed_records_too():
    site = poutine.trace(model).get_trace().nodes["x"]
    assert site.value is site["value"] and site.get("absent") is None
    site["extra"] = 1
    site.scale = 2.0
    assert site["scale"] == 2.0 and "extra" in site
    with pytest.raises(KeyError, match=r"site 'x' has no key 'valeu'; it has: .*value"):
        site["valeu"]
    with pytest.raises(AttributeError, match="valeu"):
        _ = site.valeu
    with pytest.raises(AttributeError, match="valeu"):
        site.valeu = 1


def test_duplicate_names():
    def twice(kind1, kind2):
        def statement(kind):
            if kind == "param":
                ember.param("x", torch.tensor(1.0))
            elif kind == "plate":
                ember.plate("x", 3)
            else:
                ember.sample("x", NORMAL)

        def run():
            statement(kind1)
            statement(kind2)

        return run

    with pytest.raises(RuntimeError, match="Multiple sample sites named 'x'"):
        poutine.trace(twice("sample", "sample")).get_trace()
    with pytest.raises(RuntimeError, match="Multiple sample sites named 'x'"):
        poutine.trace(twice("plate", "sample")).get_trace()
    with pytest.raises(RuntimeError, match="x is already in the trace as a sample"):
        poutine.trace(twice("sample", "param")).get_trace()
    with pytest.raises(RuntimeError, match="x is already in the trace as a param"):
        poutine.trace(twice("param", "sample")).get_trace()
    assert poutine.trace(twice("param", "param")).get_trace().param_nodes == ["x"]


def test_a_handler_records_anew_each_time():
    def draw(n):
        for i in range(n):
            ember.sample(f"x{i}", NORMAL)

    traced = poutine.trace(draw)
    first, second = traced.get_trace(2), traced.get_trace(n=1)
    assert [name for name in first if name[0] == "x"] == ["x0", "x1"]
    assert [name for name in second if name[0] == "x"] == ["x0"]
    assert second is not traced.trace and second.nodes["x0"] is traced.trace.nodes["x0"]
    assert second.nodes["_INPUT"]["kwargs"] == {"n": 1}
    recorder = poutine.trace()
    with recorder as entered:
        draw(1)
    assert entered is recorder and list(recorder.get_trace()) == ["x0"]


def test_nested_traces_hold_their_own_records():
    with poutine.trace() as outer:
        inner = poutine.trace(lambda: ember.sample("x", NORMAL)).get_trace()
    assert outer.trace.nodes["x"]["value"] is inner.nodes["x"]["value"]
    inner.compute_log_prob()
    assert "log_prob" not in outer.trace.nodes["x"]


def test_param_only():
    trace = poutine.trace(model, param_only=True).get_trace()
    assert list(trace) == ["p"]


def dense_model():
    x = ember.sample("x", NORMAL)
    for i in ember.plate("seq", 2):
        y = ember.sample(f"y{i}", dist.Normal(x, 1.0))
        ember.sample(f"z{i}", dist.Normal(y, 1.0), obs=torch.tensor(0.0))
    with ember.plate("vec", 3):
        ember.sample("v", NORMAL)


def test_dense_edges():
    trace = poutine.trace(dense_model, graph_type="dense").get_trace()
    expected = {("x", n) for n in ("y0", "z0", "y1", "z1", "v")} | {("y0", "z0"), ("y1", "z1")}
    expected |= {(n, "v") for n in ("y0", "z0", "y1", "z1")}
    assert set(trace.edges) == expected
    assert set(trace._succ) == set(trace._pred) == set(trace.nodes)
    assert trace._succ["seq"] == trace._pred["vec"] == set()
    assert trace.successors("y0") == {"z0", "v"} and trace.predecessors("z1") == {"x", "y1"}
    with pytest.raises(KeyError):
        trace.successors("nope")


def test_flat_traces_have_no_edges():
    trace = poutine.trace(dense_model).get_trace()
    assert list(trace.edges) == []
    assert set().union(*trace._succ.values(), *trace._pred.values()) == set()
    assert trace.topological_sort(reverse=True) == list(trace)


def test_topological_sort_and_dfs():
    trace = poutine.trace(dense_model, graph_type="dense").get_trace()
    order = trace.topological_sort()
    assert sorted(order) == sorted(trace)
    assert all(order.index(a) < order.index(b) for a, b in trace.edges)
    assert trace.topological_sort(reverse=True) == order[::-1]
    assert list(trace._dfs("y0", set()))[-1] == "y0"
    assert set(trace._dfs("y0", set())) == {"y0", "z0", "v"}


def test_long_chains_can_be_sorted():
    trace = Trace(graph_type="dense")
    names = [f"n{i}" for i in range(5000)]
    for one, two in itertools.pairwise(names):
        trace.add_edge(one, two)
    assert trace.topological_sort() == names


def test_sample_sites_need_a_name():
    with pytest.raises(AssertionError, match="needs a name"):
        poutine.trace(lambda: ember.sample(None, NORMAL)).get_trace()


def test_copy_and_remove_node():
    trace = poutine.trace(dense_model, graph_type="dense").get_trace()
    copy = trace.copy()
    assert copy.graph_type == "dense" and copy.nodes["x"] is trace.nodes["x"]
    copy.remove_node("x")
    assert "x" in trace and "x" not in copy
    assert ("x", "v") in set(trace.edges)
    assert all("x" not in edge for edge in copy.edges)
    assert "x" not in copy._succ and "x" not in copy._pred
    assert all("x" not in names for names in [*copy._succ.values(), *copy._pred.values()])
    with pytest.raises(KeyError):
        copy.remove_node("x")


def test_traces_built_by_hand():
    trace = Trace()
    value = torch.tensor(3.0)
    trace.add_node("a", type="sample", is_observed=False, value=value, infer={})
    trace.add_edge("a", "b")
    assert list(trace) == ["a", "b"] and set(trace.edges) == {("a", "b")}
    assert poutine.replay(lambda: ember.sample("a", NORMAL), trace=trace)() is value
    with pytest.raises(RuntimeError, match="Multiple sample sites named 'a'"):
        trace.add_node("a", type="sample")
    with pytest.raises(RuntimeError, match="a is already in the trace as a sample"):
        trace.add_node("a", type="param")
    with pytest.raises(AssertionError, match="not a valid graph type"):
        Trace("bushy")


def test_log_probs_and_scores():
    trace = poutine.trace(poutine.scale(model, scale=3.0)).get_trace()
    x, y = trace.nodes["x"], trace.nodes["y"]
    trace.compute_log_prob()
    raw = dist.Normal(x["value"], 1.0).log_prob(y["value"])
    torch.testing.assert_close(y["unscaled_log_prob"], raw)
    torch.testing.assert_close(y["log_prob"], raw * 6.0)  # 3 from the handler, 4 / 2 from the plate
    torch.testing.assert_close(y["log_prob_sum"], (raw * 6.0).sum())
    total = sum(site["log_prob_sum"] for site in trace.nodes.values() if site["type"] == "sample")
    torch.testing.assert_close(trace.log_prob_sum(), total)
    assert trace.log_prob_sum(lambda name, site: name == "f") == 6.0
    assert trace.log_prob_sum(lambda name, site: False) == 0.0
    assert trace.nodes["d"]["log_prob_sum"] == 0.0
    trace.compute_score_parts()
    torch.testing.assert_close(x["score_parts"].log_prob, x["log_prob"])
    torch.testing.assert_close(x["score_parts"].entropy_term, x["log_prob"])
    assert x["score_parts"].score_function == 0
    coin = trace.nodes["coin"]["score_parts"]
    assert coin.entropy_term == 0 and coin.score_function == coin.log_prob / 3.0


def test_log_probs_are_computed_once():
    trace = poutine.trace(model).get_trace()
    trace.compute_log_prob()
    kept = trace.nodes["x"]["log_prob"]
    trace.compute_log_prob()
    assert trace.nodes["x"]["log_prob"] is kept


def test_detach():
    trace = poutine.trace(model).get_trace()
    assert trace.nodes["x"]["value"].requires_grad
    trace.detach_()
    assert not any(s["value"].requires_grad for s in trace.nodes.values() if s["type"] == "sample")


@pytest.mark.parametrize("quantity", ["log_prob", "log_prob_sum", "score_parts"])
def test_errors_in_log_prob_name_the_site(quantity):
    class Broken(dist.Normal):
        def log_prob(self, value):
            raise ValueError("no density today")

    trace = poutine.trace(
        lambda: ember.sample("test_site", Broken(torch.zeros(3), 1.0).to_event(1))
    ).get_trace()
    compute = {"log_prob": "compute_log_prob", "score_parts": "compute_score_parts"}.get(quantity, quantity)
    with pytest.raises(
        ValueError, match=f"Error while computing {quantity} at site 'test_site':\nno density"
    ) as caught:
        getattr(trace, compute)()
    assert "test_site dist | 3" in str(caught.value)


class OwnError(ValueError):
    pass


class Demanding(RuntimeError):
    def __init__(self, one, two):
        super().__init__("demanding")
        self.two = two


@pytest.mark.parametrize("error", [ValueError("lost"), RuntimeError("lost"), OwnError("lost")])
def test_errors_in_a_program_keep_their_type_and_get_the_table(error):
    def fails():
        ember.sample("x", NORMAL)
        raise error

    with pytest.raises(type(error), match="lost\nTrace Shapes:") as caught:
        poutine.trace(fails).get_trace()
    assert type(caught.value) is type(error) and "x dist |" in str(caught.value)


def test_other_errors_pass_as_they_are():
    def fails(error):
        raise error

    key, demanding = KeyError("lost"), Demanding(1, 2)
    with pytest.raises(KeyError) as caught:
        poutine.trace(fails).get_trace(key)
    assert caught.value is key
    with pytest.raises(Demanding) as caught:
        poutine.trace(fails).get_trace(demanding)
    assert caught.value.two == 2 and "Trace Shapes:" in "".join(caught.value.__notes__)


def test_table_of_shapes():
    def shaped():
        ember.param("p", torch.ones(3, 2))
        with ember.plate("rows", 3):
            ember.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            ember.sample("yy", NORMAL)
        ember.sample("last", dist.Dirichlet(torch.ones(14)))

    trace = poutine.trace(shaped).get_trace()
    lines = [
        "Trace Shapes:       ",
        " Param Sites:       ",
        "            p 3 2   ",
        "Sample Sites:       ",
        "    rows dist   |   ",
        "        value 3 |   ",
        "       x dist 3 |  2",
        "        value 3 |  2",
        "      yy dist 3 |   ",
        "        value 3 |   ",
        "    last dist   | 14",
        "        value   | 14",
    ]
    assert trace.format_shapes().splitlines() == lines
    short = trace.format_shapes(title="Until rows", last_site="rows").splitlines()
    assert [line.strip() for line in short] == [
        "Until rows",
        "Param Sites:",
        "p 3 2",
        "Sample Sites:",
        "rows dist   |",
        "value 3 |",
    ]
    trace.compute_log_prob()
    assert " log_prob 3 |   " in [line[4:] for line in trace.format_shapes().splitlines()]
    assert Trace().format_shapes() == "Trace Shapes:"


def test_nonfinite_log_probs_warn_by_site():
    class Broken(dist.Normal):
        def log_prob(self, value):
            return super().log_prob(value) * float("nan")

    trace = poutine.trace(lambda: ember.sample("sick", Broken(0.0, 1.0))).get_trace()
    with pytest.warns(UserWarning, match="Encountered NaN: log_prob_sum at site 'sick'"):
        trace.compute_log_prob()
    with ember.validation_enabled(False):
        poutine.trace(lambda: ember.sample("sick", Broken(0.0, 1.0))).get_trace().log_prob_sum()


def test_minus_infinity_is_no_cause_for_a_warning():
    def impossible():
        ember.sample("u", dist.Uniform(0.0, 1.0, validate_args=False), obs=torch.tensor(2.0))

    assert poutine.trace(impossible).get_trace().log_prob_sum() == -float("inf")
