"""Private names of torch: without them, or with others in their place, Ember goes on by public ways and says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from ember.capture import inductor
from ember.torch_private import ENTRIES, LOSSES, Entry, missing_for_capture
from ember.torch_private.foreach import (
    foreach_clamp_max_,
    foreach_clamp_min_,
    foreach_copy_,
    foreach_mul_,
    foreach_norm,
    non_finite_check_and_unscale_,
)

BY_NAME = {entry.name: entry for entry in ENTRIES}
# Torch itself fails while these are gone, before Ember comes to be imported.
TORCH_NEEDS = {"torch._ops.OpOverload", "torch.UntypedStorage._cdata", "torch.Tensor._cdata"}


def holder_of(name: str) -> tuple[Any, str]:
    """The object on which the last part of a dotted name hangs."""
    path, _, last = name.rpartition(".")
    holder: Any = import_module("torch")
    for part in path.split(".")[1:]:
        holder = getattr(holder, part)
    return holder, last


def test_this_torch_has_all() -> None:
    assert not LOSSES
    assert missing_for_capture() == ""
    assert len(BY_NAME) == len(ENTRIES) > 20


def test_a_name_that_is_gone_is_replaced() -> None:
    entry = Entry[object]("torch.no_such_part.no_such_name", lambda found: True, "public", "the public way")
    found, reason = entry.find()
    assert found == "public"
    assert "no_such_part" in reason


@pytest.mark.parametrize("name", [name for name in BY_NAME if "cdata" not in name])
def test_what_answers_otherwise_is_replaced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of the same name that takes nothing Ember gives it, or is no class any more."""
    entry = BY_NAME[name]
    holder, last = holder_of(name)

    def other(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
        raise AssertionError("not called with five")

    monkeypatch.setattr(holder, last, other)
    found, reason = entry.find()
    monkeypatch.undo()
    assert found is entry.otherwise
    assert reason


def each(values: list[float]) -> list[torch.Tensor]:
    return [torch.tensor([value, 2.0]) for value in values]


@pytest.mark.parametrize(
    ("name", "own", "arguments"),
    [
        ("torch._foreach_copy_", foreach_copy_, lambda: each([5.0, 6.0])),
        ("torch._foreach_mul_", foreach_mul_, lambda: each([5.0, 6.0])),
        ("torch._foreach_clamp_min_", foreach_clamp_min_, lambda: 1.5),
        ("torch._foreach_clamp_max_", foreach_clamp_max_, lambda: 1.5),
    ],
)
def test_loops_do_what_lists_do(name: str, own: Callable[..., Any], arguments: Callable[[], Any]) -> None:
    one, other = each([1.0, -3.0]), each([1.0, -3.0])
    own(one, arguments())
    BY_NAME[name].otherwise(other, arguments())
    assert [x.tolist() for x in one] == [x.tolist() for x in other]


def test_norms_one_by_one() -> None:
    norms = BY_NAME["torch._foreach_norm"].otherwise(each([1.0, -3.0]))
    assert torch.equal(torch.stack(norms), torch.stack(list(foreach_norm(each([1.0, -3.0])))))


@pytest.mark.parametrize("value", [1.0, float("nan"), float("-inf")])
def test_infinities_one_by_one(value: float) -> None:
    found = [torch.zeros(1), torch.zeros(1)]
    for call, flag in zip(
        (
            non_finite_check_and_unscale_,
            BY_NAME["torch._amp_foreach_non_finite_check_and_unscale_"].otherwise,
        ),
        found,
        strict=True,
    ):
        call(each([1.0, value]), flag, torch.ones(1))
    assert found[0].item() == found[1].item() == float(value != 1.0)


def test_addresses_tell_tensors_apart() -> None:
    x, empty, other = torch.ones(3), torch.empty(0), torch.empty(0)
    storages = BY_NAME["torch.UntypedStorage._cdata"].otherwise
    tensors = BY_NAME["torch.Tensor._cdata"].otherwise
    assert storages.__get__(x.untyped_storage()) == storages.__get__(x[1:].untyped_storage())
    assert tensors.__get__(x) == tensors.__get__(x)
    assert tensors.__get__(empty) != tensors.__get__(other)


FIT = """
import torch
import ember
import ember.distributions as dist
from ember import errors, optim
from ember.infer import SVI, Trace_ELBO

def model(y):
    m = ember.sample("m", dist.Normal(0.0, 1.0))
    with ember.plate("data", 3):
        ember.sample("y", dist.Normal(m, 1.0), obs=y)

def guide(y):
    loc = ember.param("loc", torch.tensor(0.1))
    scale = ember.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
    ember.sample("m", dist.Normal(loc, scale))

def losses(compile):
    ember.clear_param_store()
    ember.set_rng_seed(0)
    svi = SVI(model, guide, optim.ClippedAdam({"lr": 0.01}), Trace_ELBO(), compile=compile)
    return [svi.step(torch.tensor([1.0, 2.0, 0.5])) for _ in range(4)]
"""
PROGRAM = """
import json, sys, warnings
import torch, torch._decomp, torch.utils._python_dispatch, torch.distributions, torch.optim
names = json.loads(sys.argv[1])
kept = []
for name in names:
    path, _, last = name.rpartition(".")
    holder = torch
    for part in path.split(".")[1:]:
        holder = getattr(holder, part)
    kept.append((holder, last, getattr(holder, last)))
for holder, last, _ in kept:
    delattr(holder, last)
import ember
from ember.infer import SVI, Trace_ELBO
from ember import errors, optim
for holder, last, value in kept:
    setattr(holder, last, value)
from ember.__main__ import main
from ember.torch_private import LOSSES
exec(sys.argv[2])
found = {"lost": [loss.entry.name for loss in LOSSES], "eager": losses(False)}
try:
    found["compiled"] = losses(True)
except errors.CaptureError as error:
    found["refused"] = str(error)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    found["by_default"] = losses(None)
main(["--no-compile"])
print("\\n" + json.dumps(found))
"""


def run_without(names: list[str]) -> tuple[dict[str, Any], str]:
    """What the program finds where torch lacks these names while Ember is imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(names), FIT], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    report, _, last = done.stdout.strip().rpartition("\n")
    return json.loads(last), report


@pytest.fixture(scope="module")
def whole() -> dict[str, list[float]]:
    """What it finds here."""
    names: dict[str, Any] = {}
    exec(FIT, names)
    return {"eager": names["losses"](False), "compiled": names["losses"](True)}


def test_a_program_runs_without_any_of_them(whole: dict[str, list[float]]) -> None:
    """All are gone at once: the numbers stay, steps are not captured, and the doctor and the error name what is missing."""
    gone = [name for name in BY_NAME if name not in TORCH_NEEDS]
    found, report = run_without(gone)
    assert set(found["lost"]) == set(gone)
    assert found["eager"] == found["by_default"] == whole["eager"]
    assert "torch._C._len_torch_function_stack is not usable" in found["refused"]
    assert "compile=False" in found["refused"]
    for name in gone:
        assert name in report


def test_captured_steps_need_few_of_them(whole: dict[str, list[float]]) -> None:
    gone = [entry.name for entry in ENTRIES if not entry.needed and entry.name not in TORCH_NEEDS]
    found, _ = run_without(gone)
    assert set(found["lost"]) == set(gone)
    assert found["compiled"] == pytest.approx(whole["compiled"], rel=1e-6)


def test_inductor_goes_by_torch_compile_where_its_own_way_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = torch.fx.symbolic_trace(lambda x: (x * 2.0,))
    gone: list[object] = []

    def publicly(module: object, inputs: object) -> Any:
        gone.append(module)
        return lambda flat: [flat[0] * 2.0]

    monkeypatch.setitem(sys.modules, "torch._functorch", None)
    monkeypatch.setattr(inductor, "compile_graph_publicly", publicly)
    monkeypatch.setattr("ember.torch_private.entry.LOSSES", losses := [])
    for _ in range(2):
        compiled = inductor.compile_graph(graph, [torch.ones(2)])
    assert compiled([torch.ones(2)])[0].tolist() == [2.0, 2.0]
    assert gone == [graph, graph]
    assert len(losses) == 1
    assert "torch._inductor.compile_fx is not usable (ModuleNotFoundError" in str(losses[0])
    assert "torch.compile" in str(losses[0])


def test_an_error_of_the_graph_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(module: object, inputs: object) -> Any:
        raise TypeError("the graph")

    monkeypatch.setattr(inductor, "_compile_directly", fails)
    monkeypatch.setattr(inductor, "compile_graph_publicly", fails)
    with pytest.raises(TypeError, match="the graph"):
        inductor.compile_graph(torch.fx.symbolic_trace(lambda x: (x,)), [torch.ones(2)])
    assert not LOSSES
