"""The benchmark runs, and what it compares is the same maths. No time is judged here."""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import ember

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def worker() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT))
    yield importlib.import_module("benchmarks.worker")
    sys.path.remove(str(ROOT))


@pytest.mark.parametrize(
    "model",
    [
        *("beta_bernoulli", "eight_schools", "logistic_regression", "logistic_batches", "linear_mixed"),
        *("scalar_sites", "many_parameters", "vae"),
    ],
)
def test_ember_and_the_training_loop_by_hand_have_the_same_losses(worker: ModuleType, model: str) -> None:
    runs = [
        worker._losses(worker.CONTENDERS[name](name)(model), seed=3, steps=3) for name in ("ember", "hand")
    ]
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)
    assert len(set(runs[0])) == 3


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("model", ["eight_schools", "regression_20x3", "logistic_500x20", "gp_50"])
def test_densities_by_rows_and_batched_are_the_same(worker: ModuleType, model: str) -> None:
    rows = importlib.import_module("benchmarks.rows")
    torch.manual_seed(0)
    target = rows.MODELS[model]()
    rows.check(ember.density(target.model, *target.args), target)


needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CC") or "cc") is None, reason="there is no C compiler"
)


@needs_compiler
@pytest.mark.parametrize("model", ["eight_schools", "logistic_regression", "linear_mixed"])
def test_steps_by_hand_in_c_have_the_losses_of_those_in_torch(worker: ModuleType, model: str) -> None:
    runs = [
        worker._losses(worker.CONTENDERS[name](name)(model), seed=3, steps=30)
        for name in ("hand-c-torch", "hand")
    ]
    assert runs[0] == pytest.approx(runs[1], rel=3e-6)


