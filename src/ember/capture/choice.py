"""Which backend compiles a graph."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from ember import settings
from ember.capture.backend import Backend, Inductor, Interpreter, Program
from ember.capture.inductor import lacks_compiler
from ember.capture.native.program import Native
from ember.capture.native.values.unsupported import UnsupportedError
from ember.capture.recording.graph import CapturedGraph
from ember.errors import CaptureError, CompilationError, NoCompilerError

BackendName = Literal["auto", "native", "inductor", "interpreter"]

logger = logging.getLogger("ember.capture")
_BACKEND: BackendName = "auto"


@settings.register("backend", __name__, "_BACKEND")
def check_backend(value: Any) -> BackendName:
    """The name, if it is one.

    Raises:
        ValueError: if it is none of "auto", "native", "inductor" and "interpreter".
    """
    if value not in ("auto", "native", "inductor", "interpreter"):
        raise ValueError(f'backend must be "auto", "native", "inductor" or "interpreter", got {value!r}')
    return value  # type: ignore[no-any-return]


class Auto:
    """The native backend where it can and wins, else Inductor."""

    name = "auto"

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        try:
            return Native().compile(graph, inputs)
        except (UnsupportedError, NoCompilerError, CompilationError) as error:
            if isinstance(error, NoCompilerError) and lacks_compiler(inputs):
                raise NoCompilerError(
                    "there is no C compiler for the native backend, and no C++ compiler for Inductor.\n"
                    "The way out: install gcc and g++, or name them in the environment variables CC and CXX, "
                    "or run eagerly (compile=False)."
                ) from error
            return self._by_inductor(graph, inputs, _first_line(error))
        except Exception as error:
            logger.exception("the native backend failed; Inductor takes its place. Please report it.")
            return self._by_inductor(graph, inputs, f"{type(error).__name__}: {_first_line(error)}")

    @staticmethod
    def _by_inductor(graph: CapturedGraph, inputs: Sequence[Tensor], reason: str) -> Program:
        program = Inductor().compile(graph, inputs)
        program.note = f"not native: {reason}"
        return program


class OnlyNative:
    """The native backend, with the reason if it cannot."""

    name = "native"

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        try:
            return Native().compile(graph, inputs)
        except UnsupportedError as error:
            raise CaptureError(
                f"the step cannot be compiled by the native backend: {error}\n"
                'The way out: SVI(..., backend="auto"), which takes Inductor for such steps.'
            ) from error


_BACKENDS: dict[BackendName, Backend] = {
    "auto": Auto(),
    "native": OnlyNative(),
    "inductor": Inductor(),
    "interpreter": Interpreter(),
}


def name_of(own: BackendName | None) -> BackendName:
    """The name, by default that of the setting."""
    return _BACKEND if own is None else own


def backend_of(own: BackendName | None) -> Backend:
    """The backend with a name, by default with that of the setting."""
    return _BACKENDS[name_of(own)]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
