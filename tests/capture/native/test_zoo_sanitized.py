"""Generated programs under the address and undefined behaviour sanitizers: nothing is read or written out of its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ember.capture.native.build.toolchain import sanitizer_environment

ROOT = Path(__file__).parents[3]

PRELUDE = """
import torch
import ember
from ember.capture import capture
from ember.capture.native.loops import pack
from ember.capture.native import pipeline, program
from ember.capture.native.program import Native, NativeProgram
pipeline.VERIFY = True
program.FLAGS = program.LARGE_FLAGS = ("-O1", *program.FLAGS[1:])
"""

ZOO = """
from ember.infer import SVI, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from ember.optim import Adam, ClippedAdam
from tests import zoo

class Sanitized:
    name = "native"
    def compile(self, graph, inputs):
        return NativeProgram(graph, inputs, sanitize=True)

for fewest in (400, 0):
    pack.FEWEST_VALUES, pack.FEWEST_MEMBERS = fewest, 12 if fewest else 2
    for make in zoo.ALL:
        known = make()
        losses = (Trace_ELBO, TraceGraph_ELBO) if fewest else (Trace_ELBO,)
        for loss in losses:
            ember.clear_param_store()
            ember.set_rng_seed(0)
            svi = SVI(known.model, known.guide, Adam({"lr": 0.01}), loss(num_particles=2), compile=True)
            svi.programs.backend = Sanitized()
            svi.run(3, *known.args, progress=False)
            svi.step(*known.args)
            assert (svi.programs.backend or ember.capture.choice.backend_of(svi.backend)).name == "native"
            print("ran", known.name)
"""

GRAPHS = """
from tests.capture.native import random_graphs
from ember.capture.native.loops import flatten
from tests.capture.native.loops import test_flatten
from tests.capture.native.lowering import test_aliasing
from tests.capture.native.programs import Compiled

torch.set_default_dtype(torch.float64)
jobs = [(random_graphs.Graph(seed), random_graphs.inputs(2 + seed % 4, seed)) for seed in range(9000, 9060)]
jobs += [(function, test_aliasing.inputs()) for function in test_aliasing.FUNCTIONS]
short_rows = (test_flatten.responses, test_flatten.views, test_flatten.kept, test_flatten.deep)
jobs += [(function, test_flatten.inputs(rows, columns)) for function in short_rows for rows, columns in ((110, 11), (40, 17))]
flat = [tensor for _, inputs in jobs for tensor in inputs]

def every(flat):
    outputs, at = [], 0
    for function, inputs in jobs:
        outputs += function(flat[at : at + len(inputs)])
        at += len(inputs)
    return outputs

for fewest in (10**9, 0):
    pack.FEWEST_VALUES, pack.FEWEST_MEMBERS = fewest, 2
    flatten.FEWEST_ELEMENTS, flatten.LEAST_GAIN = (2, 0) if fewest else (512, 1.1)
    compiled = Compiled(every, flat, sanitize=True)
    for steps in (1, 3):
        for a, b in zip(compiled.outcome(flat, steps), compiled.expected(flat, steps), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, equal_nan=True, check_stride=False)
    print("ran")

def wrong(flat):
    return [flat[0][flat[1]].sum(), torch.zeros(3).index_put((flat[1],), flat[0][:2])]

x, index = torch.arange(5.0), torch.tensor([0, 1])
compiled = Compiled(wrong, [x, index], sanitize=True)
for bad in ([0, 5], [-9, 0], [2**60, 1]):
    try:
        compiled.program([x, torch.tensor(bad), *compiled.graph.lifted])
    except IndexError:
        print("ran")
"""

MATRICES = """
from tests.capture.native.lowering.row_examples import random
from tests.capture.native.programs import Compiled, assert_same

def all_kinds(flat):
    a, b, left, right = flat
    factor = torch.linalg.cholesky(a @ a.mT + torch.eye(7, dtype=a.dtype))
    solved = torch.linalg.solve_triangular(factor, b, upper=False)
    column = torch.linalg.solve_triangular(factor.mT, b[..., :1], upper=True)
    from_the_right = torch.linalg.solve_triangular(factor, b.mT, upper=True, left=False)
    products = [left.repeat(1, 5) @ right.repeat(5, 1), left.repeat(1, 5) @ right.mT.contiguous().mT.repeat(5, 1)]
    return [factor, solved, column, from_the_right, *products, b.cumsum(0), b.cumsum(-1)]

inputs = [random(2, 3, 7, 7).mT, random(3, 7, 35), random(9, 40)[:, ::2], random(20, 31)]
compiled = Compiled(all_kinds, inputs, sanitize=True)
assert "if (extern_" not in compiled.program.source
assert_same(compiled.outcome(inputs), compiled.expected(inputs), [], (1e-11, 1e-12))
print("ran")
"""


def sanitized(script: str) -> list[str]:
    """The lines that a script prints, in a process with the sanitizers' runtimes."""
    environment = {
        **os.environ,
        **sanitizer_environment(),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert "runtime error" not in done.stderr
    assert "AddressSanitizer" not in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "fewest"), [(ZOO, 15), (GRAPHS, 5), (MATRICES, 1)], ids=["zoo", "graphs", "matrices"]
)
def test_no_report(script, fewest):
    assert sum(line.startswith("ran") for line in sanitized(script)) >= fewest
