"""Models with many small sites: values of one kind side by side are the same numbers, in a program that stays short."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.capture import capture
from ember.capture.native import program
from ember.capture.native.loops import pack
from ember.infer import SVI, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from ember.optim import Adam
from tests.capture.native.programs import Compiled, assert_same, check, source_of

FAMILIES = (
    lambda a, b: dist.Normal(a, b.exp()),
    lambda a, b: dist.LogNormal(a, b.exp()),
    lambda a, b: dist.Laplace(a, b.exp()),
    lambda a, b: dist.Gamma(a.exp(), b.exp()),
    lambda a, b: dist.Beta(a.exp(), b.exp()),
    lambda a, b: dist.StudentT(3.0, a, b.exp()),
    lambda a, b: dist.Exponential(a.exp() * b.exp()),
    lambda a, b: dist.Cauchy(a, b.exp()),
)


def sites(order: list[int], families: int, widths: tuple[int, ...], shared: bool):
    """A model and a guide with sites of several families and widths, which depend on each other in part."""

    def shape(number: int) -> tuple[int, ...]:
        width = widths[number % len(widths)]
        return () if width == 1 else (width,)

    def family(number: int):
        return FAMILIES[number % families]

    def model() -> None:
        above = torch.zeros(())
        for number in order:
            plain = torch.zeros(shape(number))
            d = family(number)(plain + 0.1 * number / len(order), plain + 0.2 * above)
            value = ember.sample(f"z{number}", d.to_event(d.batch_shape.__len__()))
            if number % 3 == 0:
                ember.sample(f"x{number}", dist.Normal(value.sum(), 1.0), obs=torch.tensor(0.3 * number))
            above = (value.sum() * 0.1).tanh()

    def guide() -> None:
        for number in order:
            name = f"a{number % 5}" if shared and len(widths) == 1 else f"a{number}"
            a = ember.param(name, torch.full(shape(number), 0.1))
            b = ember.param(f"b{number}", torch.full(shape(number), -0.2))
            d = family(number)(a, b)
            ember.sample(f"z{number}", d.to_event(len(d.batch_shape)))

    return model, guide


def fitted(model, guide, loss, steps: int = 6):
    ember.clear_param_store()
    ember.set_rng_seed(0)
    svi = SVI(model, guide, Adam({"lr": 0.03}), loss, compile=True, backend="native")
    losses = [*svi.run(steps, progress=False).losses.tolist(), svi.step()]
    parameters = {k: v.detach().clone() for k, v in ember.get_param_store().named_parameters()}
    return losses, parameters, torch.get_rng_state()


CASES = {
    "scalars of one family": (60, 1, (1,), False),
    "scalars of many families": (72, 8, (1,), False),
    "short vectors": (48, 3, (1, 2, 3), False),
    "shared parameters": (60, 4, (1,), True),
    "vectors of 17": (36, 2, (17, 1), False),
}


COMBINATIONS = [(case, Trace_ELBO) for case in CASES]
COMBINATIONS += [("short vectors", TraceMeanField_ELBO), ("scalars of many families", TraceGraph_ELBO)]


@pytest.mark.parametrize(("case", "loss"), COMBINATIONS)
def test_packed_and_unpacked_agree(case, loss, monkeypatch, float64):
    count, families, widths, shared = CASES[case]
    order = list(range(count))
    random.Random(1).shuffle(order)
    model, guide = sites(order, families, widths, shared)
    monkeypatch.setattr(program, "MANY_LINES", 0)
    monkeypatch.setattr(program, "LARGE_FLAGS", ("-O1", *program.FLAGS[1:]))
    results = []
    for fewest in (10**9, 0):
        monkeypatch.setattr(pack, "FEWEST_VALUES", fewest)
        results.append(fitted(model, guide, loss()))
    plain, packed = results
    assert packed[0] == pytest.approx(plain[0], rel=1e-10)
    torch.testing.assert_close(packed[1], plain[1], rtol=1e-9, atol=1e-11)
    assert torch.equal(packed[2], plain[2])


def many(order: list[int]):
    """Random expressions of many small inputs, in a random order, each written back to its input."""

    def function(flat: list[Tensor]) -> list[Tensor]:
        total = torch.zeros((), dtype=torch.float64)
        kept: list[Tensor] = []
        for number in order:
            x = flat[number]
            noise = torch.randn(x.shape, dtype=x.dtype) if number % 2 else torch.rand(x.shape, dtype=x.dtype)
            value = (x * noise + 0.1 * total).tanh() if number % 5 else x.sin() + noise
            if number % 7 == 0 and kept:
                value = value + kept[-1].sum()
            if number % 4 == 0 and x.dim():
                x[:1] = value[:1] * 0.5
            else:
                x.copy_(value * 0.9)
            kept.append(value)
            if number % 11 == 0:
                total = total + value.sum()
        return [total, torch.stack([k.sum() for k in kept]), kept[0], flat[order[-1]] * 2]

    return function


@pytest.mark.parametrize("seed", range(4))
def test_random_small_values(seed, monkeypatch):
    monkeypatch.setattr(pack, "FEWEST_VALUES", 0)
    monkeypatch.setattr(pack, "FEWEST_MEMBERS", 2 + seed)
    order = list(range(60))
    rng = random.Random(seed)
    rng.shuffle(order)
    generator = torch.Generator().manual_seed(seed)
    shapes = [rng.choice(((), (2,), (3,), (2, 2))) for _ in order]
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    compiled = Compiled(many(order), inputs)
    for steps in (1, 3):
        assert_same(compiled.outcome(inputs, steps), compiled.expected(inputs, steps), [], (1e-10, 1e-12))


def test_draws_that_need_values_between_draws_that_do_not(monkeypatch):
    """What one draw needs must not become one value with what depends on a later draw."""
    monkeypatch.setattr(pack, "FEWEST_VALUES", 0)
    monkeypatch.setattr(pack, "FEWEST_MEMBERS", 2)

    def function(flat: list[Tensor]) -> list[Tensor]:
        outputs = []
        for x in flat:
            outputs.append(torch.bernoulli((x + 1.0).sigmoid()))
            outputs.append((torch.randn(3) + 1.0).sigmoid())
        return outputs

    check(function, *(torch.linspace(-1, k, 3) for k in range(6)))


def text_of(count: int) -> str:
    """The program of a function of so many scalars."""

    def function(flat: list[Tensor]) -> list[Tensor]:
        terms = []
        for x in flat:
            z = x + torch.randn((), dtype=torch.float64) * x.exp()
            terms.append(z * z + z.sigmoid().log())
            x.sub_(0.1 * z.tanh())
        return [torch.stack(terms).sum()]

    inputs = [torch.tensor(0.1 * k, dtype=torch.float64) for k in range(count)]
    return source_of(capture(function, inputs), inputs)


def test_the_program_does_not_grow_with_the_number_of_sites():
    few, many_sites = text_of(200), text_of(1600)

    def statements(text: str) -> int:
        # Lines of tables are data, one for each site.
        return sum(";" in line and "T[" not in line and "O[" not in line for line in text.splitlines())

    assert statements(many_sites) < statements(few) + 20
    assert len(many_sites) < 8 * len(few)


SCRIPT = """
import torch
from tests.capture.native.loops.test_packing import many, text_of
from ember.capture import capture
from tests.capture.native.programs import source_of
print(text_of(150))
inputs = [torch.randn(3 if k % 2 else (), dtype=torch.float64) for k in range(90)]
print(source_of(capture(many(list(range(90))), inputs), inputs))
"""


def test_two_processes_write_the_same_text():
    root = Path(__file__).parents[4]
    path = os.pathsep.join([str(root / "src"), str(root)])
    texts = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    assert texts[0].count("\n") > 100


def test_a_number_that_is_stacked_many_times_is_written_by_a_loop():
    def program(inputs):
        (x,) = inputs
        numbers = [0.5] * 300 + [-0.0, 0.0]  # equal, but not the same: x / -0.0 is -inf
        scales = torch.stack([torch.tensor(number) for number in numbers])
        return torch.stack([x[k] * x[k + 1] + x[k + 2] for k in range(302)]) / scales, scales

    x = torch.rand(304) + 0.1
    compiled = check(program, x)
    assert source_of(compiled.graph, [x, *compiled.graph.lifted]).count("= 0.5f;") <= 2
