"""What eager execution notices, a captured step notices or refuses: a row a fact, for ``step`` and for ``run``."""

from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import functools
import random
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import ember
import ember.distributions as dist
from ember import optim, poutine
from ember.errors import CaptureError, Reason
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.nn import PyroModule, PyroSample

pytestmark = pytest.mark.usefixtures("float64")

BETA = 0.5
TABLE = {"beta": 0.5}
SETTINGS = types.ModuleType("settings_of_the_user")
SETTINGS.beta = 0.5  # type: ignore[attr-defined]
NETWORK = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.1))


def observed(z: Any, scale: Any = 1.0) -> None:
    ember.sample("x", dist.Normal(z, scale), obs=torch.tensor(0.4))


def latent() -> Any:
    return ember.sample("z", dist.Normal(0.0, 1.0))


def guide(*args: Any, **kwargs: Any) -> None:
    loc = ember.param("loc", torch.tensor(0.1))
    ember.sample("z", dist.Normal(loc, ember.param("scale", torch.tensor(0.5), dist.constraints.positive)))


@dataclasses.dataclass
class Case:
    """A model, and something that happens between two steps."""

    model: Callable[..., Any]
    change: Callable[[Any], None]
    args: tuple[Any, ...] = ()
    guide: Callable[..., Any] = guide


def reads_a_global() -> Case:
    def change(svi: SVI) -> None:
        global BETA
        BETA *= 3.0

    return Case(lambda: observed(latent() * BETA), change)


def reads_a_global_of_a_called_function() -> Case:
    def helper() -> float:
        return BETA

    def change(svi: SVI) -> None:
        global BETA
        BETA *= 3.0

    return Case(lambda: observed(latent() * helper()), change)


def reads_a_dict() -> Case:
    return Case(lambda: observed(latent() * TABLE["beta"]), lambda svi: TABLE.update(beta=TABLE["beta"] * 3))


def reads_a_module() -> Case:
    def change(svi: SVI) -> None:
        SETTINGS.beta *= 3.0  # type: ignore[attr-defined]

    return Case(lambda: observed(latent() * SETTINGS.beta), change)


def reads_an_import() -> Case:
    sys.modules["settings_of_the_user"] = SETTINGS

    def model() -> None:
        from settings_of_the_user import beta  # type: ignore[import-not-found]

        observed(latent() * beta)

    def change(svi: SVI) -> None:
        SETTINGS.beta *= 3.0  # type: ignore[attr-defined]

    return Case(model, change)


def reads_a_closure() -> Case:
    beta = 0.5

    def change(svi: SVI) -> None:
        nonlocal beta
        beta *= 3.0

    return Case(lambda: observed(latent() * beta), change)


def reads_a_list_of_lists() -> Case:
    levels = [[0.5], [0.25]]

    def change(svi: SVI) -> None:
        levels[1][0] *= 3.0

    return Case(lambda: observed(latent() * levels[1][0]), change)


def reads_the_length_of_a_list() -> Case:
    levels = [1.0]
    return Case(lambda: observed(latent() * len(levels)), lambda svi: levels.append(2.0))


def reads_a_deque_and_a_set() -> Case:
    window, names = collections.deque([0.5], maxlen=3), {"a"}

    def change(svi: SVI) -> None:
        window.append(2.0)
        names.add(str(len(names)))

    return Case(lambda: observed(latent() * sum(window) * len(names)), change)


def reads_an_array() -> Case:
    array = np.array([0.5, 0.25])

    def change(svi: SVI) -> None:
        array[0] *= 3.0

    return Case(lambda: observed(latent() * float(array[0])), change)


def reads_a_tensor_that_is_replaced() -> Case:
    box = {"data": torch.tensor(0.5)}

    def change(svi: SVI) -> None:
        box["data"] = box["data"] * 3.0

    return Case(lambda: observed(latent() * box["data"]), change)


class Method:
    beta = 0.5

    def __init__(self) -> None:
        self.offset = 0.1

    def scale(self) -> float:
        return self.beta

    def model(self) -> None:
        observed(latent() * self.scale() + self.offset)


def is_a_method() -> Case:
    owner = Method()

    def change(svi: SVI) -> None:
        owner.offset += 1.0

    return Case(owner.model, change)


