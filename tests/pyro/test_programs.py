"""Whole programs under ``python -m ember.pyro``, with the processes that they start."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import ember.pyro
from ember.pyro.run import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = """
    import json, multiprocessing, subprocess, sys
    import pyro
    from pyro.infer import SVI

    CHILD = "import sys, pyro.infer; print(sys.modules['pyro.infer'].__name__, pyro.__version__)"

    def in_child(x):
        import pyro.infer.svi
        return [x, pyro.__name__, pyro.infer.svi.__name__]

    if __name__ == "__main__":
        child = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            spawned = pool.map(in_child, [7])
        facts = dict(argv=sys.argv, file=__file__, path=sys.path[0], child=child.stdout.split(),
                     spawned=spawned[0], svi=SVI.__module__, main=in_child.__module__)
        print(json.dumps(facts))
        sys.exit(5)
"""


def test_a_script_runs_as_under_python_and_its_children_see_the_alias(
    run_python: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "program.py").write_text(textwrap.dedent(PROGRAM))
    done = run_python("-m", "ember.pyro", "programs/program.py", "--steps", "3", status=5)
    facts = json.loads(done.stdout)
    assert facts["argv"] == ["programs/program.py", "--steps", "3"]
    assert facts["file"] == "programs/program.py" and facts["path"] == str(folder.resolve())
    assert facts["svi"].startswith("ember.") and facts["main"] == "__main__"
    assert facts["child"] == ["ember.infer", ember.pyro.EMULATED_VERSION]
    assert facts["spawned"] == [7, "ember", "ember.infer.step.svi"]


TESTS = """
    import os
    import pyro
    import pyro.distributions as dist
    from pyro.distributions.util import broadcast_shape
    import pyro.poutine.runtime
    from pyro.infer.util import torch_item

    def test_alias():
        assert pyro.__name__ == "ember" and torch_item(1.0) == 1.0

    def test_rewritten():
        left = [1, 2, 3]
        assert left == [1, 2, int(os.environ.get("LAST", "3"))]
"""


def test_pytest_runs_a_folder_of_tests_in_workers(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import pyro\nfrom pyro.infer import SVI\n")
    (tmp_path / "test_foreign.py").write_text(textwrap.dedent(TESTS))
    options = ("-p", "no:cacheprovider", "-q", "-n", "1")
    done = run_python("-m", "ember.pyro", "-m", "pytest", *options, str(tmp_path), status=1, LAST="4")
    assert "1 failed, 1 passed" in done.stdout
    # Assertion rewriting is at work: the two lists are shown.
    assert "assert [1, 2, 3] == [1, 2, 4]" in done.stdout


def test_the_pytest_plugin_does_the_same(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import pyro\n")
    (tmp_path / "test_foreign.py").write_text(textwrap.dedent(TESTS))
    options = ("-p", "ember.pyro.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:xdist")
    done = run_python("-m", "pytest", *options, str(tmp_path))
    assert "2 passed" in done.stdout and "pyro: ember (drop-in)" in done.stdout


def test_code_on_the_command_line(run_python: Run) -> None:
    code = "import sys, pyro; print(pyro.__name__, __name__, sys.argv, repr(sys.path[0]))"
    done = run_python("-m", "ember.pyro", "-c", code, "a", "b")
    assert done.stdout.strip() == "ember __main__ ['-c', 'a', 'b'] ''"


def test_processes_without_need_of_pyro_do_not_load_ember(run_python: Run, tmp_path: Path) -> None:
    from ember.pyro.children import FOLDER

    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.seen_by_the_other = True\n")
    code = "import sys; print('ember' in sys.modules, 'torch' in sys.modules, seen_by_the_other)"
    done = run_python("-c", code, PYTHONPATH=f"{FOLDER}:{tmp_path}")
    assert done.stdout.split() == ["False", "False", "True"]


def test_without_ember_the_alias_steps_aside(run_python: Run, tmp_path: Path) -> None:
    from ember.pyro.children import FOLDER

    (tmp_path / "pyro.py").write_text("name = 'another'\n")
    code = "import pyro; print(pyro.name)"
    # -S leaves out site-packages, and so any installed Ember; sitecustomize is then run by hand.
    start = f"import sys; sys.path[:0] = [{FOLDER!r}, {str(tmp_path)!r}]; import sitecustomize; {code}"
    assert run_python("-S", "-c", start, PYTHONPATH="").stdout.strip() == "another"


def test_bad_command_lines(alias: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python -m ember.pyro" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "usage: python -m ember.pyro" in capsys.readouterr().out
    assert main(["-c"]) == 2
    assert "Argument expected for the -c option" in capsys.readouterr().err
    assert "can't open file" in str(main(["nosuch.py"]))
    assert "no module named nosuch" in str(main(["-m", "nosuch"]))
    assert "error while finding module 'nosuch.inside'" in str(main(["-m", "nosuch.inside"]))
