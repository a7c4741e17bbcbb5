"""Recording the run of a program."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from ember.poutine.hints import add_hints, is_marked, mark
from ember.poutine.messenger import Handled, Messenger
from ember.poutine.site import Site
from ember.poutine.trace_struct import INPUT, RETURN, Trace


def identify_dense_edges(trace: Trace) -> None:
    """Add an edge between each pair of sample sites, unless they are in different iterations of one plate."""
    earlier: list[tuple[str, Site]] = []
    for name, site in trace.nodes.items():
        if not site.is_sample or site.is_subsample:
            continue
        for past_name, past in earlier:
            independent = any(
                frame.name == past_frame.name and frame.counter != past_frame.counter
                for frame, past_frame in zip(site.cond_indep_stack, past.cond_indep_stack, strict=False)
            )
            if not independent:
                trace.add_edge(past_name, name)
        earlier.append((name, site))


class TraceMessenger(Messenger):
    """Records the sites of a program in ``.trace``, anew each time it is entered.

    Args:
        graph_type: ``"dense"`` adds edges between sites that may depend on each other.
        param_only: record parameters only.

    >>> import torch, ember
    >>> def model():
    ...     z = ember.sample("z", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("x", ember.distributions.Normal(z, 1.0), obs=torch.tensor(2.0))
    >>> trace = ember.poutine.trace(model).get_trace()
    >>> trace.nodes["x"].value, trace.log_prob_sum().shape
    (tensor(2.), torch.Size([]))
    """

    def __init__(
        self, graph_type: Literal["flat", "dense"] | None = None, param_only: bool | None = None
    ) -> None:
        super().__init__()
        self.graph_type: Literal["flat", "dense"] = "flat" if graph_type is None else graph_type
        self.param_only = bool(param_only)
        self.trace = Trace(self.graph_type)

    def is_repeatable(self) -> bool:
        """No: it keeps the sites of each run."""
        return False

    def __enter__(self) -> Self:
        self.trace = Trace(self.graph_type)
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.param_only:
            for name in (INPUT, RETURN):
                if name in self.trace:
                    self.trace.remove_node(name)
        if self.graph_type == "dense":
            identify_dense_edges(self.trace)
        super().__exit__(exc_type, exc_value, traceback)

    def __call__(self, fn: Callable[..., Any]) -> TraceHandler:
        if not callable(fn):
            raise ValueError(f"{fn!r} is not callable, did you mean to pass it as a keyword arg?")
        return TraceHandler(self, fn)

    def get_trace(self) -> Trace:
        """A shallow copy of the last recorded trace."""
        return self.trace.copy()

    def _reset(self) -> None:
        inputs = self.trace.nodes.get(INPUT)
        self.trace = Trace(self.graph_type)
        if inputs is not None:
            self.trace.nodes[INPUT] = inputs

    def _pyro_post_sample(self, msg: Site) -> None:
        if not self.param_only and not msg.infer.get("_do_not_trace"):
            assert msg.name is not None, "a sample statement needs a name to be traced"
            self.trace.add_site(msg.name, Site(msg))

    def _pyro_post_param(self, msg: Site) -> None:
        self.trace.add_site(msg.name, Site(msg))


class TraceHandler(Handled):
    """A function whose run is recorded, with its arguments at ``_INPUT`` and its result at ``_RETURN``.

    A ValueError or RuntimeError in the function is raised again with the table of shapes and its line appended.
    """

    msngr: TraceMessenger

    def __call__(self, *args: object, **kwargs: object) -> Any:
        with self.msngr as recorder:
            recorder.trace.nodes[INPUT] = Site(name=INPUT, type="args", args=args, kwargs=kwargs)
            try:
                result = self.fn(*args, **kwargs)
            except (TypeError, KeyError, IndexError) as error:
                for hint in add_hints(error, recorder.trace.nodes):
                    error.add_note(hint)
                mark(error)
                raise
            except (ValueError, RuntimeError) as error:
                if is_marked(error) and len(recorder.trace) == 1:
                    raise  # this run has nothing to add
                hints = add_hints(error, recorder.trace.nodes)
                shaped = _with_shapes(error, "\n".join([recorder.trace.format_shapes(), *hints]))
                mark(shaped)
                if shaped is error:
                    raise
                raise shaped from error
            recorder.trace.nodes[RETURN] = Site(name=RETURN, type="return", value=result)
        return result

    @property
    def trace(self) -> Trace:
        """The last recorded trace."""
        return self.msngr.trace

    def get_trace(self, *args: object, **kwargs: object) -> Trace:
        """Call the function and return the trace instead of the result."""
        self(*args, **kwargs)
        return self.msngr.get_trace()


def _with_shapes(error: Exception, table: str) -> Exception:
    try:
        shaped = type(error)(f"{error}\n{table}")
    except TypeError:
        # An exception class with a constructor of its own keeps its instance; the table goes along as a note.
        error.add_note(table)
        return error
    for note in getattr(error, "__notes__", ()):
        shaped.add_note(note)
    return shaped
