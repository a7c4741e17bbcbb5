"""Every test starts from an empty parameter store, a fixed seed and no handlers, and must leave no handler behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import hypothesis
import pytest
import torch

import ember
from ember.poutine.runtime import THREAD

# On a busy machine any example may be slow.
hypothesis.settings.register_profile("ember", deadline=None)
hypothesis.settings.load_profile("ember")


# In the background of a shell Ctrl-C is ignored, and so it is here and in all child processes, which the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _fresh_state() -> Iterator[None]:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
    left = list(THREAD.stack), list(THREAD.plate_dims)
    THREAD.stack.clear()
    THREAD.plate_dims.clear()
    assert left == ([], []), f"handlers or plate dims left behind: {left}"
    validates = torch.distributions.Distribution._validate_args
    ember.enable_validation(True)
    assert validates, "argument validation was left switched off"


@pytest.fixture
def float64() -> Iterator[None]:
    """Numbers compared with closed forms are computed in double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