def reads_an_attribute_of_a_class() -> Case:
    class Own(Method):
        pass

    def change(svi: SVI) -> None:
        Own.beta *= 3.0

    return Case(Own().model, change)


def has_an_attribute_shadowed() -> Case:
    class Own(Method):
        pass

    owner = Own()

    def change(svi: SVI) -> None:
        owner.beta = owner.beta * 3.0

    return Case(owner.model, change)


def has_a_method_replaced() -> Case:
    class Own(Method):
        pass

    def change(svi: SVI) -> None:
        before = Own.scale
        Own.scale = lambda self: 3.0 * before(self)  # type: ignore[method-assign]

    return Case(Own().model, change)


def reads_by_getattr() -> Case:
    owner = Method()

    def change(svi: SVI) -> None:
        owner.offset += 1.0

    return Case(lambda: observed(latent() * getattr(owner, "offset")), change)  # noqa: B009


def reads_by_a_computed_name() -> Case:
    owner = types.SimpleNamespace(layer_1=0.5)

    def change(svi: SVI) -> None:
        owner.layer_1 *= 3.0

    return Case(lambda: observed(latent() * getattr(owner, f"layer_{len('x')}")), change)


def has_its_code_replaced() -> Case:
    def model() -> None:
        observed(latent())

    def other() -> None:
        observed(latent() * 3.0)

    def change(svi: SVI) -> None:
        model.__code__ = other.__code__

    return Case(model, change)


def has_a_default_rebound() -> Case:
    def model(beta: float = 0.5, *, power: float = 1.0) -> None:
        observed(latent() * beta * power)

    def change(svi: SVI) -> None:
        model.__defaults__ = (model.__defaults__[0] * 3.0,)  # type: ignore[index]
        model.__kwdefaults__["power"] += 0.5  # type: ignore[index]

    return Case(model, change)


def is_a_handler_with_a_number() -> Case:
    box = {"scale": 0.5}

    def model() -> None:
        with poutine.scale(scale=box["scale"]):
            observed(latent())

    def change(svi: SVI) -> None:
        box["scale"] *= 3.0

    return Case(model, change)


