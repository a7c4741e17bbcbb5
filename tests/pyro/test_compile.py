"""The captured step in programs written for Pyro: ``--compile`` and the ``Jit`` objectives."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
from collections.abc import Callable

import pytest
import torch

import ember
import ember.pyro
from ember.infer import SVI
from ember.pyro.jit import JitTrace_ELBO
from ember.pyro.run import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = """
import subprocess, sys
import torch, pyro, pyro.distributions as dist
from pyro.infer import SVI, Trace_ELBO

def model():
    pyro.sample("z", dist.Normal(0.0, 1.0))

def guide():
    pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(1.0)), 1.0))

pyro.set_rng_seed(0)
svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
losses = [svi.step() for _ in range(4)]
print(svi.capture_report.num_captures, losses)
if len(sys.argv) == 1:
    CHILD = "import pyro; print(pyro.settings.get('compile'))"
    print(subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True).stdout.strip())
"""


def test_the_switch_captures_the_steps_of_an_unmodified_program(run_python: Run) -> None:
    compiled = run_python("-m", "ember.pyro", "--compile", "-c", PROGRAM).stdout.split("\n")
    eager = run_python("-m", "ember.pyro", "-c", PROGRAM).stdout.split("\n")
    assert compiled[0][0] == "1" and compiled[1] == "auto"
    assert eager[0][0] == "0" and eager[1] == "None"
    losses = [[float(loss) for loss in line[3:-1].split(",")] for line in (compiled[0], eager[0])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(set(losses[0])) == 4


def test_the_switch_alone_asks_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--compile"]) == 2
    assert "--compile needs a program" in capsys.readouterr().err
    assert not ember.pyro.is_installed()


def test_the_mode_is_taken_back_with_the_drop_in() -> None:
    ember.pyro.install(compile="auto")
    try:
        assert ember.settings.get("compile") == "auto" and os.environ["EMBER_PYRO_COMPILE"] == '"auto"'
    finally:
        ember.pyro.uninstall()
    assert ember.settings.get("compile") is None and "EMBER_PYRO_COMPILE" not in os.environ


def test_a_mode_that_there_is_not_changes_nothing() -> None:
    with pytest.raises(ValueError, match="compile must be"):
        ember.pyro.install(compile="always")  # type: ignore[arg-type]
    assert not ember.pyro.is_installed() and ember.settings.get("nonfinite_loss") == "raise"


def test_jit_objectives_are_at_pyros_paths_and_not_in_ember(alias: None) -> None:
    import pyro.infer
    from pyro.infer import JitTrace_ELBO as by_package
    from pyro.infer.trace_elbo import JitTrace_ELBO as by_module

    assert by_package is by_module is pyro.infer.JitTrace_ELBO is JitTrace_ELBO
    assert issubclass(JitTrace_ELBO, pyro.infer.Trace_ELBO)
    assert "JitTrace_ELBO" not in vars(ember.infer)
    assert pickle.loads(pickle.dumps(JitTrace_ELBO)) is JitTrace_ELBO


@pytest.mark.parametrize("own, effective", [(None, "auto"), (False, False), (True, True)])
def test_a_jit_objective_wishes_for_compiled_steps(own: bool | str | None, effective: bool | str) -> None:
    loss = JitTrace_ELBO(num_particles=2, ignore_jit_warnings=True, jit_options={"optimize": True})
    svi = SVI(lambda: None, lambda: None, ember.optim.Adam({"lr": 0.1}), loss, compile=own)  # type: ignore[arg-type]
    assert svi.compile == effective and loss.num_particles == 2


def test_a_jit_objective_goes_on_eagerly_where_a_step_cannot_be_captured() -> None:
    def model() -> None:
        z = ember.sample("z", ember.distributions.Normal(0.0, 1.0))
        if z > 0:
            ember.sample("x", ember.distributions.Normal(z, 1.0), obs=torch.tensor(1.0))

    def guide() -> None:
        ember.sample("z", ember.distributions.Normal(ember.param("loc", torch.tensor(0.0)), 1.0))

    store = ember.params.ParamStoreDict()
    svi = SVI(model, guide, ember.optim.Adam({"lr": 0.1}), JitTrace_ELBO(), param_store=store)
    svi.step()
    with pytest.warns(UserWarning, match="the value of a tensor"):
        svi.step()
    assert math.isfinite(svi.step())


def test_the_parameter_store_is_where_pyro_keeps_it(alias: None) -> None:
    import pyro.poutine.runtime as runtime
    from pyro.poutine.runtime import _PYRO_PARAM_STORE

    assert _PYRO_PARAM_STORE is runtime._PYRO_PARAM_STORE is ember.get_param_store()
