"""The one place that touches the private entry points of torch's compiler.

:func:`compile_graph` calls Inductor directly, without guards and without the wrappers that would check inputs at every call.
:func:`compile_graph_publicly` does the same through :func:`torch.compile`, for a torch in which the direct way is gone.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from ember import settings
from ember.torch_private.entry import Entry, lose

Compiled = Callable[[list[Tensor]], Sequence[Tensor]]
"""Takes the list of all inputs (and empties it), updates inputs in place, returns the outputs."""


def lacks_compiler(inputs: Sequence[Tensor]) -> bool:
    """Whether it is plain, before Inductor takes seconds to find out, that it has no C++ compiler for these inputs."""
    if sys.platform not in ("linux", "darwin") or os.environ.get("TORCH_INDUCTOR_INSTALL_GXX"):
        return False
    command = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    words = shlex.split(command) or [""]
    return all(tensor.device.type == "cpu" for tensor in inputs) and shutil.which(words[0]) is None


def _options(inputs: Sequence[Tensor] = ()) -> dict[str, Any]:
    # torch's own random stream, so that a seed gives the same numbers as in eager mode.
    options: dict[str, Any] = {
        "fallback_random": True,
        "compile_threads": 1,
        "cpp.threads": torch.get_num_threads(),
    }
    # What only helps later compilations of a cold process: a precompiled header, and trying the processor's vector
    # instructions one by one (/proc/cpuinfo has told which there are). Of 16 s for eight schools, 11 s were these.
    if sys.platform == "linux":
        options |= {"cpp_cache_precompile_headers": False, "cpp.vec_isa_ok": True}
    if any(tensor.is_cuda for tensor in inputs):
        # Inductor itself leaves CUDA graphs out where a graph does not allow them. Untested: no accelerator was at hand.
        options["triton.cudagraphs"] = True
    return options


def _decompositions() -> dict[Any, Any]:
    """Inductor's own, but for samplers that it would replace by others, which draw other numbers, and for products of a
    large matrix and a vector, where its loop down the columns takes four times as long as the library."""
    from torch._inductor.decomposition import select_decomp_table

    return {
        op: decomposed
        for op, decomposed in select_decomp_table().items()
        if not (_is_sampler(op) or op is torch.ops.aten.mv.default)
    }


def _is_sampler(op: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(op, "tags", ())


def _keep_samplers(module: GraphModule) -> None:
    """Let Inductor call torch for samplers. It does so by itself, except where the environment has ``CI`` set: there it
    ends with an assertion that is meant for torch's own developers."""
    from torch._inductor.lowering import lowerings, make_fallback

    for op in {node.target for node in module.graph.nodes if _is_sampler(node.target)}:
        if op not in lowerings:
            make_fallback(op, warn=False, override_decomp=True)  # type: ignore[no-untyped-call]


@contextmanager
def _torch_quiet() -> Iterator[None]:
    """A right program must run without a warning; importing torch's compiler gives some about torch itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", "Torchinductor does not support code generation for complex")
        yield


@_torch_quiet()
def compile_graph(module: GraphModule, inputs: Sequence[Tensor]) -> Compiled:
    """Compile a graph for inputs of these shapes, dtypes and devices: directly, or where this torch has no such way, publicly."""
    try:
        return _compile_directly(module, inputs)
    except (ImportError, AttributeError, TypeError) as error:
        compiled = compile_graph_publicly(module, inputs)  # if the graph is at fault, that says so
        lose(_DIRECT, error)
        return compiled


_DIRECT: Entry[None] = Entry(
    "torch._inductor.compile_fx",
    lambda found: None,
    None,
    "torch.compile, which looks at its inputs in every call",
)


def _compile_directly(module: GraphModule, inputs: Sequence[Tensor]) -> Compiled:
    # The cache on disk works within a tracing context with a shape environment only.
    from torch._functorch import config as functorch_config
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    _keep_samplers(module)
    inner: list[Any] = []

    def keep_inner(*args: Any, **kwargs: Any) -> Any:
        if "get_decomp_fn" in kwargs:
            # For the key of the cache on disk, which a table of functions cannot be part of; its name can.
            kwargs["get_decomp_fn"] = _decompositions
        compiled = compile_fx_inner(*args, **kwargs)
        inner.append(compiled)
        return compiled

    context = TracingContext(FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True))
    # torch's other cache, of the wrappers, would hide the inner program.
    with torch.no_grad(), tracing(context), functorch_config.patch(enable_autograd_cache=False):
        whole: Any = compile_fx(
            module,
            list(inputs),
            inner_compile=keep_inner,
            config_patches=_options(inputs),
            decompositions=_decompositions(),
        )
    if len(inner) != 1:
        return lambda flat: whole(*flat)
    # The wrappers around the inner program matter only where inputs alias each other; the caller compares the first
    # result with eager execution before it trusts the program.
    compiled = inner[0]
    boxed = getattr(compiled, "_boxed_call", False)
    return compiled if boxed else (lambda flat: compiled(*flat))


@_torch_quiet()
def compile_graph_publicly(module: GraphModule, inputs: Sequence[Tensor]) -> Compiled:
    """The same by :func:`torch.compile`."""
    # torch.compile switches argument validation off for the whole process; the block brings it back.
    with settings.context(validate_distributions_torch=settings.get("validate_distributions_torch")):
        compiled = torch.compile(module, fullgraph=True, dynamic=False, options=_options(inputs))
        with torch.no_grad():
            compiled(*[tensor.detach().clone() for tensor in inputs])

    def call(flat: list[Tensor]) -> Sequence[Tensor]:
        with torch.no_grad():
            result: Sequence[Tensor] = compiled(*flat)
        return result

    return call
