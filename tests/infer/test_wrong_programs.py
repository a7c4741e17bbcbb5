"""Wrong programs and what each is told: the site, option or parameter, the value or shape, and the way out.

A new one is a row. Each is run eagerly and compiled, and is told the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import ember
from ember import distributions as dist
from ember import optim
from ember.errors import NoCompilerError
from ember.infer import SVI, Predictive, Trace_ELBO, autoguide
from ember.optim import Adam

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([1.0, -1.0, 0.5])


@dataclass(frozen=True)
class Wrong:
    """A wrong program: what it raises (or warns of), and what the text must contain."""

    name: str
    program: Callable[[bool], object]
    kind: type[BaseException] | tuple[type[BaseException], ...]
    says: tuple[str, ...]


def regression(x, y=None):
    b = ember.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with ember.plate("rows", len(x)):
        return ember.sample("y", dist.Normal(x @ b, 1.0), obs=y)


def steps(compile, model, *args, guide=None, optimizer=None, loss=None, n=3):
    """Some steps of a model under an automatic guide."""
    guide = autoguide.AutoNormal(model) if guide is None else guide
    loss = Trace_ELBO() if loss is None else loss
    svi = SVI(model, guide, Adam({"lr": 0.01}) if optimizer is None else optimizer, loss, compile=compile)
    return [svi.step(*args) for _ in range(n)]


def run(compile, *args):
    """One call of run for the regression."""
    guide = autoguide.AutoNormal(regression)
    return SVI(regression, guide, Adam({"lr": 0.01}), Trace_ELBO(), compile=compile).run(
        *args, progress=False
    )


def with_optimizer(make):
    """A fit of the regression with an optimizer that is made inside."""
    return lambda compile: steps(compile, regression, X, Y, optimizer=make())


class Column:
    """What of a column of pandas shows: it has no order of its own, and is found by labels."""

    def __init__(self, values):
        self.values, self.dtype = values, values.dtype

    def to_numpy(self):
        return self.values

    def __array__(self, *args, **kwargs):
        return self.values

    def __len__(self):
        return len(self.values)

    __getitem__ = staticmethod({}.__getitem__)


class Frame(Column):
    """What of a frame of pandas shows."""

    columns = ("a", "b", "c")


CODES = torch.arange(20, dtype=torch.int8) % 2
"""As pandas has them."""


def by_code(codes, y):
    b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(b[codes], 1.0), obs=y)


def rows_of_a_column(y):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(y), subsample_size=5) as rows:
        ember.sample("y", dist.Normal(z, 1.0), obs=y[rows])


def scheduler(optimizer):
    return optim.ExponentialLR({"optimizer": optimizer, "optim_args": {"lr": 0.1}, "gamma": 0.9})


def exchanged(compile):
    guide = autoguide.AutoNormal(regression)
    return steps(compile, guide, X, Y, guide=regression)


BORDER = [
    Wrong(
        "loss class",
        lambda c: steps(c, regression, X, Y, loss=Trace_ELBO),
        ValueError,
        ("loss = Trace_ELBO()",),
    ),
    Wrong(
        "loss None", lambda c: SVI(regression, regression, Adam({}), None), ValueError, ("loss", "NoneType")
    ),
    Wrong(
        "guide class",
        lambda c: steps(c, regression, X, Y, guide=autoguide.AutoNormal),
        ValueError,
        ("guide", "AutoNormal(model)"),
    ),
    Wrong(
        "optimizer class",
        lambda c: steps(c, regression, X, Y, optimizer=torch.optim.Adam),
        ValueError,
        ("the class Adam", "ember.optim.Adam({'lr': 0.01})"),
    ),
    Wrong(
        "Predictive's third argument",
        lambda c: Predictive(regression, autoguide.AutoNormal(regression), 100),
        ValueError,
        ("posterior_samples", "AutoNormal", "guide=guide, num_samples=100"),
    ),
    Wrong("exchanged", exchanged, ValueError, ("changed places", "AutoNormal", "SVI(model, guide")),
    Wrong(
        "run without steps", lambda c: run(c, X, Y), TypeError, ("number of steps", "(20, 3)", "svi.run(1000")
    ),
    Wrong(
        "run of a float", lambda c: run(c, 5.0, X, Y), TypeError, ("number of steps", "5.0", "svi.run(1000")
    ),
]

OPTIMIZERS = [
    Wrong("Adam(lr=)", with_optimizer(lambda: Adam(lr=0.1)), TypeError, ("lr", "Adam({'lr': 0.1})")),
    Wrong(
        "ClippedAdam(lr=)",
        with_optimizer(lambda: optim.ClippedAdam({"lr": 0.1}, clip_norm=5.0)),
        TypeError,
        ("clip_norm", "ClippedAdam({'lr': 0.1, 'clip_norm': 5.0})"),
    ),
    Wrong("Adam(0.1)", with_optimizer(lambda: Adam(0.1)), AssertionError, ("optim_args", "{'lr': 0.1}")),
    Wrong(
        "lr as text",
        with_optimizer(lambda: Adam({"lr": "0.01"})),
        TypeError,
        ("'lr' of Adam", "'0.01'", "number"),
    ),
    Wrong(
        "one beta",
        with_optimizer(lambda: Adam({"betas": 0.9})),
        TypeError,
        ("'betas' of Adam", "got 0.9", "{'betas': (0.9, 0.999)}"),
    ),
    Wrong(
        "unknown option",
        with_optimizer(lambda: Adam({"learning_rate": 0.1})),
        TypeError,
        ("'learning_rate'", "its options are lr, betas"),
    ),
    Wrong(
        "SGD({})", with_optimizer(lambda: optim.SGD({})), UserWarning, ("SGD", "lr=0.001", "{'lr': 0.001}")
    ),
    Wrong(
        "scheduler with Ember's optimizer",
        with_optimizer(lambda: scheduler(Adam({"lr": 0.1}))),
        TypeError,
        ("'optimizer'", "PyroOptim", "{'optimizer': torch.optim.Adam"),
    ),
    Wrong(
        "scheduler with an optimizer",
        with_optimizer(lambda: scheduler(torch.optim.Adam([torch.zeros(1)]))),
        TypeError,
        ("'optimizer'", "an object of Adam", "{'optimizer': torch.optim.Adam"),
    ),
]


def at(row):
    """The site and the line of a sample statement, as a text that names them."""
    return (f"at site '{row}'", "test_wrong_programs.py", "sample(")


def negative_scale(y):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(z, torch.tensor(-1.0)), obs=y)


def of_global_data(y):
    b = ember.sample("b", dist.Normal(torch.zeros(3, dtype=torch.float64), 1.0).to_event(1))
    ember.sample("y", dist.Normal(X @ b, 1.0).to_event(1), obs=y)


def no_covariance(y):
    ember.sample("z", dist.Normal(0.0, 1.0))
    ember.sample("pair", dist.MultivariateNormal(torch.zeros(2), -torch.eye(2)), obs=y[:2])


def scale_of_several_lines(y):
    for i in range(2):
        ember.sample(
            f"z_{i}",
            dist.Normal(
                0.0,
                torch.tensor(-2.0),
            ),
        )


def fixed_plate(y):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", 20):
        ember.sample("y", dist.Normal(z, 1.0), obs=y)


def changing(compile):
    svi = SVI(
        fixed_plate, autoguide.AutoNormal(fixed_plate), Adam({"lr": 0.01}), Trace_ELBO(), compile=compile
    )
    for _ in range(3):
        svi.step(Y)
    svi.step(Y[:7])


def later_nan(compile):
    svi = SVI(regression, autoguide.AutoNormal(regression), Adam({"lr": 0.01}), Trace_ELBO(), compile=compile)
    for size in (20, 20, 20, 10):
        svi.step(X[:size], Y[:size] if size == 20 else WITH_NAN[:size])


def other_size(compile):
    steps(compile, regression, X, Y)
    return steps(compile, lambda x, y: two_of_three(x, y), X, Y)


def two_of_three(x, y):
    b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with ember.plate("rows", len(x)):
        ember.sample("y", dist.Normal(x[:, :2] @ b, 1.0), obs=y)


def vector(size):
    def model():
        ember.sample("w", dist.Normal(torch.zeros(size), 1.0).to_event(1))

    return model


def other_vector(compile):
    def guide():
        loc = ember.param("loc", torch.zeros(3))
        ember.sample("w", dist.Normal(loc, 1.0).to_event(1))

    return steps(compile, vector(2), guide=guide)


def other_guide(kind):
    def program(compile):
        for size in (3, 2):
            steps(compile, vector(size), guide=getattr(autoguide, kind)(vector(size)))

    return program


class NetInPlate(ember.nn.PyroModule):
    """A layer that is called, and so drawn, inside of the plate."""

    def __init__(self):
        super().__init__()
        self.fc = ember.nn.PyroModule[torch.nn.Linear](3, 2)
        self.fc.weight = ember.nn.PyroSample(dist.Normal(0.0, 1.0))

    def forward(self, x):
        with ember.plate("rows", x.shape[0]):
            return ember.sample("y", dist.Normal(self.fc(x), 0.1).to_event(1), obs=torch.zeros(20, 2))


class Net(ember.nn.PyroModule):
    """A Bayesian layer of two outputs."""

    def __init__(self, prior):
        super().__init__()
        self.fc = ember.nn.PyroModule[torch.nn.Linear](3, 2)
        self.fc.weight = ember.nn.PyroSample(prior)

    def forward(self, x, y=None):
        loc = self.fc(x)
        with ember.plate("rows", x.shape[0]):
            return ember.sample("y", dist.Normal(loc, 0.1), obs=y)


def shape_as_size(y):
    with ember.plate("rows", y.shape):
        ember.sample("z", dist.Normal(0.0, 1.0))


def masked(y):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(y)), ember.poutine.mask(mask=y >= 0):
        ember.sample("y", dist.Poisson(z.exp()), obs=y)


def counts(y):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Poisson(z.exp()).mask(y >= 0), obs=y)


def column_plate(y):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", 20, dim=-2):
        ember.sample("y", dist.Normal(z, 1.0), obs=y)


def coin(y):
    z = ember.sample("z", dist.Bernoulli(0.5))
    ember.sample("y", dist.Normal(z, 1.0), obs=y[0])


def coin_guide(y):
    q = ember.param("q", torch.tensor(0.5), constraint=dist.constraints.unit_interval)
    ember.sample("z", dist.Bernoulli(q), infer={"enumerate": "parallel"})


def empty_guide(y): ...


WITH_NAN = torch.where(Y > 0, torch.nan, Y)
MISSING = torch.where(torch.arange(20) % 4 == 0, -1.0, 2.0)

PROGRAMS = [
    Wrong("scale", lambda c: steps(c, negative_scale, Y), ValueError, (*at("y"), "Normal", "scale", "-1.0")),
    Wrong(
        "covariance",
        lambda c: steps(c, no_covariance, Y),
        ValueError,
        (*at("pair"), "covariance_matrix", "(2, 2)"),
    ),
    Wrong(
        "statement of several lines",
        lambda c: steps(c, scale_of_several_lines, Y),
        ValueError,
        ("at site f'z_{i}'", "scale", "-2.0"),
    ),
    Wrong("changing shape", changing, ValueError, ("site 'y'", "(7,)", "plate(name, len(data))")),
    Wrong(
        "float64 data",
        lambda c: steps(c, regression, X.double(), Y.double()),
        RuntimeError,
        (*at("y"), "b: torch.float32", "x, y: torch.float64", "x.to(torch.float32)"),
    ),
    Wrong(
        "float64 data that is global",
        lambda c: steps(c, of_global_data, Y.double()),
        RuntimeError,
        (*at("y"), "b, y: torch.float64", "X: torch.float32"),
    ),
    Wrong(
        "parameters of an earlier fit",
        other_size,
        RuntimeError,
        ("at site 'b'", "(3,)", "(2,)", "clear_param_store()"),
    ),
    *[
        Wrong(
            f"parameters of an earlier {kind}",
            other_guide(kind),
            (RuntimeError, ValueError),
            ("store", "clear_param_store()", "param_store=ParamStoreDict()"),
        )
        for kind in (
            "AutoMultivariateNormal",
            "AutoDiagonalNormal",
            "AutoStructured",
            "AutoGaussian",
            "AutoDelta",
        )
    ],
    Wrong("guide of another shape", other_vector, ValueError, ("'w'", "[3]", "[2]", "clear_param_store()")),
    Wrong(
        "network without to_event",
        lambda c: steps(c, Net(dist.Normal(0.0, 1.0).expand([2, 3]).to_event(2)), X, torch.zeros(20, 2)),
        ValueError,
        ("plate('rows')", "site y", "20 vs 2", ".to_event(1)"),
    ),
    Wrong(
        "plate of a shape", lambda c: steps(c, shape_as_size, Y), TypeError, ("'rows'", "[20]", "len(data)")
    ),
    Wrong(
        "list",
        lambda c: steps(c, fixed_plate, Y.tolist()),
        ValueError,
        ("site 'y'", "list", "torch.as_tensor"),
    ),
    Wrong(
        "array", lambda c: steps(c, fixed_plate, Y.numpy()), ValueError, ("'y'", "numpy", "torch.as_tensor")
    ),
    Wrong(
        "column",
        lambda c: steps(c, fixed_plate, Column(Y.numpy())),
        ValueError,
        ("'y'", "Column", "torch.tensor(value.to_numpy(), dtype=torch.get_default_dtype())"),
    ),
    Wrong(
        "column of labels",
        lambda c: steps(c, fixed_plate, Column(np.array(["a", "b"] * 10, dtype=object))),
        ValueError,
        ("'y'", "Column", "torch.tensor(value.astype('category').cat.codes.to_numpy()).long()"),
    ),
    Wrong(
        "frame",
        lambda c: steps(c, regression, Frame(X.numpy()), Y),
        TypeError,
        ("x is a", "Frame", "torch.tensor(x['column'].to_numpy())"),
    ),
    Wrong(
        "codes of labels",
        lambda c: steps(c, by_code, CODES, Y),
        IndexError,
        (*at("y"), "codes has the dtype torch.int8: codes.long()"),
    ),
    Wrong(
        "column of inputs",
        lambda c: steps(c, regression, Column(X.numpy()), Y),
        TypeError,
        ("x is a", "Column", "torch.tensor(x.to_numpy())"),
    ),
    Wrong(
        "rows of a column",
        lambda c: steps(c, rows_of_a_column, Column(Y.numpy())),
        KeyError,
        ("y is a", "Column", "torch.tensor(y.to_numpy())"),
    ),
    Wrong(
        "array of inputs",
        lambda c: steps(c, regression, X.numpy(), Y),
        TypeError,
        ("x is a numpy.ndarray", "torch.as_tensor(x)"),
    ),
    Wrong(
        "NaN",
        lambda c: steps(c, fixed_plate, WITH_NAN),
        ValueError,
        ("site 'y'", "obs_mask", "NanMaskedNormal"),
    ),
    Wrong(
        "-1 under mask",
        lambda c: steps(c, masked, MISSING),
        ValueError,
        ("site 'y'", "-1", "mask", "obs_mask"),
    ),
    Wrong(
        "-1 under .mask",
        lambda c: steps(c, counts, MISSING),
        ValueError,
        ("site 'y'", "-1", "mask", "obs_mask"),
    ),
    Wrong(
        "plate at dim -2",
        lambda c: steps(c, column_plate, Y),
        UserWarning,
        ('"y"', "dim -1", "[20, 20]", "dim="),
    ),
    Wrong(
        "site that the guide misses",
        lambda c: steps(c, fixed_plate, Y, guide=empty_guide),
        UserWarning,
        ("{'z'}", "prior", "guide"),
    ),
    Wrong(
        "model as the guide",
        lambda c: steps(c, empty_guide, Y, guide=fixed_plate),
        UserWarning,
        ("observes y", "changed places", "SVI(model, guide"),
    ),
    Wrong(
        "enumerated site",
        lambda c: steps(c, coin, Y, guide=coin_guide),
        UserWarning,
        ("enumeration: z", "TraceEnum_ELBO"),
    ),
    Wrong(
        "point estimate of a discrete site",
        lambda c: steps(c, coin, Y, guide=autoguide.AutoDelta(coin)),
        ValueError,
        ("discrete sample site 'z'", "enumerat", "hide=['z']"),
    ),
    Wrong(
        "NaN in the inputs",
        lambda c: steps(c, regression, WITH_NAN.unsqueeze(-1).expand(-1, 3), Y),
        ValueError,
        (*at("y"), "loc", "there is NaN in x"),
    ),
    Wrong(
        "a loader as the data",
        lambda c: steps(c, regression, torch.utils.data.DataLoader(X), Y),
        TypeError,
        ("x is a DataLoader", "svi.step(*batch)"),
    ),
    Wrong(
        "observation with a dim more",
        lambda c: steps(c, regression, X, Y.unsqueeze(-1)),
        ValueError,
        ('site "y"', "[20, 20]", ".reshape() the observation, of shape [20, 1]"),
    ),
    Wrong(
        "product of particles",
        lambda c: steps(c, regression, X, Y, loss=Trace_ELBO(num_particles=5, vectorize_particles=True)),
        RuntimeError,
        (*at("y"), "vectorize_particles", "(X * b).sum(-1)"),
    ),
    Wrong("NaN in a later batch", later_nan, ValueError, ("site 'y'", "obs_mask", "NanMaskedNormal")),
    Wrong(
        "no plate",
        lambda c: steps(c, lambda y: ember.sample("z", dist.Normal(0.0, 1.0).expand([4])), Y),
        ValueError,
        ('site "z"', "[4]", "with plate(", ".to_event("),
    ),
]

TABLE = BORDER + OPTIMIZERS + PROGRAMS


def told(compile: bool, wrong: Wrong) -> Any:
    """The text that a wrong program gets, with its notes."""
    ember.clear_param_store()
    with pytest.raises(wrong.kind) as caught, warnings.catch_warnings():
        warnings.simplefilter("error" if wrong.kind is UserWarning else "ignore")
        wrong.program(compile)
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("wrong", TABLE, ids=lambda wrong: wrong.name)
def test_what_a_wrong_program_is_told(wrong: Wrong, compile: bool) -> None:
    text = told(compile, wrong)
    assert [part for part in wrong.says if part not in text] == [], text


def test_a_command_line_with_open_quotes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc 'x")
    guide = autoguide.AutoNormal(fixed_plate)
    svi = SVI(fixed_plate, guide, Adam({"lr": 0.01}), Trace_ELBO(), compile=True, backend="native")
    with pytest.raises(NoCompilerError, match=r"(?s)CC.*gcc 'x.*CC='gcc -m64'"):
        for _ in range(3):
            svi.step(Y)


def test_errors_are_told_their_place_once() -> None:
    text = told(False, next(wrong for wrong in PROGRAMS if wrong.name == "scale"))
    assert text.count("at site") == 1


def test_no_error_speaks_of_pyro_in_a_program_of_ember() -> None:
    texts = [told(False, wrong) for wrong in PROGRAMS]
    assert [text for text in texts if "pyro.plate" in text or "pyro.sample" in text] == []


def test_warnings_belong_to_the_users_line() -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match="model but not guide") as caught:
            steps(False, fixed_plate, Y, guide=empty_guide)
        assert {record.filename for record in caught} == {__file__}
