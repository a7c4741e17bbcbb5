"""A thread that draws from torch's generator keeps a captured step from being compared, and is no error of the program's."""

from __future__ import annotations

import logging
import threading

import pytest
import torch

from ember.capture import explain
from ember.rng import others_draw
from tools.soak.drawing import loaders
from tools.soak.fits import fitted


@pytest.mark.parametrize("draws", [True, False])
def test_while_another_thread_draws(draws: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ember.capture"), loaders(1):
        svi = fitted("native", draws=draws)
        for _ in range(3):
            svi.step()
            svi.evaluate_loss()
        report = explain(svi)
        assert report.num_captures == 2 and not any(line.failure for line in report.captures)
        said = sum("another thread draws" in record.message for record in caplog.records)
        if not draws:
            # It is compared by its values.
            assert said == 0 and [line.calls for line in report.captures] == [6, 1]
    calls = report.eager_calls
    for _ in range(4):
        svi.step()
    assert report.eager_calls == calls and report.num_captures == 2
    # With others that draw all the time, it was compared by now or it is at the first of these.
    assert report.captures[0].calls >= 3


def test_others_draw() -> None:
    assert not others_draw(0.01)
    thread = threading.Timer(0.02, torch.rand, (3,))
    thread.start()
    assert others_draw(10.0)
    thread.join()
