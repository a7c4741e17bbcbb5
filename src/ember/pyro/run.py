"""Running a program as ``python`` itself would, with the drop-in installed."""

from __future__ import annotations

import os
import runpy
import sys
from importlib.util import find_spec
from types import ModuleType

from ember.infer.step.compile_mode import CompileMode
from ember.pyro.switch import install

USAGE = """\
usage: python -m ember.pyro [--compile] SCRIPT [ARGS...]
       python -m ember.pyro [--compile] -m MODULE [ARGS...]
       python -m ember.pyro [--compile] -c CODE [ARGS...]

Run a program written for Pyro: in it, and in the Python processes that it starts, `import pyro` is Ember.

--compile  run each step of SVI as one captured program, where that is possible (the setting compile="auto")"""


def main(argv: list[str]) -> int | str | None:
    """Run the program that the arguments name, in this process.

    Args:
        argv: the command line after ``python -m ember.pyro``.

    Returns:
        The exit status. A program that calls ``sys.exit`` leaves by its own SystemExit.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "--compile":
        return _main(argv[1:], "auto")
    return _main(argv, None)


def _main(argv: list[str], mode: CompileMode) -> int | str | None:
    if not argv:
        print(f"--compile needs a program to run\n{USAGE}", file=sys.stderr)  # noqa: T201
        return 2
    first, rest = argv[0], argv[1:]
    if first in ("-m", "-c"):
        if not rest:
            print(f"Argument expected for the {first} option\n{USAGE}", file=sys.stderr)  # noqa: T201
            return 2
        run = _run_module if first == "-m" else _run_code
        return run(rest[0], rest[1:], mode)
    return _run_script(first, rest, mode)


def _set_path_entry(entry: str) -> None:
    # The first entry is what `python -m ember.pyro` put there: the folder it was started in.
    if not sys.flags.safe_path:
        sys.path[0] = entry


def _run_script(script: str, args: list[str], mode: CompileMode) -> int | str | None:
    if not os.path.exists(script):
        return f"python -m ember.pyro: can't open file {os.path.abspath(script)!r}: no such file"
    install(compile=mode)
    sys.argv = [script, *args]
    if os.path.isfile(script):
        _set_path_entry(os.path.dirname(os.path.realpath(script)))
    runpy.run_path(script, run_name="__main__")
    return None


def _run_module(name: str, args: list[str], mode: CompileMode) -> int | str | None:
    install(compile=mode)
    try:
        found = find_spec(name) is not None
    except ModuleNotFoundError as error:
        return f"python -m ember.pyro: error while finding module {name!r}: {error}"
    if not found:
        return f"python -m ember.pyro: no module named {name}"
    sys.argv = [name, *args]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    return None


def _run_code(code: str, args: list[str], mode: CompileMode) -> int | str | None:
    install(compile=mode)
    sys.argv = ["-c", *args]
    _set_path_entry("")
    main_module = ModuleType("__main__")
    sys.modules["__main__"] = main_module
    exec(compile(code, "<string>", "exec"), vars(main_module))
    return None
