"""What a program is told that asks for something that Ember does not have."""

from __future__ import annotations

import pytest

CASES = [
    (
        "from pyro.distributions import SpanningTre",
        ImportError,
        ["'pyro.distributions'", "Ember's drop-in", "'SpanningTre'", "neither Ember nor Pyro"],
    ),
    ("import pyro.contrib; pyro.contrib.funsor", AttributeError, ["'funsor'", "Pyro 1.9.2 has it"]),
    ("from pyro.infer import Trace_ELB", ImportError, ["Trace_ELBO", "neither Ember nor Pyro"]),
    ("from pyro.infer.svi import wibble", ImportError, ["'pyro.infer.svi'", "There is", "SVI"]),
    ("from pyro.infer.util import wibble", ImportError, ["'pyro.infer.util'", "There is", "torch_item"]),
    ("import pyro.contrib.funsor", ModuleNotFoundError, ["'pyro.contrib.funsor'", "not (yet)", "Instead:"]),
    ("from pyro.contrib import funsor", ImportError, ["'funsor'", "not (yet)"]),
    (
        "from pyro.infer.mcmc.api import MCM",
        ImportError,
        ["'pyro.infer.mcmc.api'", "Is it one of these: MCMC"],
    ),
    (
        "import pyro.wibble",
        ModuleNotFoundError,
        ["'pyro.wibble'", "neither", "There is in 'pyro'", "infer.svi"],
    ),
    ("import pyro; pyro.smaple", AttributeError, ["'smaple'", "Is it one of these: sample"]),
]


@pytest.mark.parametrize("code, error, parts", CASES, ids=[code for code, _, _ in CASES])
def test_the_error_names_the_drop_in_and_what_there_is(
    alias: None, code: str, error: type[Exception], parts: list[str]
) -> None:
    with pytest.raises(error) as caught:
        exec(code, {})
    assert type(caught.value) is error
    for part in parts:
        assert part in str(caught.value)


def test_probing_for_a_name_is_an_ordinary_false(alias: None) -> None:
    import pyro

    assert not hasattr(pyro, "wibble")
    assert getattr(pyro.infer, "NUT", None) is None
    assert not hasattr(pyro.infer, "__wrapped__")
