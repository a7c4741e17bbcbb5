"""One normal distribution over all sites, with the zeros in its precision that the model implies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember import distributions as dist
from ember.distributions import constraints
from ember.distributions.typed_torch import broadcast_shapes
from ember.errors import ModelError
from ember.infer.autoguide.base.guide import AutoGuide, Program, check_init_scale, with_initializer
from ember.infer.autoguide.base.initialization import InitFn, init_to_feasible
from ember.infer.autoguide.base.layout import SiteLayout
from ember.infer.autoguide.base.masks import Mask, mask_packed
from ember.infer.autoguide.base.naming import deep_getattr, deep_setattr, product
from ember.infer.autoguide.base.point import Point, log_density_of
from ember.infer.autoguide.base.prototype import at_full_size, full_size_of, unconstrained_start
from ember.infer.autoguide.base.reading import reading
from ember.nn.mixin import PyroModuleMeta
from ember.nn.module import PyroModule, PyroParam
from ember.poutine.handlers import block, mask
from ember.poutine.plates.indep_messenger import CondIndepStackFrame
from ember.poutine.runtime import get_mask
from ember.poutine.trace_struct import Trace
from ember.primitives import sample, subsample
from ember.structure.inspect import get_dependencies, is_sample_site

Plates = frozenset[CondIndepStackFrame]


class AutoGaussianMeta(PyroModuleMeta):
    """The class of :class:`AutoGaussian`: a subclass ``AutoGaussianX`` is its backend ``"x"``.

    Attributes:
        backends: the classes by backend.
        default_backend: the backend where none is asked for.
    """

    backends: dict[str, Any] = {}
    default_backend = "dense"

    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **kwargs: object) -> None:
        super().__init__(name, bases, body, **kwargs)
        if name.startswith("AutoGaussian"):
            cls.backends[name.removeprefix("AutoGaussian").lower()] = cls


class AutoGaussian(AutoGuide, metaclass=AutoGaussianMeta):
    """Fits a normal distribution over all sites whose precision has a block for each dependency of the model.

    The family of :class:`AutoMultivariateNormal`, with fewer parameters: each site of the model, observed
    ones too, adds a positive semidefinite matrix over itself and the sites it depends on, one for each row of
    its plates (Webb et al., 2018). Entries are then moved and stretched by ``locs.x`` and ``scales.x``; the
    matrices are ``P P^T`` with ``prec_sqrts.x``, their means are in ``white_vecs.x``. All are of full size
    where plates subsample.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: the first standard deviation of all.
        backend: "dense".

    Raises:
        ValueError: for an improper ``init_scale``; at the first call, for discrete sites, and batch dims
            without a plate.
        NotImplementedError: for another backend.

    >>> import ember
    >>> from ember import distributions as dist
    >>> from ember.infer.autoguide import AutoGaussian
    >>> def model():
    ...     x = ember.sample("x", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", 3):
    ...         ember.sample("y", dist.Normal(x, 1.0))
    >>> precision = AutoGaussian(model).prepare().get_posterior().precision_matrix
    >>> (precision.abs() > 1e-9).int()  # given x, the rows are independent
    tensor([[1, 1, 1, 1],
            [1, 1, 0, 0],
            [1, 0, 1, 0],
            [1, 0, 0, 1]], dtype=torch.int32)
    """

    scale_constraint: Any = constraints.softplus_positive

    def __new__(cls, *args: object, backend: str | None = None, **kwargs: object) -> AutoGaussian:
        made: type[AutoGaussian] = cls
        if cls is AutoGaussian:
            made = cls.backends[backend or cls.default_backend]
        instance: AutoGaussian = super().__new__(made)
        return instance

    def __init__(
        self,
        model: Program,
        *,
        init_loc_fn: InitFn = init_to_feasible,
        init_scale: float = 0.1,
        backend: str | None = None,
    ) -> None:
        check_init_scale(init_scale)
        super().__init__(with_initializer(model, init_loc_fn))
        self._init_scale = init_scale
        self._original_model: tuple[Program] | None = (model,)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_original_model": None}

    @staticmethod
    def _prototype_hide_fn(msg: Any) -> bool:
        # Observed sites bring dependencies; those that follow from others do not.
        return not is_sample_site(msg)

    # ---- setting up -----------------------------------------------------------------------------------------------

    def _parameter_of(self, site: str) -> str | None:
        return f"locs.{site}"

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        starts = {}
        for name, site in self._latent_sites():
            start = unconstrained_start(site)
            event_dim = start.dim() - len(site.fn.batch_shape)
            starts[name] = at_full_size(start, site, event_dim), event_dim
        if not starts:
            raise RuntimeError(
                f"{type(self).__name__} found no latent variables; Use an empty guide instead, "
                "such as 'def guide(*args, **kwargs): pass'"
            )
        assert self._original_model is not None
        found: Any = block(get_dependencies)(self._with_data(self._original_model[0]), args, kwargs)
        self.dependencies: dict[str, list[str]] = {}
        for name, upstreams in found["prior_dependencies"].items():
            latent = [upstream for upstream in upstreams if upstream in starts and upstream != name]
            # The site itself comes first: its own block starts as the identity.
            if name in starts or latent:
                self.dependencies[name] = ([name] if name in starts else []) + latent
        self._plates = {name: self._plates_for(name) for name in self.dependencies}
        self._make_parameters(starts)

    def _plates_for(self, name: str) -> Plates:
        site = self._prototype().nodes[name]
        plates = frozenset(site.cond_indep_stack)
        if any(not frame.vectorized for frame in plates):
            raise NotImplementedError(f"AutoGaussian does not support sequential pyro.plate (site {name!r})")
        if site.fn.batch_shape != _shape(plates, full=False):
            raise ModelError(
                f"Shape mismatch at site '{name}'. Are you missing a pyro.plate() or .to_event()?"
            )
        if not site.is_observed:
            return plates
        # Rows of data whose latents are shared add up to one matrix.
        nodes = self._prototype().nodes
        return plates & frozenset().union(*(nodes[u].cond_indep_stack for u in self.dependencies[name]))

    def _make_parameters(self, starts: dict[str, tuple[Tensor, int]]) -> None:
        position, indices = 0, {}
        for name, (start, event_dim) in starts.items():
            batch_shape = start.shape[: start.dim() - event_dim]
            flat = torch.arange(position, position + start.numel(), device=start.device)
            indices[name] = flat.reshape((*batch_shape, -1))
            position += start.numel()
        self.latent_dim = position
        self._shapes = {name: start.shape for name, (start, _) in starts.items()}
        self._rows = {name: self._rows_of(name, indices) for name in self.dependencies}
        for group in ("locs", "scales", "white_vecs", "prec_sqrts"):
            setattr(self, group, PyroModule())
        for name, (start, event_dim) in starts.items():
            deep_setattr(self.locs, name, PyroParam(start, event_dim=event_dim))
            scale = torch.full_like(start, self._init_scale)
            deep_setattr(self.scales, name, PyroParam(scale, self.scale_constraint, event_dim))
        like = next(iter(starts.values()))[0]
        for name, rows in self._rows.items():
            # Not more columns than rows: they would add nothing.
            columns = min(rows.shape[-1], self._columns(name, indices))
            factor = torch.rand((*rows.shape, columns), dtype=like.dtype, device=like.device)
            factor = (factor - 0.5) * self._init_scale
            if name in starts:
                factor.diagonal(dim1=-2, dim2=-1).fill_(1)
            deep_setattr(
                self.white_vecs, name, PyroParam(factor.new_zeros(factor[..., 0, :].shape), event_dim=1)
            )
            deep_setattr(self.prec_sqrts, name, PyroParam(factor, event_dim=2))

    def _columns(self, name: str, indices: dict[str, Tensor]) -> int:
        """The number of directions in which one row of a site can constrain its latents."""
        if name in indices:
            return indices[name].shape[-1]
        site = self._prototype().nodes[name]
        summed = frozenset(site.cond_indep_stack) - self._plates[name]
        return product(site.fn.event_shape) * product(full_size_of(frame) for frame in summed)

    def _rows_of(self, name: str, indices: dict[str, Tensor]) -> Tensor:
        """For each row of a site's plates, the positions of all latents that the row involves."""
        plates = self._plates[name]
        around = [self._plates_around(other) for other in (name, *self.dependencies[name])]
        depth = max(len(_shape(one)) for one in around)
        parts = []
        for upstream in self.dependencies[name]:
            index = indices[upstream]
            index = index.reshape((1,) * (depth + 1 - index.dim()) + index.shape)
            # Plates that the site is not in are summed over: all their rows are involved.
            for frame in self._plates_around(upstream) - plates:
                assert frame.dim is not None
                index = index.movedim(frame.dim - 1, -2).flatten(-2).unsqueeze(frame.dim - 1)
            parts.append(index.expand(_padded(_shape(plates), depth) + index.shape[-1:]))
        rows = torch.cat(parts, -1)
        return rows.reshape(_shape(plates) + rows.shape[-1:])

    def _plates_around(self, name: str) -> Plates:
        return self._plates.get(name, frozenset())

    # ---- drawing --------------------------------------------------------------------------------------------------

    def get_posterior(self, *args: object, **kwargs: object) -> Any:
        """Return the normal distribution before entries are moved and stretched.

        Shapes:
            event: ``(latent_dim,)``.
        """
        size = self.latent_dim
        like = deep_getattr(self.locs, next(iter(self._shapes)))
        information, precision = like.new_zeros(size), like.new_zeros(size * size)
        for name, rows in self._rows.items():
            factor, white = deep_getattr(self.prec_sqrts, name), deep_getattr(self.white_vecs, name)
            contribution = (factor @ white.unsqueeze(-1)).squeeze(-1)
            information = information.index_add(0, rows.reshape(-1), contribution.reshape(-1))
            pairs = (rows.unsqueeze(-1) * size + rows.unsqueeze(-2)).reshape(-1)
            precision = precision.index_add(0, pairs, (factor @ factor.mT).reshape(-1))
        return _normal(information, precision.reshape(size, size))

    def _place(self, flat: Tensor, in_plates: bool, with_density: bool) -> dict[str, Point]:
        parts = torch.split(flat, [product(shape) for shape in self._shapes.values()], dim=-1)
        return {
            layout.name: self._point(layout, part, in_plates, with_density)
            for layout, part in zip(self._layouts(), parts, strict=True)
        }

    def _point(self, layout: SiteLayout, part: Tensor, in_plates: bool, with_density: bool) -> Point:
        shape, event_dim = self._shapes[layout.name], layout.unconstrained_event_dim
        value = part.reshape(broadcast_shapes(shape, part.shape[:-1] + (1,) * event_dim))
        with self._plates_of(layout.site) if in_plates else mask(mask=True):
            if in_plates and self._is_subsampled(layout.site):
                value = subsample(value, event_dim=event_dim)
            loc, scale = deep_getattr(self.locs, layout.name), deep_getattr(self.scales, layout.name)
        value = value * scale + loc
        constrained = layout.transform(value)
        log_density: Any = 0.0
        if with_density:
            log_scale = scale.log().flatten(scale.dim() - event_dim).sum(-1) if event_dim else scale.log()
            log_density = log_density_of(layout.transform, value, constrained, layout.event_dim) - log_scale
            log_density = log_density.expand(constrained.shape[: constrained.dim() - layout.event_dim])
        return Point(constrained, log_density, layout.event_dim)

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Draw all sites.

        Returns:
            The constrained values by name.
        """
        self.ensure_prototype(args, kwargs)
        posterior = self.get_posterior()
        flat = sample(f"_{self._pyro_name}_latent", posterior, infer={"is_auxiliary": True})
        self._create_plates(*args, **kwargs)
        points = self._place(flat, in_plates=True, with_density=get_mask() is not False)
        result = {}
        for layout in self._layouts():
            with self._plates_of(layout.site):
                result[layout.name] = sample(layout.name, points[layout.name])
        return result

    def _mask_terms(self, masks: dict[str, Mask], guide_trace: Trace) -> None:
        super()._mask_terms(masks, guide_trace)
        packed = guide_trace.nodes.get(f"_{self._pyro_name}_latent")
        if packed is None:
            return  # a subclass draws in a way of its own
        shapes = [(layout, self._shapes[layout.name]) for layout in self._layouts()]
        mask_packed(packed, shapes, masks, guide_trace)

    @reading
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the median of each site, at full size."""
        self._prototype()
        points = self._place(self.get_posterior().mean, in_plates=False, with_density=False)
        return {name: point.v.detach().clone() for name, point in points.items()}


class AutoGaussianDense(AutoGaussian):
    """:class:`AutoGaussian` with a dense precision matrix: what it makes by default."""


class AutoGaussianFunsor(AutoGaussian):
    """:class:`AutoGaussian` by tensor variable elimination in funsor, which Ember does not have.

    Raises:
        NotImplementedError: always; use the dense backend.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            'AutoGaussian in Ember has no funsor backend; use AutoGaussian(model, backend="dense")'
        )


def _shape(plates: Plates, full: bool = True) -> Size:
    """The batch shape of sites in some plates."""
    shape = [1] * max((-frame.dim for frame in plates if frame.dim is not None), default=0)
    for frame in plates:
        assert frame.dim is not None
        shape[frame.dim] = full_size_of(frame) if full else frame.size
    return Size(shape)


def _padded(shape: Sequence[int], depth: int) -> Size:
    return Size((*(1,) * (depth - len(shape)), *shape))


def _normal(information: Tensor, precision: Tensor) -> Any:
    """The normal distribution of a precision, and of the precision times the mean."""
    # The Cholesky factor of the inverse, from that of the precision with its rows and columns in reverse.
    reverse = torch.linalg.cholesky(precision.flip(-2, -1)).flip(-2, -1)
    identity = torch.eye(len(information), dtype=precision.dtype, device=precision.device)
    tril = torch.linalg.solve_triangular(reverse, identity, upper=True).mT
    return dist.MultivariateNormal(tril @ (tril.mT @ information), scale_tril=tril)
