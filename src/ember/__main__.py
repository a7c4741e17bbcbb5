"""``python -m ember``: what this installation is, what it can do, and what is missing.

The exit status is 0 if steps can be compiled to C here, 1 if they cannot.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor

import ember
from ember import settings
from ember.capture import Backend, Inductor, Interpreter, Native, capture
from ember.capture.native.build.compiler import find_compiler
from ember.capture.native.build.store import cache_folder
from ember.capture.native.torch_side.generator import engine
from ember.torch_private import ENTRIES, LOSSES

EXTRAS = {
    "matplotlib": "pictures of fits",
    "pandas": "tables as data frames",
    "arviz": "export of draws, leave-one-out comparison",
    "graphviz": "pictures of models",
    "zuko": "AutoIAFNormal",
}
"""Packages that are used where they are installed, and what for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print what there is; see the module."""
    parser = argparse.ArgumentParser(prog="python -m ember", description=main.__doc__)
    parser.add_argument(
        "--no-compile", action="store_true", help="do not compile a program to try the backends"
    )
    options = parser.parse_args(argv)
    for name, value in _versions():
        _say(name, value)
    compiler = _tried(_compiler)
    _say("compiler", compiler)
    _say("cache", _tried(_cache))
    if not options.no_compile:
        backends: tuple[Backend, ...] = (Native(), Inductor(), Interpreter())
        for backend in backends:
            _say(f"backend {backend.name}", _tried(partial(_compiled, backend)))
        _say("random stream", engine().reason or "drawn from in place")
    _say("names in torch", f"{len(ENTRIES)} that are not public, {len(LOSSES)} of them lacking")
    for loss in LOSSES:
        _say("MISSING in torch", str(loss))
    for name, purpose in EXTRAS.items():
        _say(name, _installed(name) or f"missing: {purpose} (pip install {name})")
    _say("settings", ", ".join(f"{name}={value}" for name, value in settings.get().items()))
    return 1 if compiler.startswith("MISSING") else 0


def _say(name: str, value: str) -> None:
    sys.stdout.write(f"{name:20s} {value}\n")


def _tried(what: Callable[[], str]) -> str:
    """What a function says, or the first line of its error."""
    try:
        return what()
    except Exception as error:
        return f"MISSING: {str(error).strip().splitlines()[0]}"


def _versions() -> Iterator[tuple[str, str]]:
    yield "ember", ember.__version__
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    devices = "CUDA" if torch.cuda.is_available() else "CPU only"
    yield "torch", f"{torch.__version__}, {devices}, {torch.get_num_threads()} threads"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _compiler() -> str:
    found = find_compiler(cache_folder())
    return f"{' '.join(found.command)}: {found.version}; {' '.join(found.flags)}"


def _cache() -> str:
    folder = cache_folder()
    files = [path for path in folder.iterdir() if path.is_file()]
    return f"{folder} ({len(files)} files, {sum(path.stat().st_size for path in files) / 2**20:.0f} MiB)"


def _compiled(backend: Backend) -> str:
    """Compile a small function, and compare what it computes with torch.

    Raises:
        RuntimeError: if the numbers differ.
    """

    def function(inputs: list[Tensor]) -> list[Tensor]:
        (x,) = inputs
        return [(torch.exp(-x * x) + torch.lgamma(x + 2.0)).sum()]

    x = torch.linspace(0.0, 3.0, 50, dtype=torch.float64)
    start = time.perf_counter()
    program = backend.compile(capture(function, [x]), [x])
    (value,) = program([x])
    if not torch.allclose(value, function([x])[0], rtol=1e-12):
        raise RuntimeError(f"computes {value.item()} where torch has {function([x])[0].item()}")
    return f"works ({time.perf_counter() - start:.1f} s for a first small program)"


if __name__ == "__main__":
    sys.exit(main())
