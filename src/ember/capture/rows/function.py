"""A function of one row, as a function of many."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch

from ember.capture.blame import explain
from ember.capture.choice import BackendName, check_backend, name_of
from ember.capture.recording.assumptions import Unforeseen
from ember.capture.rows.calls import Call, Instead, Results, leaves_of
from ember.capture.rows.recorded import Recorded, Tried, compare, recorded
from ember.capture.state.arguments import take_apart
from ember.capture.state.walk import Walk
from ember.capture.state.world import World, scan
from ember.errors import CaptureError, Reason
from ember.rng import fork_torch_rng

logger = logging.getLogger("ember.capture")
Roots = tuple[tuple[str, object], ...]
"""Objects with their names, where a walk through what the function reads begins."""
WORTH_A_PROGRAM = 2000
"""So many rows take Python about as long as to make a program of a small function."""
_MOST_PROGRAMS = 16
_MOST_VARIANTS = 8
_MOST_TRIED = 8
"""Rows at which the function is tried, to find one that it can be recorded at."""


def rows(
    function: Callable[..., Any],
    *,
    in_dims: Sequence[int | None] | None = None,
    instead: Instead | None = None,
    backend: BackendName | None = None,
    compile: bool = True,
    reads: Roots | None = None,
    facts: Callable[[], Hashable] | None = None,
    example: Sequence[Any] | None = None,
) -> RowFunction:
    """Make a function of many rows from a function of one: it is captured, and one call runs it over all.

    The function sees one row at a time, so that it need not broadcast. What it draws, it draws row by row.
    Tensors that it finds outside of its arguments are shared by all rows; a change of these, in place too, is
    noticed. What it computes of shared tensors alone is computed once a call. Rows do not depend on each
    other, and threads share them (the setting ``threads``): the results are the same bit for bit for any
    number of threads. Results carry no gradients; a function may differentiate inside.

    A function that cannot be captured, since it branches on values, say, is run by Python, row by row;
    :meth:`RowFunction.explain` tells. So is a row at which a program finds what it cannot answer: an invalid
    argument of a distribution, a matrix without a factor.

    Args:
        function: takes the arguments of a call, those with rows without their first dim. It returns tensors,
            nested as it likes.
        in_dims: 0 for each argument with rows, None for each that all rows share; all have rows by default.
        instead: gives the result at a row at which the function raises an error. By default the error is the
            call's.
        backend: as for :class:`~ember.infer.SVI`; but where ``"auto"`` has no native program, torch's vmap takes
            all rows at once, unless rows draw.
        compile: False leaves all rows to Python.
        reads: where to look for what the function reads, if not in itself.
        facts: what else decides whether a program is right; a new one is made when it is another.
        example: arguments of one row, those with rows only, at which the function does not fail.

    The function it returns is called with the arguments, and with ``num_rows=...`` where none of them has
    rows: as many draws of a function that draws, say.

    Raises:
        ValueError: if ``in_dims`` holds anything but 0 and None.

    >>> import torch
    >>> from ember.capture import rows
    >>> X = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> project = rows(lambda b: X @ b)
    >>> project(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    tensor([[1., 3.],
            [2., 4.],
            [3., 7.]])
    >>> rows(lambda: torch.randn(2) + X.sum())(num_rows=5).shape
    torch.Size([5, 2])
    """
    return RowFunction(
        function,
        in_dims=None if in_dims is None else tuple(in_dims),
        instead=instead,
        backend=None if backend is None else check_backend(backend),
        compile=compile,
        reads=(("the function", function),) if reads is None else reads,
        facts=facts,
        example=example,
    )


class RowFunction:
    """Runs a function of one row over many; made by :func:`rows`, which says what the arguments are."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        in_dims: tuple[int | None, ...] | None,
        instead: Instead | None,
        backend: BackendName | None,
        compile: bool,
        reads: Roots,
        facts: Callable[[], Hashable] | None,
        example: Sequence[Any] | None,
    ) -> None:
        if in_dims is not None and not set(in_dims) <= {0, None}:
            raise ValueError(f"in_dims must hold 0 and None only, got {in_dims}")
        self._function = function
        self._in_dims = in_dims
        self._instead = instead
        self._backend = backend
        self._reads = reads
        self._facts = facts
        self._example = example
        self._world: World | None = None
        self._known: dict[Hashable, list[Recorded] | str] = {}
        """By what decides which program is right: programs, or the reason why there is none."""
        self._reason = "not called yet" if compile else "compile=False"
        self._compiles = compile
        self._last: Recorded | None = None

    @property
    def backend(self) -> str:
        """What ran, or will run, the last call's rows: the name of a backend, or ``"python"``."""
        return "python" if self._last is None else self._last.program.backend

    @property
    def is_compiled(self) -> bool:
        """Whether there is a program, for some kind of call."""
        return any(not isinstance(known, str) for known in self._known.values())

    @property
    def source(self) -> str:
        """The last call's program as text, if its backend writes one."""
        return "" if self._last is None else self._last.program.source

    def explain(self) -> str:
        """What ran the rows of the last call, and why."""
        if self._last is not None:
            program = self._last.program
            return f"{program.backend}{f' ({program.note})' if program.note else ''}"
        return f"python, row by row: {self._reason}"

    def __call__(self, *args: Any, num_rows: int | None = None) -> Any:
        """The results of all rows, each tensor with a first dim for them.

        Args:
            args: of the function, those with rows with a first dim for them.
            num_rows: how many rows there are; by default as many as the arguments have.

        Raises:
            ValueError: if tensors with rows differ in their first dims or from ``num_rows``, there is
                neither, or results of rows differ in their shapes.
            Exception: the function's own, at the first row at which it fails.
        """
        in_dims = (0,) * len(args) if self._in_dims is None else self._in_dims
        if len(in_dims) != len(args):
            raise ValueError(f"in_dims has {len(in_dims)} entries, but there are {len(args)} arguments")
        call = Call(args, tuple(dim == 0 for dim in in_dims), num_rows)
        if call.num_rows < 1:
            raise ValueError("there are no rows: the results of none have no shape")
        self._last = None
        made = self._program(call) if self._compiles else None
        if made is not None:
            try:
                result = made.run(call, lambda index: self._answer(call, index))
                self._last = made
                return result
            except Unforeseen:
                self._reason = (
                    "what is shared by rows is not valid, or not what the recorded run took for granted"
                )
        return self._by_python(call)

    def _answer(self, call: Call, index: int) -> Any:
        """The result of a row, by Python."""
        try:
            with torch.no_grad():
                return self._function(*call.arguments(call.row(index), call.shared))
        except Exception as error:
            if self._instead is None:
                error.add_note(f"at row {index}")
                raise
            return self._instead(error)

    def _by_python(self, call: Call) -> Any:
        results = Results(call.num_rows)
        for index in range(call.num_rows):
            results.put(index, self._answer(call, index))
        return results.together()

    def _program(self, call: Call) -> Recorded | None:
        """A program for a call; None leaves it to Python."""
        known = self._known.get(self._key(call), [])
        if isinstance(known, str):
            self._reason = known
            return None
        for made in known:
            if made.fits(call):
                return made
        if len(known) >= _MOST_VARIANTS or len(self._known) >= _MOST_PROGRAMS:
            self._reason = "what it reads, or what Python asks of the data, is other in call after call"
            return None
        return self._made(call)

    def _key(self, call: Call) -> Hashable:
        world = self._read()
        walk = Walk(world.names, world.by_text)
        shapes = tuple((tensor.shape[1:], tensor.dtype, tensor.device) for tensor in call.rows)
        args = tuple(take_apart(arg, [], walk) for arg in call.args_apart())
        facts = None if self._facts is None else self._facts()
        torchs = torch.get_default_dtype(), torch.is_autocast_enabled("cpu")
        return (world.key, shapes, args, tuple(walk.unseen), torchs, facts, name_of(self._backend))

    def _read(self) -> World:
        """What the function reads now."""
        if self._world is None or not self._world.holds():
            self._world = scan(self._reads)
        return self._world

    def _made(self, call: Call) -> Recorded | None:
        """A new program: the function is tried at a row, recorded there, and compared. None if there is none."""
        tried = self._tried(call)
        if tried is None:
            self._reason = "it has failed at all rows where it was tried"
            return None
        # Its first run may have set up what it reads.
        key, world = self._key(call), self._read()
        try:
            if world.unseen:
                raise CaptureError(f"it reads {world.unseen[0]}, whose changes cannot be seen", Reason.UNSEEN)
            made = recorded(self._function, tried.call, name_of(self._backend))
            if not world.holds():
                what = world.first_difference()
                raise CaptureError(f"it changes {what} as it runs", Reason.CHANGES_ITSELF)
            compare(made, tried)
        except (MemoryError, OSError) as error:
            # It may not come again: nothing is kept.
            logger.warning("recording failed: %s: %s; rows are left to Python", type(error).__name__, error)
            self._reason = str(error)
            return None
        except Exception as error:
            self._reason = self._known[key] = str(explain(error))
            return None
        programs = self._known.setdefault(key, [])
        assert not isinstance(programs, str)
        programs.append(made)
        return made

    def _tried(self, call: Call) -> Tried | None:
        for one in self._candidates(call):
            try:
                with fork_torch_rng(), torch.no_grad():
                    result = self._function(*one.arguments(one.row(0), one.shared))
                return Tried(one, leaves_of(result))
            except Exception:
                continue
        return None

    def _candidates(self, call: Call) -> Iterator[Call]:
        """Calls for one row."""
        for index in range(min(call.num_rows, _MOST_TRIED)):
            yield call.only(index)
        if self._example is not None:
            yield call.at(self._example)
