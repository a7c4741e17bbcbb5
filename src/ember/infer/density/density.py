"""The log joint density of a model and its score, as a function of rows of unconstrained coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isclose, isnan
from typing import Any, Literal, overload

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.infer.autoguide.base.initialization import init_to_median, init_to_uniform
from ember.infer.density.by_rows import by_rows
from ember.infer.density.joint import Joint
from ember.infer.density.layout import Block, Program
from ember.infer.density.structure import structure_of
from ember.infer.density.unconstrain import unconstrained_rows
from ember.modules import parameters_put_back
from ember.params.param_store import ParamStoreDict, get_param_store
from ember.rng import fork_rng, same_torch_states, torch_states

# A score costs some two densities, and a small program about as much as so many rows.
_ROWS_WORTH_A_PROGRAM = 1 << 16
_SAME = 1e-4
_STARTS = (init_to_median, init_to_uniform, init_to_uniform, init_to_uniform)


def density(
    model: Callable[..., Any],
    *args: object,
    params: Literal["held", "coordinates"] = "held",
    dtype: torch.dtype | None = None,
    **kwargs: object,
) -> Density:
    """Make the log joint density of a model at these arguments, over rows of unconstrained coordinates.

    The coordinates are those of :class:`~ember.infer.autoguide.AutoContinuous`: the latent sites in the
    model's order, each mapped to real numbers by ``biject_to`` of its support, with the Jacobian in the
    density. Discrete latent sites are summed out. The model need not broadcast: it is run for one row at a
    time. Torch's random stream, the parameter store and NumPy are left as they are.

    Args:
        model: a model; sites get their data from ``obs``, or from :func:`ember.condition` around it.
        *args: its arguments.
        params: what ``param`` statements of the model are. Under ``"held"`` they keep the values that they
            have in the store, else their initial ones. Under ``"coordinates"`` their unconstrained values are
            the last coordinates of a row, without Jacobian.
        dtype: ``torch.float64`` computes in double precision whatever the model was written for; None
            computes in the model's own.
        **kwargs: its keyword arguments.

    Returns:
        A :class:`Density`: call it with rows ``(S, D)``.

    Raises:
        ValueError: for another value of ``params`` or ``dtype``.
        ModelError: if the model has no density in fixed coordinates: a plate takes a part of its rows, a
            discrete site has no finite support, a site has no way to unconstrained space, the model draws
            numbers at no site, or changes from run to run. It names the site.

    >>> import torch, ember
    >>> import ember.distributions as dist
    >>> def model(y):
    ...     scale = ember.sample("scale", dist.Exponential(1.0))
    ...     with ember.plate("data", len(y)):
    ...         ember.sample("y", dist.Normal(0.0, scale), obs=y)
    >>> target = ember.density(model, torch.tensor([0.5, -1.0]))
    >>> log_p, score = target(torch.zeros(3, 1))
    >>> target.names, log_p.shape, score.shape
    (('scale',), torch.Size([3]), torch.Size([3, 1]))
    """
    if params not in ("held", "coordinates"):
        raise ValueError(f'params must be "held" or "coordinates", got {params!r}')
    if dtype not in (None, torch.float64):
        raise ValueError(f"dtype must be None, the model's own, or torch.float64, got {dtype}")
    program = Program(model, args, kwargs, in_double=dtype is not None)
    with fork_rng(), program.precision(), parameters_put_back():
        return Density(_started(program, params == "coordinates"))


def _started(program: Program, parameters: bool) -> Joint:
    """The functions of one row, tried at the row of the first run."""
    first: ValueError | None = None
    for init in _STARTS:
        store = ParamStoreDict()
        store.set_state(get_param_store().get_state())
        try:
            joint = Joint(program, structure_of(program, store, parameters, init), store)
            _refuse_draws(joint)
            return joint
        except ModelError:
            raise
        except ValueError as error:
            # Arguments of a distribution may be invalid at this point by chance.
            first = first or error
    assert first is not None
    raise first


def _refuse_draws(joint: Joint) -> None:
    before = torch_states()
    start = joint.structure.start
    with torch.no_grad():
        once, again = float(joint.log_density(start)), float(joint.log_density(start))
    if not same_torch_states(before, torch_states()):
        raise ModelError(
            "the model draws random numbers beside its latent sites: its density would be another one in each run\n"
            "The way out: draw at sample sites that no block hides, and put dropout and the like into evaluation mode."
        )
    if not isclose(once, again, rel_tol=_SAME, abs_tol=_SAME) and not (isnan(once) and isnan(again)):
        raise ModelError(
            f"the model has the log density {once:.6g} at one point, and {again:.6g} at the same point in the next run: it "
            "changes its arguments or other things in place, counts its runs, or reads random numbers that are not torch's\n"
            "The way out: work on copies (y = y + 1 instead of y += 1), and draw random numbers at sample sites."
        )


class Density:
    """Computes a log joint density, in nats, and its score; made by :func:`ember.density`.

    Rows do not depend on each other. A row at which the density is not a finite number, or at which arguments
    of a distribution are invalid, has the log density ``-inf`` and the score 0. Where the log density is
    finite and a derivative is not, the latter is 0.

    >>> import torch, ember
    >>> import ember.distributions as dist
    >>> def model():
    ...     ember.sample("scale", dist.Exponential(1.0))
    >>> target = ember.density(model)
    >>> u = torch.tensor([[0.0], [1.0]])  # logs of the scale
    >>> target.constrain(u)["scale"]
    tensor([1.0000, 2.7183])
    >>> target(u, grad=False)  # -scale + log(scale), the Jacobian included
    tensor([-1.0000, -1.7183])
    """

    def __init__(self, joint: Joint, compile: bool = True) -> None:
        self.joint = joint
        """The functions of one row."""
        structure = joint.structure
        self.layout: tuple[Block, ...] = tuple(structure.blocks.values())
        """The latent sites in the order of their coordinates."""
        self.param_layout: tuple[Block, ...] = tuple(structure.parameters.values())
        """Parameters that are coordinates; they come after the sites."""
        blocks = structure.all_blocks.values()
        self.names: tuple[str, ...] = tuple(label for b in blocks for label in b.labels())
        """A label for each coordinate: ``mu``, ``theta[3]``, ``b[1,2]``."""
        self.dim = len(self.names)
        """How many coordinates a row has."""
        self.dtype: torch.dtype = structure.start.dtype
        """The dtype of rows, densities and scores."""
        held = self.layout[-1].slice.stop if self.layout else 0
        self.param_slice = slice(held, self.dim)
        """The coordinates that are parameters; none by default."""
        self.param_names: tuple[str, ...] = self.names[self.param_slice]
        """Their labels."""
        self._rows_without_score = 0
        self._density = by_rows(joint, joint.finite_density, compile)
        self._scored = self._last = by_rows(joint, joint.scored, compile)
        self._constrained = by_rows(joint, joint.constrained, compile)
        self._log_likelihood = by_rows(joint, joint.log_likelihood, compile)
        self._compiles = compile

    def begin_again(self) -> None:
        """Choose programs as a new density does, so that the same calls give the same bits."""
        self._rows_without_score = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """What was captured stays here: a copy captures anew, when it is called."""
        return type(self), (self.joint, self._compiles)

    @property
    def start(self) -> Tensor:
        """A row near the medians of the priors, ``(D,)``."""
        return self.joint.structure.start.clone()

    @property
    def backend(self) -> str:
        """What ran over the rows of the last call: ``"native"``, another backend, or ``"python"``.

        The last is one run of the model a row.
        """
        return self._last.backend

    def explain(self) -> str:
        """Say what ran over the rows of the last call, and why."""
        return self._last.explain()

    @overload
    def __call__(self, u: Tensor, grad: Literal[True] = True) -> tuple[Tensor, Tensor]: ...

    @overload
    def __call__(self, u: Tensor, grad: Literal[False]) -> Tensor: ...

    @parameters_put_back()
    def __call__(self, u: Tensor, grad: bool = True) -> tuple[Tensor, Tensor] | Tensor:
        """Compute the log density at each row, and the score, its gradient by the row.

        Args:
            u: rows of unconstrained coordinates.
            grad: whether the score is asked for.

        Shapes:
            u: ``(S, D)``.
            log density: ``(S,)``.
            score: ``(S, D)``.

        Raises:
            ValueError: for another shape.
            ModelError: if the model has other sites at a row than in its first run.
        """
        rows = self._checked(u)
        if not len(rows):
            return (rows.new_empty(0), rows) if grad else rows.new_empty(0)
        log_p, score = self._scored_rows(rows) if grad else (self._density_rows(rows), rows)
        if not bool(log_p.isfinite().any()):
            # Is it the rows, or are data invalid now that were not before?
            with torch.no_grad():
                self.joint.log_density(self.joint.structure.start)
        return (log_p, score) if grad else log_p

    def _scored_rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        self._last = self._scored
        found: tuple[Tensor, Tensor] = self._scored(rows)
        return found

    def _density_rows(self, rows: Tensor) -> Tensor:
        """Few rows are not worth a program of their own, where there is one already that gives the score too."""
        self._rows_without_score += len(rows)
        if self._scored.is_compiled and self._rows_without_score <= _ROWS_WORTH_A_PROGRAM:
            return self._scored_rows(rows)[0]
        self._last = self._density
        found: Tensor = self._density(rows)
        return found

    @parameters_put_back()
    def constrain(self, u: Tensor) -> dict[str, Tensor]:
        """Map rows to values of latent and deterministic sites, and of parameters that are coordinates.

        Deterministic sites that depend on a site that is summed out have no value of their own, and are left
        out. Where the model cannot be run at a row, its values are NaN.

        Args:
            u: rows, ``(S, D)``.

        Returns:
            Values by name, ``(S, *shape)``.

        Raises:
            ValueError: for another shape of ``u``.
        """
        rows = self._checked(u)
        mapped = self.joint.structure.mapped(rows)
        found: dict[str, Tensor] = self._constrained(rows) if mapped is None else mapped
        return found

    def unconstrain(self, sites: Mapping[str, Tensor]) -> Tensor:
        """Map values of latent sites, and of parameters that are coordinates, to rows.

        Args:
            sites: values by name, ``(S, *shape)`` each. Deterministic sites may be among them, and do not
                count.

        Returns:
            Rows ``(S, D)``.

        Raises:
            ModelError: if a site is missing or unknown, a shape does not fit, or a value is outside of its
                support.
        """
        return unconstrained_rows(self.joint, sites, self.dtype)

    @parameters_put_back()
    def log_likelihood(self, u: Tensor) -> dict[str, Tensor]:
        """Compute the log density of each event at each observed site, without the scales of plates.

        Masked events have 0.

        Args:
            u: rows, ``(S, D)``.

        Returns:
            Log densities by name, ``(S, *batch_shape)``, in nats.

        Raises:
            ValueError: for another shape of ``u``.
            NotImplementedError: for observed sites that depend on a site that is summed out.
        """
        found: dict[str, Tensor] = self._log_likelihood(self._checked(u))
        for name, shape in self.joint.structure.observed.items():
            if found[name].shape[1:] != shape:
                raise NotImplementedError(
                    f"observed site {name!r} depends on a site that is summed out, and has no log density of its own at each "
                    "event"
                )
        return found

    def _checked(self, u: Tensor) -> Tensor:
        if u.dim() != 2 or u.shape[-1] != self.dim:
            raise ValueError(
                f"rows of coordinates must have the shape (S, {self.dim}), got {tuple(u.shape)}: the coordinates are "
                f"{', '.join(self.names[:8])}{', ...' if self.dim > 8 else ''}; one row is u[None]"
            )
        return u.detach().to(self.dtype)

    def __repr__(self) -> str:
        sites = ", ".join(f"{b.name}{tuple(b.shape) if b.shape else ''}" for b in self.layout)
        return f"<density of {self.dim} coordinates, {self.dtype}, by {self.backend}: {sites}>"
