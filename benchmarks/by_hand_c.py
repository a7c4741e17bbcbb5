"""The same steps by hand in C: the model's maths and its gradient, one Adam, and the loop over the steps, in single precision.

The sources are in ``c/``. The system's compiler builds them for this processor, with honest flags: no ``-ffast-math``; sums
become vectors only where a pragma says so. Noise comes from quick random numbers of their own (xoshiro256+, Box and Muller), or
from torch's stream, and then the losses are those of ``by_hand.py``.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import data

SOURCES = Path(__file__).parent / "c"
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
LINKING = ("-fPIC", "-shared")


class Model(NamedTuple):
    """What a source file needs: its constants, its data in order, and where locations and scales start."""

    constants: dict[str, int]
    data: list[torch.Tensor]
    locs: torch.Tensor
    scales: torch.Tensor
    source: str = ""
    """The file's name, if it is not the model's."""


def eight_schools() -> Model:
    scales = torch.ones(10)
    scales[1] = 0.5
    return Model({}, [torch.tensor(data.EFFECTS), torch.tensor(data.ERRORS)], torch.zeros(10), scales)


def logistic_regression() -> Model:
    x, y = (torch.tensor(values) for values in data.covariates())
    rows, columns = x.shape
    sites = columns + 1
    # Rows are read in whole vectors, the last one too.
    x = torch.cat([x.flatten(), torch.zeros(16)])
    return Model({"ROWS": rows, "COLUMNS": columns}, [x, y], torch.zeros(sites), torch.full((sites,), 0.1))


def linear_mixed() -> Model:
    x, group, y = (torch.tensor(values) for values in data.grouped())
    groups = int(group.max()) + 1
    sites = groups + 4
    tensors = [x, group.int(), y]
    return Model({"ROWS": len(x), "GROUPS": groups}, tensors, torch.zeros(sites), torch.full((sites,), 0.1))


def _under_auto_normal(
    sites: int, constants: dict[str, int], tensors: list[torch.Tensor], name: str
) -> Model:
    """A model with the guide's scales as AutoNormal has them."""
    constants = {**constants, "SOFTPLUS": 1}
    return Model(constants, tensors, torch.zeros(sites), torch.full((sites,), 0.1), name)


def gamma_poisson() -> Model:
    k = torch.as_tensor(data.counts())
    rows, columns = k.shape
    return _under_auto_normal(columns, {"ROWS": rows, "COLUMNS": columns}, [k], "gamma_poisson")


def logistic_100_000() -> Model:
    x, y = map(torch.as_tensor, data.labelled(100_000))
    constants = {"ROWS": len(x), "COLUMNS": x.shape[1], "VECTOR": 4}  # which 20 columns fill
    x = torch.cat([x.flatten(), torch.zeros(16)])
    return _under_auto_normal(constants["COLUMNS"] + 1, constants, [x, y], "logistic_regression")


def random_walk_1_000() -> Model:
    y = torch.as_tensor(data.walk(1_000))
    return _under_auto_normal(len(y) + 2, {"STEPS": len(y)}, [y], "random_walk")


MODELS: dict[str, Callable[[], Model]] = {
    "eight_schools": eight_schools,
    "logistic_regression": logistic_regression,
    "linear_mixed": linear_mixed,
    "gamma_poisson": gamma_poisson,
    "logistic_100_000": logistic_100_000,
    "random_walk_1_000": random_walk_1_000,
}


def library(name: str, constants: dict[str, int], torch_numbers: bool = False) -> ctypes.PyDLL:
    """The source file of that name, built and loaded.

    Raises:
        RuntimeError: if the compiler refuses it, with what the compiler says.
    """
    flags = [f"-D{key}={value}" for key, value in constants.items()]
    if torch_numbers:
        from ember.capture.native.build.toolchain import HEADERS

        flags += ["-DTORCH_NUMBERS", f"-I{HEADERS}"]
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / f"{name}.so"
        command = [*shlex.split(os.environ.get("CC") or "cc"), *FLAGS, *LINKING, *flags]
        command += [str(SOURCES / f"{name}.c"), "-o", str(built), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{name}.c: {done.stderr.strip()}")
        return ctypes.PyDLL(str(built))


def _pointer(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


class Fit:
    """A model in C with the state of its fit."""

    def __init__(self, name: str, torch_numbers: bool = False) -> None:
        constants, self._data, locs, scales, source = MODELS[name]()
        self._library = library(source or name, constants, torch_numbers)
        self._run = self._library.run
        self._run.argtypes = [
            *[ctypes.c_void_p] * 3,
            ctypes.c_double,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]
        self._run.restype = None
        self._torch_numbers = torch_numbers
        self._addresses = (ctypes.c_void_p * len(self._data))(*(tensor.data_ptr() for tensor in self._data))
        self._rate = data.RATES[name]
        self._done = 0
        raw = scales.expm1().log() if "SOFTPLUS" in constants else scales.log()
        # Adam's moments follow the leaves.
        self.state = torch.cat([locs, raw, torch.zeros(4 * len(locs))])
        if not torch_numbers:
            self._library.numbers_size.restype = ctypes.c_int64
            self._numbers = torch.zeros(self._library.numbers_size(), dtype=torch.uint8)
            self.seed(0)

    def seed(self, seed: int) -> None:
        """Start the random numbers anew; torch's, if it is those that are used."""
        if self._torch_numbers:
            torch.manual_seed(seed)
        else:
            self._library.numbers_seed(_pointer(self._numbers), ctypes.c_uint64(seed))

    def many(self, num_steps: int) -> list[float]:
        """So many steps in one call: their losses."""
        losses = torch.empty(num_steps)
        if self._torch_numbers:
            from ember.capture.native.torch_side import generator

            generator.begin()
            self._take(num_steps, ctypes.c_void_p(generator.engine_pointer()), losses)
            generator.end()
        else:
            self._take(num_steps, _pointer(self._numbers), losses)
        self._done += num_steps
        return losses.tolist()

    def _take(self, num_steps: int, numbers: ctypes.c_void_p, losses: torch.Tensor) -> None:
        self._run(
            self._addresses,
            _pointer(self.state),
            numbers,
            self._rate,
            self._done,
            num_steps,
            _pointer(losses),
        )


def memory_floor() -> Callable[[int], list[float]]:
    """Takes so many times what no step of logistic regression can do without: see ``memory_floor.c``."""
    x, _ = (torch.tensor(values) for values in data.covariates())
    logits = 2 * torch.randn(len(x), generator=torch.Generator().manual_seed(0))
    floor = library("memory_floor", {}).run
    sizes = [ctypes.c_int64(tensor.numel()) for tensor in (x, logits)]

    def many(times: int) -> list[float]:
        sums = torch.empty(times)
        floor(_pointer(x), sizes[0], _pointer(logits), sizes[1], ctypes.c_int64(times), _pointer(sums))
        return sums.tolist()

    return many