class Network(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.beta = 0.5
        self.data = torch.tensor(0.4)
        self.items = [0.5]
        self.net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
        self.register_buffer("offset", torch.tensor(0.5))

    def forward(self) -> None:
        z = latent()
        out = self.net(z.reshape(1)).squeeze()
        ember.sample("x", dist.Normal(out * self.beta + self.offset, float(self.items[-1])), obs=self.data)


def network(change: Callable[[Network], None]) -> Callable[[], Case]:
    def case() -> Case:
        torch.manual_seed(1)
        module = Network()
        return Case(module, lambda svi: change(module))

    return case


def _scaled(module: Network) -> None:
    module.beta *= 3.0


def _replaced(module: Network) -> None:
    module.net[0].weight = torch.nn.Parameter(module.net[0].weight.detach() * 3.0)


def _layer(module: Network) -> None:
    module.net[1] = torch.nn.Sigmoid()


def _loaded(module: Network) -> None:
    state = {key: value * 2.0 for key, value in module.state_dict().items()}
    module.load_state_dict(state, assign=True)


def _hooked(module: Network) -> None:
    module.net[0].register_forward_hook(lambda own, args, out: out * 3.0)


def _appended(module: Network) -> None:
    module.items.append(2.0)


def _buffer(module: Network) -> None:
    module.offset = module.offset * 3.0


def _data(module: Network) -> None:
    module.data = -module.data


def _frozen(module: Network) -> None:
    module.net[0].weight.requires_grad_(not module.net[0].weight.requires_grad)


NETWORKS = {
    f.__name__: network(f)
    for f in (_scaled, _replaced, _layer, _loaded, _hooked, _appended, _buffer, _data, _frozen)
}


def dropout_in_an_unregistered_place() -> Case:
    module = torch.nn.Dropout(0.1)

    def change(svi: SVI) -> None:
        module.p = 0.9

    return Case(lambda: observed(module(latent() + torch.ones(3)).sum()), change)


def all_modules_get_a_hook() -> Case:
    module = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(module.weight, 0.5)
    module.requires_grad_(False)
    handles: list[Any] = []

    def change(svi: SVI) -> None:
        if handles:
            handles.pop().remove()
        else:
            hook = torch.nn.modules.module.register_module_forward_hook(lambda own, args, out: out * 3.0)
            handles.append(hook)

    return Case(lambda: observed(module(latent().reshape(1)).squeeze()), change)


def namespace_argument() -> Case:
    args = argparse.Namespace(beta=0.5, data=torch.tensor(0.4))

    def change(svi: SVI) -> None:
        args.beta *= 3.0
        args.data = args.data + 1.0

    return Case(lambda a: observed(latent() * a.beta + a.data), change, (args,))


@dataclasses.dataclass
class Options:
    beta: float = 0.5


class Holder:
    def __init__(self) -> None:
        self.beta = 0.5


class Slotted:
    __slots__ = ("beta",)

    def __init__(self) -> None:
        self.beta = 0.5


def object_argument(make: Callable[[], Any]) -> Callable[[], Case]:
    def case() -> Case:
        options = make()

        def change(svi: SVI) -> None:
            options.beta *= 3.0

        return Case(lambda o: observed(latent() * o.beta), change, (options,))

    return case


OBJECTS = {kind.__name__: object_argument(kind) for kind in (Options, Holder, Slotted)}


def deque_and_set_arguments() -> Case:
    window, names = collections.deque([0.5]), {"a"}

    def change(svi: SVI) -> None:
        window.append(2.0)
        names.add(str(len(names)))

    return Case(lambda w, n: observed(latent() * sum(w) * len(n)), change, (window, names))


def a_tensor_is_transposed() -> Case:
    x = torch.arange(9.0).reshape(3, 3) / 9

    def model(x: torch.Tensor) -> None:
        w = ember.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        ember.sample("x", dist.Normal(x @ w, 1.0).to_event(1), obs=torch.ones(3))

    def guide(x: torch.Tensor) -> None:
        ember.sample("w", dist.Normal(ember.param("w_loc", torch.ones(3)), 1.0).to_event(1))

    return Case(model, lambda svi: setattr(svi, "_", x.t_()), (x,), guide)


def a_tensor_gets_other_memory() -> Case:
    x = torch.tensor([0.4, 0.5])

    def change(svi: SVI) -> None:
        x.data = x.detach() + 1.0

    return Case(lambda x: observed(latent() + x.sum()), change, (x,))


def a_closure_tensor_is_resized() -> Case:
    x = torch.tensor([0.4, 0.5])

    def change(svi: SVI) -> None:
        x.data = torch.cat([x.detach(), torch.ones(1)])

    return Case(lambda: observed(latent() + x.mean()), change)


def a_parameter_is_frozen() -> Case:
    def change(svi: SVI) -> None:
        leaf = ember.param("loc").unconstrained()
        leaf.requires_grad_(not leaf.requires_grad)

    return Case(lambda: observed(latent()), change)


def a_parameter_is_set() -> Case:
    def change(svi: SVI) -> None:
        ember.get_param_store()["loc"] = torch.tensor(0.7)

    return Case(lambda: observed(latent()), change)


def a_parameter_gets_a_hook() -> Case:
    def change(svi: SVI) -> None:
        ember.param("loc").unconstrained().register_hook(lambda grad: grad * 0.1)

    return Case(lambda: observed(latent()), change)


def a_constraint_is_replaced() -> Case:
    def change(svi: SVI) -> None:
        store = ember.get_param_store()
        store._constraints["scale"] = dist.constraints.greater_than(0.2)

    return Case(lambda: observed(latent()), change)


def the_store_is_cleared() -> Case:
    return Case(lambda: observed(latent()), lambda svi: ember.clear_param_store())


def optimizer_state_is_cleared() -> Case:
    def change(svi: SVI) -> None:
        for one in svi.optim.optim_objs.values():
            one.state.clear()

    return Case(lambda: observed(latent()), change)


def optimizer_state_is_set() -> Case:
    def change(svi: SVI) -> None:
        state = svi.optim.get_state()
        for one in state.values():
            one["state"][0]["exp_avg"] = one["state"][0]["exp_avg"] * 0 + 0.5
        svi.optim.set_state(state)

    return Case(lambda: observed(latent()), change)


def optimizer_options_are_changed() -> Case:
    def change(svi: SVI) -> None:
        for one in svi.optim.optim_objs.values():
            one.param_groups[0]["lr"] *= 3.0
            one.param_groups[0]["weight_decay"] = 0.1

    return Case(lambda: observed(latent()), change)


def the_model_is_replaced() -> Case:
    def change(svi: SVI) -> None:
        svi.model = lambda: observed(latent() * 3.0)

    return Case(lambda: observed(latent()), change)


def the_objective_is_changed() -> Case:
    def change(svi: SVI) -> None:
        svi._objective.num_particles += 1

    return Case(lambda: observed(latent()), change)


def gradients_of_other_networks() -> Case:
    torch.manual_seed(2)
    net = torch.nn.Linear(1, 1)
    other = torch.optim.SGD(net.parameters(), lr=0.1)

    def change(svi: SVI) -> None:
        other.step()
        other.zero_grad()

    return Case(lambda: observed(latent() + net(torch.ones(1)).squeeze()), change)


def a_random_number_of_python() -> Case:
    generator = random.Random(0)
    return Case(lambda: observed(latent() * generator.random()), lambda svi: None)


def a_counter_of_its_own() -> Case:
    count = [0]

    def model() -> None:
        count[0] += 1
        observed(latent() * min(1.0, count[0] / 10))

    return Case(model, lambda svi: None)


def numbers_drawn_by_numpy() -> Case:
    generator = np.random.default_rng(0)
    return Case(lambda: observed(latent() * float(generator.normal())), lambda svi: None)


CASES: list[Callable[[], Case]] = [
    reads_a_global, reads_a_global_of_a_called_function, reads_a_dict, reads_a_module, reads_an_import,
    reads_a_closure, reads_a_list_of_lists, reads_the_length_of_a_list, reads_a_deque_and_a_set, reads_an_array,
    reads_a_tensor_that_is_replaced, is_a_method, reads_an_attribute_of_a_class, has_an_attribute_shadowed,
    has_a_method_replaced, reads_by_getattr, reads_by_a_computed_name, has_its_code_replaced, has_a_default_rebound,
    is_a_handler_with_a_number, dropout_in_an_unregistered_place, all_modules_get_a_hook, namespace_argument,
    deque_and_set_arguments,
    a_tensor_is_transposed, a_tensor_gets_other_memory, a_closure_tensor_is_resized, a_parameter_is_frozen,
    a_parameter_is_set, a_parameter_gets_a_hook, a_constraint_is_replaced, the_store_is_cleared,
    optimizer_state_is_cleared, optimizer_state_is_set, optimizer_options_are_changed, the_model_is_replaced,
    the_objective_is_changed, gradients_of_other_networks, a_random_number_of_python, a_counter_of_its_own,
    numbers_drawn_by_numpy,
]  # fmt: skip
ALL = {**{case.__name__: case for case in CASES}, **NETWORKS, **OBJECTS}


def fitted(make: Callable[[], Case], compile: Any, how: str) -> list[float]:
    """Losses around three changes."""
    global BETA
    BETA, TABLE["beta"] = 0.5, 0.5
    SETTINGS.beta = 0.5  # type: ignore[attr-defined]
    ember.clear_param_store()
    ember.set_rng_seed(0)
    case = make()
    svi = SVI(
        case.model, case.guide, optim.Adam({"lr": 0.05}), Trace_ELBO(), compile=compile, backend="interpreter"
    )
    ember.set_rng_seed(3)
    losses: list[float] = []
    for _ in range(4):
        if how == "step":
            losses += [svi.step(*case.args) for _ in range(4)]
        else:
            losses += svi.run(4, *case.args, progress=False).losses.tolist()
        case.change(svi)
    return losses


@pytest.mark.parametrize("how", ["step", "run"])
@pytest.mark.parametrize("name", list(ALL))
def test_what_changes_is_noticed(name: str, how: str) -> None:
    with warnings.catch_warnings():
        # Where a fact cannot be watched, "auto" says so, and goes on eagerly.
        warnings.filterwarnings("ignore", "SVI runs eagerly")
        warnings.filterwarnings(
            "ignore", ".*was not registered in the param store because requires_grad=False"
        )
        expected = fitted(ALL[name], False, how)
        found = fitted(ALL[name], "auto" if how == "step" else None, how)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def _model_reading_a_generator() -> Callable[[], None]:
    numbers = (float(n) for n in range(1000))
    return lambda: observed(latent() * next(numbers))


def test_globals_by_computed_names_are_refused() -> None:
    svi = SVI(
        lambda: observed(latent() * globals()["BETA"]),
        guide,
        optim.Adam({"lr": 0.05}),
        Trace_ELBO(),
        compile=True,
    )
    svi.step()
    with pytest.raises(CaptureError, match="globals by names that <lambda> computes"):
        svi.step()


@pytest.mark.parametrize("compile", [True, "auto", None])
def test_what_cannot_be_watched_is_refused(compile: Any) -> None:
    svi = SVI(_model_reading_a_generator(), guide, optim.Adam({"lr": 0.05}), Trace_ELBO(), compile=compile)
    if compile is True:
        svi.step()
        with pytest.raises(CaptureError, match="a generator, whose changes cannot be seen") as raised:
            svi.step()
        assert raised.value.reason is Reason.UNSEEN
    else:
        with pytest.warns(UserWarning, match="cannot be seen"):
            svi.run(5, progress=False)
        assert ember.capture.explain(svi).num_captures == 0


def test_functions_as_arguments_count_by_what_they_do() -> None:
    def power(base: float, x: Any) -> Any:
        return base * x

    svi = SVI(
        lambda f, g: observed(f(latent()) + g(1.0)),
        guide,
        optim.Adam({"lr": 0.05}),
        Trace_ELBO(),
        compile=True,
    )
    for _ in range(6):
        svi.step(functools.partial(power, 2.0), lambda x: x * 0.5)
    report = ember.capture.explain(svi)
    assert (report.num_captures, report.eager_calls) == (1, 1)
    assert report.captures[0].calls == 4


@pytest.mark.parametrize("last", [1.0, 0.2], ids=["others in every step", "then the same"])
def test_numbers_that_are_others_in_every_step_become_inputs(last: float) -> None:
    losses = []
    for compile in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        svi = SVI(
            lambda beta: observed(latent() * beta),
            guide,
            optim.Adam({"lr": 0.05}),
            Trace_ELBO(),
            compile=compile,
        )
        losses.append([svi.step(min(last, 0.01 * step)) for step in range(30)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    report = ember.capture.explain(svi)
    assert report.num_captures == 1 and report.captures[0].calls >= 24


def test_numbers_that_decide_branches_stay_what_they_are() -> None:
    losses = []
    for compile in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        svi = SVI(
            lambda n: observed(latent() * (2.0 if n > 10 else 1.0)),
            guide,
            optim.Adam({"lr": 0.05}),
            Trace_ELBO(),
            compile=compile,
        )
        losses.append([svi.step(step) for step in range(20)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_nothing_is_captured_anew_while_nothing_changes() -> None:
    module = Network()
    prior = PyroSample(dist.Normal(0.0, 1.0))
    module.extra = prior
    svi = SVI(module, AutoNormal(module), optim.Adam({"lr": 0.05}), Trace_ELBO(), compile=True)
    for _ in range(8):
        svi.step()
    report = ember.capture.explain(svi)
    assert (report.num_captures, report.eager_calls) == (1, 1)


def test_an_svi_can_be_copied_after_a_captured_step() -> None:
    svi = SVI(lambda: observed(latent()), guide, optim.Adam({"lr": 0.05}), Trace_ELBO(), compile=True)
    for _ in range(4):
        svi.step()
    copied = copy.deepcopy(svi)
    losses = []
    for one in (copied, svi):
        store = ember.get_param_store()
        ember.set_rng_seed(5)
        with store.scope(
            {
                "params": {k: v.detach().clone().requires_grad_() for k, v in store.named_parameters()},
                "constraints": {name: store.constraint(name) for name in store},
            }
        ):
            losses.append(one.step())
    assert losses[0] == pytest.approx(losses[1])
