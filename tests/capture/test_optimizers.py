"""The whole table of optimizers: captured where the update can be traced, else run by torch on captured gradients."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember import optim
from ember.capture import Interpreter
from ember.infer import Trace_ELBO
from ember.optim import PyroOptim
from tests import zoo
from tests.capture.fitting import (
    assert_same,
    data,
    fit,
    new_svi,
    parameters,
    program,
    simple_guide,
    simple_model,
)
from tests.optim.tables import RULES, SCHEDULES

pytestmark = pytest.mark.usefixtures("float64")
STEPS = 60
DENSE = [rule for rule in RULES if rule.gradient != "sparse"]


def matrix_program():
    def model():
        with ember.plate("rows", 3), ember.plate("columns", 2):
            ember.sample("z", dist.Normal(0.5, 1.0))

    def guide():
        loc = ember.param("loc", torch.arange(6.0).reshape(2, 3))
        with ember.plate("rows", 3), ember.plate("columns", 2):
            ember.sample("z", dist.Normal(loc, 0.5))

    return program(model, guide)


def how_updated(fitted):
    return [capture.optimizer for capture in ember.capture.explain(fitted[2]).captures]


@pytest.mark.parametrize("rule", DENSE, ids=lambda rule: rule.label)
def test_the_whole_table(rule):
    known = matrix_program() if rule.gradient == "matrix" else zoo.local_normals()
    make = lambda: PyroOptim(rule.kind, rule.options)
    eager = fit(known, "eager", optim=make, steps=STEPS)
    tensor_rate = any(isinstance(value, torch.Tensor) for value in rule.options.values())
    for how in ("compiled", "run", "eager run"):
        other = fit(known, how, optim=make, backend=Interpreter(), steps=STEPS)
        assert_same(other, eager)
        if how != "eager run":
            (update,) = how_updated(other)
            if rule.kind in (torch.optim.Adafactor, torch.optim.Muon) or tensor_rate:
                assert update.startswith("by torch")
            else:
                assert update == "captured"


FACTORIES = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
]
FACTORIES += ["SGD", "ClippedAdam", "DCTAdam"]


@pytest.mark.parametrize("name", FACTORIES)
def test_factories(name):
    make = lambda: getattr(optim, name)({"lr": 0.02})
    eager = fit(zoo.local_normals(), "eager", optim=make, steps=STEPS)
    assert_same(fit(zoo.local_normals(), "run", optim=make, backend=Interpreter(), steps=STEPS), eager)


def test_one_with_much_state_through_the_compiler():
    make = lambda: optim.RMSprop({"lr": 0.02, "momentum": 0.5, "centered": True})
    eager = fit(zoo.local_normals(), "eager", optim=make, steps=STEPS)
    assert_same(fit(zoo.local_normals(), "compiled", optim=make, steps=STEPS), eager)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind.__name__)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_schedules_never_capture_again(schedule, kind):
    options = {"lr": 0.05, "momentum": 0.9} if kind is torch.optim.SGD else {"lr": 0.05}
    if schedule.kind is torch.optim.lr_scheduler.CyclicLR and kind is torch.optim.Adam:
        options["betas"] = (0.9, 0.99)
    make = lambda: optim.PyroLRScheduler(
        schedule.kind, {"optimizer": kind, "optim_args": options, **schedule.options}
    )
    after = lambda svi: svi.optim.step(1.0) if schedule.metric else svi.optim.step()
    steps = 15
    eager = fit(zoo.local_normals(), "eager", optim=make, steps=steps, after_step=after)
    compiled = fit(
        zoo.local_normals(), "compiled", optim=make, steps=steps, after_step=after, backend=Interpreter()
    )
    assert_same(compiled, eager)
    (update,) = how_updated(compiled)
    cycles = schedule.kind.__name__ in ("CyclicLR", "OneCycleLR")
    assert update.startswith("by torch") if cycles else update == "captured"


class Halving(torch.optim.SGD):
    """A foreign rule: known to torch only as a subclass."""

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.data.add_(p.grad, alpha=-0.5 * self.param_groups[0]["lr"])


class Unrecordable(Halving):
    """Says that it can be recorded, and looks at values all the same."""

    parameterwise = True

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.add_(p.grad, alpha=-self.param_groups[0]["lr"] * (0.5 if p.grad.norm() > 1 else 1.0))


@pytest.mark.parametrize("kind", [Halving, Unrecordable])
def test_foreign_optimizers_run_on_captured_gradients(kind):
    make = lambda: PyroOptim(kind, {"lr": 0.05})
    eager = fit(zoo.local_normals(), "eager", optim=make, steps=STEPS)
    for how in ("compiled", "run"):
        other = fit(zoo.local_normals(), how, optim=make, backend=Interpreter(), steps=STEPS)
        assert_same(other, eager)
        (update,) = how_updated(other)
        assert update.startswith("by torch")


def test_hooks_of_an_optimizer_run():
    calls = []

    def make(params, **options):
        rule = torch.optim.SGD(params, **options)
        rule.register_step_post_hook(lambda *_: calls.append(1))
        return rule

    svi = new_svi(optim=PyroOptim(make, {"lr": 0.1}))
    for _ in range(5):
        svi.step(data())
    assert len(calls) == 10


@pytest.mark.parametrize("foreign", [False, True])
def test_a_parameter_without_a_gradient_stays_as_it_is(foreign):
    def guide(data):
        ember.param("idle", torch.tensor(2.0))
        simple_guide()

    kind = Halving if foreign else torch.optim.Adam
    known = program(simple_model, guide, data())
    make = lambda: PyroOptim(kind, {"lr": 0.1, "weight_decay": 0.5})
    eager = fit(known, "eager", optim=make, steps=10)
    captured = fit(known, "compiled", optim=make, steps=10, backend=Interpreter())
    assert_same(captured, eager)
    assert captured[1]["idle"] == 2.0


def test_sparse_gradients_say_that_they_cannot_be_captured():
    def model(rows):
        table = ember.param("table", torch.ones(5, 2))
        ember.sample(
            "x",
            dist.Normal(torch.nn.functional.embedding(rows, table, sparse=True).sum(), 1.0),
            obs=torch.tensor(0.1),
        )

    svi = new_svi(model, lambda rows: None, optim=optim.SparseAdam({"lr": 0.1}), compile="auto")
    eager = new_svi(model, lambda rows: None, optim=optim.SparseAdam({"lr": 0.1}), compile=False)
    rows = torch.tensor([1, 3])
    expected = [eager.step(rows) for _ in range(5)]
    ember.clear_param_store()
    with pytest.warns(UserWarning, match="sparse"):
        losses = [svi.step(rows) for _ in range(5)]
    assert losses == pytest.approx(expected)


def options_of(svi):
    return [view.param_groups[0] for view in svi.optim.optim_objs.values()]


def changed_options(svi):
    for options in options_of(svi):
        options["momentum"] = 0.5


def loaded_state(svi):
    state = svi.optim.get_state()
    for saved in state.values():
        saved["state"][0]["momentum_buffer"].fill_(3.0)
    svi.optim.set_state(state)


def replaced_tensor(svi):
    for param, view in svi.optim.optim_objs.items():
        view.state[param]["momentum_buffer"] = torch.full_like(param, 2.0)


def forgotten_slots(svi):
    for param in list(svi.optim.optim_objs):
        del svi.optim.optim_objs[param]


def other_optimizer(svi):
    svi.optim = optim.SGD({"lr": 0.01})


def other_rule(svi):
    for param in list(svi.optim.optim_objs):
        svi.optim.optim_objs[param] = torch.optim.SGD([param], lr=0.01)


def new_parameters(svi):
    ember.get_param_store()["loc"] = torch.tensor(2.0)


def loaded_parameters(svi):
    state = ember.get_param_store().get_state()
    leaves = {name: (leaf.detach() + 1).requires_grad_() for name, leaf in state["params"].items()}
    ember.get_param_store().set_state({"params": leaves, "constraints": state["constraints"]})


def cleared_store(svi):
    ember.clear_param_store()


CHANGES = [changed_options, loaded_state, replaced_tensor, forgotten_slots, other_optimizer, other_rule]
CHANGES += [new_parameters, loaded_parameters, cleared_store]


MOMENTUM = (changed_options, loaded_state, replaced_tensor)
CASES = [(optim.SGD, change) for change in CHANGES]
CASES += [(optim.Adam, change) for change in CHANGES if change not in MOMENTUM]


@pytest.mark.parametrize("before", [1, 4])
@pytest.mark.parametrize(("rule", "change"), CASES)
def test_changes_from_outside_count_at_once(rule, change, before):
    results = []
    for mode in (False, True):
        svi = new_svi(
            optim=rule({"lr": 0.02, "momentum": 0.9} if rule is optim.SGD else {"lr": 0.1}), compile=mode
        )
        losses = [svi.step(data()) for _ in range(before)]
        change(svi)
        losses += [svi.step(data()) for _ in range(5)]
        results.append((losses, parameters()))
    assert_same(*results)


def test_options_that_change_all_the_time_are_left_to_torch():
    results = []
    for mode in (False, True):
        svi = new_svi(optim=optim.SGD({"lr": 0.1, "momentum": 0.9}), compile=mode)
        losses = []
        for step in range(20):
            losses.append(svi.step(data()))
            for options in options_of(svi):
                options["momentum"] = 0.9 - 0.01 * step
        results.append((losses, parameters(), svi))
    assert_same(*results)
    assert ember.capture.explain(svi).num_captures <= 5


def test_state_saved_in_the_middle_resumes_the_compiled_training(tmp_path):
    def steps(svi, n):
        return [svi.step(data()) for _ in range(n)]

    make = lambda: optim.ClippedAdam({"lr": 0.1, "lrd": 0.98})
    whole = new_svi(optim=make())
    losses = steps(whole, 20)
    expected = parameters()
    first = new_svi(optim=make())
    start = steps(first, 10)
    ember.get_param_store().save(tmp_path / "params")
    first.optim.save(tmp_path / "optim")
    rng = torch.get_rng_state()
    second = new_svi(optim=make())
    ember.get_param_store().load(tmp_path / "params")
    second.optim.load(tmp_path / "optim")
    torch.set_rng_state(rng)
    rest = steps(second, 10)
    assert_same((start + rest, parameters()), (losses, expected))
    # The same within one object.
    ember.get_param_store().load(tmp_path / "params")
    first.optim.load(tmp_path / "optim")
    torch.set_rng_state(rng)
    assert_same((start + steps(first, 10), parameters()), (losses, expected))


def test_vectorised_particles_with_many_groups():
    make = lambda: optim.Adam(lambda name: {"lr": 0.01 * (1 + len(name))})
    loss = lambda: Trace_ELBO(num_particles=2)
    eager = fit(zoo.local_normals(), "eager", optim=make, loss=loss, steps=20)
    assert_same(
        fit(zoo.local_normals(), "run", optim=make, loss=loss, steps=20, backend=Interpreter()), eager
    )


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RAdam", "ClippedAdam", "SGD"])
def test_a_learning_rate_of_zero_changes_nothing(name):
    def model():
        ember.sample("z", dist.Normal(0.0, 1.0))

    def guide():
        ember.param("idle", torch.tensor(2.0))
        ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.3)), 1.0))

    svi = new_svi(model, guide, getattr(ember.optim, name)({"lr": 0.0}))
    for _ in range(4):
        svi.step()
    assert {key: value.item() for key, value in parameters().items()} == pytest.approx(
        {"idle": 2.0, "loc": 0.3}
    )
    assert all(slot.rule.param_groups[0]["lr"] == 0.0 for slot in svi.optim.records)


def test_only_the_drawn_rows_of_a_parameter_change():
    goal = torch.linspace(-1.0, 1.0, 6)

    def model():
        with ember.plate("rows", 6, subsample_size=2) as rows:
            weight = ember.param("weight", torch.zeros(6), event_dim=0)
            ember.sample("x", dist.Normal(weight, 1.0), obs=goal[rows])

    make = lambda: optim.DCTAdam({"lr": 0.1, "subsample_aware": True})
    known = program(model, lambda: None)
    eager = fit(known, "eager", optim=make, steps=20)
    for how in ("compiled", "run"):
        other = fit(known, how, optim=make, steps=20, backend=Interpreter())
        assert_same(other, eager)
        assert how_updated(other) == ["captured"]
        assert other[2].optim.get_state()["weight"]["state"][0]["step"].sum() == 40


def test_a_time_series_in_both_domains():
    def model():
        series = ember.param("series", torch.zeros(7))
        ember.sample("x", dist.Normal(series, 1.0).to_event(1), obs=torch.linspace(-1.0, 1.0, 7))
        series.unconstrained()._pyro_dct_dim = -1

    make = lambda: optim.DCTAdam({"lr": 0.1, "lrd": 0.99})
    known = program(model, lambda: None)
    eager = fit(known, "eager", optim=make, steps=20)
    assert_same(fit(known, "compiled", optim=make, steps=20, backend=Interpreter()), eager)


class Twice(PyroOptim):
    """Takes two steps in place of one."""

    def __call__(self, params, *args, **kwargs):
        params = list(params)
        super().__call__(params)
        super().__call__(params)


class Chosen(PyroOptim):
    """Chooses the class of the torch optimizer by parameter."""

    def _get_optim(self, param):
        name = ember.get_param_store().param_name(param)
        kind = torch.optim.SGD if name == "scale" else torch.optim.Adam
        return kind([param], **self._get_optim_args(param))


@pytest.mark.parametrize(("kind", "update"), [(Twice, "by torch"), (Chosen, "captured")])
def test_subclasses_do_what_they_say(kind, update):
    make = lambda: kind(torch.optim.Adam, {"lr": 0.02})
    known = program(simple_model, simple_guide, data())
    eager = fit(known, "eager", optim=make, steps=20)
    for how in ("compiled", "run"):
        other = fit(known, how, optim=make, steps=20, backend=Interpreter())
        assert_same(other, eager)
        assert how_updated(other)[0].startswith(update)


def test_state_cleared_between_steps_is_cleared():
    def drive(svi):
        losses = [svi.step(data()) for _ in range(5)]
        for shown in svi.optim.optim_objs.values():
            shown.state.clear()
        return [*losses, *(svi.step(data()) for _ in range(5))]

    results = []
    for mode in (False, True):
        svi = new_svi(optim=optim.Adam({"lr": 0.1}), compile=mode)
        results.append((drive(svi), parameters()))
    assert_same(*results)