@needs_compiler
@pytest.mark.parametrize("model", ["gamma_poisson", "logistic_100_000", "random_walk_1_000"])
def test_steps_in_c_have_the_losses_of_the_program_under_auto_normal(
    worker: ModuleType, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = importlib.import_module("benchmarks.data")
    if model.startswith("logistic"):
        rows = data.labelled(1_000)
        monkeypatch.setattr(data, "labelled", lambda count: rows)
    program = importlib.import_module("benchmarks.programs").program(model, ember)
    program.guide(*program.args)
    store = ember.get_param_store()
    for name in store:
        if ".locs." in name:
            store[name] = torch.zeros_like(store[name])
    svi = ember.infer.SVI(
        program.model, program.guide, ember.optim.Adam({"lr": data.RATES[model]}), ember.infer.Trace_ELBO()
    )
    torch.manual_seed(3)
    eager = [svi.step(*program.args) for _ in range(30)]
    fit = importlib.import_module("benchmarks.by_hand_c").Fit(model, torch_numbers=True)
    fit.seed(3)
    assert fit.many(30) == pytest.approx(eager, rel=1e-5)


@needs_compiler
def test_steps_in_c_go_on_where_the_last_call_ended(worker: ModuleType) -> None:
    fits = [importlib.import_module("benchmarks.by_hand_c").Fit("eight_schools") for _ in range(2)]
    pieces = [loss for steps in (1, 2, 5) for loss in fits[0].many(steps)]
    assert pieces == fits[1].many(8)


@needs_compiler
def test_the_numbers_of_the_steps_in_c_are_standard_normal(worker: ModuleType) -> None:
    by_hand_c = importlib.import_module("benchmarks.by_hand_c")
    fit, z = by_hand_c.Fit("eight_schools"), torch.empty(200_000)
    pointers = by_hand_c._pointer(fit._numbers), by_hand_c._pointer(z)
    fit._library.numbers_fill(*pointers, ctypes.c_int64(len(z)))
    z = z.double()
    # Standard errors of moments of a standard normal: 1, sqrt(2), sqrt(15), sqrt(96) over sqrt(n); of a product 1.
    errors = 4.5 * torch.tensor([1.0, 2.0, 15.0, 96.0, 1.0, 1.0], dtype=torch.double).sqrt() / len(z) ** 0.5
    lags = [(z[lag:] * z[:-lag]).mean() for lag in (1, 128)]
    found = torch.stack([z.mean(), z.pow(2).mean() - 1, z.pow(3).mean(), z.pow(4).mean() - 3, *lags])
    assert (found.abs() < errors).all(), found
    tail = (z.abs() > 3).double().mean() - 0.0026998
    assert tail.abs() < 4.5 * (0.0027 / len(z)) ** 0.5


@pytest.mark.parametrize(
    "model",
    [
        *("eight_schools_auto_normal", "eight_schools_auto_mvn", "hierarchical_module", "bayesian_network"),
        *("scalar_sites_auto", "mixture", "belief_net", "vae_importance"),
    ],
)
def test_programs_for_other_objectives_and_guides_step(worker: ModuleType, model: str) -> None:
    losses = worker._losses(worker.CONTENDERS["ember"]("ember")(model), seed=3, steps=3)
    assert len(set(losses)) == 3 and all(map(math.isfinite, losses))
    assert ember.get_param_store()


@torch.no_grad()
@pytest.mark.parametrize("model", ["mixture", "hidden_markov"])
def test_enumeration_sums_out_what_the_formula_says(
    worker: ModuleType, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = importlib.import_module("benchmarks.data")
    if model == "hidden_markov":
        short = data.sequences(count=4, steps=5)
        monkeypatch.setattr(data, "sequences", lambda: short)
    program = importlib.import_module("benchmarks.programs").program(model, ember)
    torch.manual_seed(0)
    guide = ember.poutine.trace(program.guide).get_trace(*program.args)
    replayed = ember.poutine.replay(program.model, guide)
    prior = ember.poutine.trace(replayed).get_trace(*program.args)
    value = {name: site["value"] for name, site in guide.nodes.items() if site["type"] == "sample"}
    log_p = sum(prior.nodes[name]["fn"].log_prob(z) for name, z in value.items() if name in prior.nodes)
    log_q = sum(site["fn"].log_prob(value[name]) for name, site in guide.nodes.items() if name in value)
    torch.manual_seed(0)
    loss = ember.infer.TraceEnum_ELBO(**program.options).loss(program.model, program.guide, *program.args)
    (x,) = program.args
    if model == "mixture":
        components = torch.distributions.Normal(value["locs"], value["log_scale"].exp())
        terms = value["logits"].log_softmax(-1) + components.log_prob(x[:, None])
        log_x = terms.logsumexp(-1).sum()
    else:
        log_a = torch.full((len(x), 16), -math.inf)
        log_a[:, 0] = 0.0
        for y in x.T:
            log_a = (log_a[:, :, None] + value["transition"].log_softmax(-1)).logsumexp(1)
            log_a = log_a + torch.distributions.Normal(value["locs"], 1.0).log_prob(y[:, None])
        log_x = log_a.logsumexp(1).sum()
    assert loss == pytest.approx(float(log_q - log_p - log_x), rel=1e-5)


@torch.no_grad()
def test_the_scalar_sites_as_a_vector_are_the_same_model(worker: ModuleType) -> None:
    by_hand = importlib.import_module("benchmarks.by_hand")
    one_by_one, vector = by_hand.scalar_sites(), by_hand.scalar_sites_as_a_vector()
    torch.manual_seed(0)
    losses = torch.tensor([[float(one_by_one.loss()), float(vector.loss())] for _ in range(200)])
    error = losses.std(0).norm() / len(losses) ** 0.5
    assert (losses[:, 0].mean() - losses[:, 1].mean()).abs() < 4 * error


def test_the_table_has_a_row_a_model_and_both_ratios(
    worker: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    eager = importlib.import_module("benchmarks.eager")
    measured = eager.Measured({"ember": 300.0, "hand": 200.0, "pyro": 900.0}, 1e-6)
    lines = eager.table({"eight_schools": measured}).splitlines()
    assert len(lines) == 3 and len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| eight schools | 300 | 900 | 200 | - | 1.50 | 3.00 |"
    assert ember.__version__ not in lines[2] and "torch" in eager.machine()


def test_the_page_has_its_tables_ratios_and_remarks(worker: ModuleType) -> None:
    report = importlib.import_module("benchmarks.report")
    rows = {
        name: {"step": step, "first": 2.0, "warm": 1.0, "process": 3.0, "warm_process": 2.0, "peak": 300.0}
        for name, step in (("pyro", 500.0), ("numpyro", 40.0), ("numpyro-scan", 12.0), ("hand-c", 1.0))
    }
    rows |= {"ember-native": {**rows["pyro"], "step": 4.0, "first": 0.5}, "ember-native-run": {"step": 2.0}}
    rows["memory-floor"] = {"step": 1.6}
    rows["ember-inductor"] = {"error": "> 60 s"}
    page = report.page({"eight_schools": rows, "logistic_regression": rows}, "one machine")
    tables = [part.splitlines() for part in page.split("\n\n") if part.startswith("|")]
    assert len(tables) == 8
    for table in tables:
        assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert (
        "| eight schools | 6.00 | - | 2.00 | - |" in page
    )  # scan / run, Inductor, C, C with torch's numbers
    assert "| eight schools | 4.00 | 1.00 | 2.00 | more |" in page
    assert "eight schools 4.0 (met)" in page and "Ember native, run 1.25" in page


def test_the_page_sums_up_who_is_slower_and_how_the_cost_grows(worker: ModuleType) -> None:
    report = importlib.import_module("benchmarks.report")
    sizes = {
        "random_walk_100": (2.0, 6.0),
        "random_walk_1_000": (8.0, 6.0),
        "random_walk_10_000": (50.0, 60.0),
    }
    rows = {
        model: {
            "ember-native-run": {"step": ember},
            "numpyro-scan": {"step": numpyro},
            "hand-c": {"step": 2.0},
        }
        for model, (ember, numpyro) in sizes.items()
    }
    rows["varying_slopes"] = {"ember-native-run": {"error": "failed"}, "numpyro-scan": {"step": 5.0}}
    page = report.page(rows, "one machine")
    assert "| random walk, T = 100 | 6.00 | 2.00 | 2.00 | 3.00 | 1.00 |" in page
    assert "over 3 models: 1.20. Behind NumPyro: random walk, T = 1,000 (0.75)." in page
    (grown,) = (line for line in page.splitlines() if line.startswith("| random walk, T = 10,000 / "))
    assert "25.0" in grown and "10.0" in grown


def test_inductor_is_left_out_where_the_plan_says_so(worker: ModuleType) -> None:
    compiled = importlib.import_module("benchmarks.compiled")
    larger = importlib.import_module("benchmarks.larger_models")
    bench = compiled.Bench(larger.PLAN, None)
    left_out = {m for m in larger.MODELS if bench.left_out(m, "ember-inductor")}
    assert left_out == {*larger.MODELS} - {*larger.INDUCTOR}
    assert not any(bench.left_out(model, "ember-native") for model in larger.MODELS)


@pytest.mark.parametrize("model", ["gamma_poisson", "hidden_markov", "subsample_of_million"])
def test_models_are_the_same_in_numpyro(
    worker: ModuleType, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numpyro")
    data = importlib.import_module("benchmarks.data")
    if model.startswith("hidden"):
        short = data.sequences(count=4, steps=5)
        monkeypatch.setattr(data, "sequences", lambda: short)
    same_models = importlib.import_module("benchmarks.same_models")
    ours, theirs = same_models.log_joints(model)
    assert ours == pytest.approx(theirs, rel=same_models.TOLERANCE)


def test_every_larger_model_is_on_the_page_of_benchmarks(worker: ModuleType) -> None:
    larger = importlib.import_module("benchmarks.larger_models")
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert not [name for name in larger.MODELS if f"`{name}`" not in page]


def test_who_takes_part(worker: ModuleType) -> None:
    compiled = importlib.import_module("benchmarks.compiled")
    guides = importlib.import_module("benchmarks.guides_objectives")
    data = importlib.import_module("benchmarks.data")
    larger = importlib.import_module("benchmarks.larger_models")
    models = {*compiled.MODELS, *guides.MODELS, *larger.MODELS}
    assert models == data.TITLES.keys() == data.RATES.keys()
    assert not compiled.takes_part("vae", "hand-c") and compiled.takes_part("linear_mixed", "hand-c")
    assert not compiled.takes_part("vae_importance", "pyro-jit")
    assert (
        {*guides.CONTENDERS}
        < worker.CONTENDERS.keys()
        == importlib.import_module("benchmarks.report").HEADINGS.keys()
    )


@needs_compiler
def test_fits_over_batches_are_measured(worker: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    training = importlib.import_module("benchmarks.training")
    training.main(["--quick", "--models", "logistic_million", "--only", "bare,svi.fit,torch by hand"])
    lines = capsys.readouterr().out.splitlines()
    assert sum("| svi.fit" in line for line in lines) == 3 and "| bare native steps |" in lines[4]
    assert "| torch by hand" in lines[8] and "outside of steps" in lines[-1]


def test_what_more_machines_would_give() -> None:
    study = importlib.import_module("benchmarks.data_parallel")
    latency, bandwidth = 1e-4, 1e9
    reduces = [study.modelled(0.0, count, 2, latency, bandwidth)[1] for count in study.PARAMETERS]
    assert study.fitted_network(reduces) == pytest.approx((latency, 2 * bandwidth / 2), rel=1e-6)
    assert study.modelled(0.8, 10**6, 1, latency, bandwidth) == (0.8, 0.0)
    step, reduce = study.modelled(0.8, 10**6, 8, latency, bandwidth)
    # Each of 14 messages carries an eighth of 4 MB.
    assert reduce == pytest.approx(14 * (1e-4 + 0.5e6 / 1e9)) and step == pytest.approx(0.1 + reduce)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    "model", ["hmm_100", "flow_iaf", "flow_coupling", "flow_spline", "sparse_gp", "forecaster"]
)
def test_programs_of_pyros_world_run(model: str) -> None:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    program = importlib.import_module("benchmarks.pyro_world_programs").MODELS[model](ember, True)
    svi = ember.infer.SVI(program.model, program.guide, program.optim, ember.infer.Trace_ELBO())
    losses = [svi.step(*program.args) for _ in range(3)]
    assert all(map(math.isfinite, losses)) and len(set(losses)) == 3


@pytest.mark.usefixtures("worker")
def test_the_page_of_pyros_world_names_what_falls_short() -> None:
    page = importlib.import_module("benchmarks.pyro_world").page
    ours = {"step": 10.0, "first": 1.0, "losses": [1.0, 2.0], "note": "step: 5 operators, native"}
    theirs = {"step": 300.0, "first": 1.0, "losses": [1.0, 2.0], "note": ""}
    assert "All goals are met" in page({"hmm_100": {"ember": ours, "pyro": theirs}})
    text = page(
        {
            "forecaster": {
                "ember": ours | {"losses": [1.0, 2.1], "note": "x, inductor (not native: complex64)"},
                "pyro": theirs | {"step": 50.0},
                "numpyro": {"step": 5.0, "first": 1.0},
                "ember-run": {"error": "failed: no memory"},
            }
        }
    )
    for part in (
        "5.0 times as fast",
        "differ from Pyro's by 5.0e-02",
        "NumPyro: 0.50",
        "not native",
        "no memory",
    ):
        assert part in text
