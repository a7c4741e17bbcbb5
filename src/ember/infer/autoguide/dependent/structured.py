"""Guides in which sites depend on each other, as they do in the posterior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Size, Tensor

from ember import distributions as dist
from ember.distributions import constraints
from ember.distributions.typed_torch import broadcast_shapes
from ember.errors import ModelError
from ember.infer.autoguide.base.guide import AutoGuide, Program, check_init_scale, with_initializer
from ember.infer.autoguide.base.initialization import InitFn, init_to_feasible
from ember.infer.autoguide.base.masks import Mask, MaskedEntries, at_all_rows, entry_mask
from ember.infer.autoguide.base.naming import deep_getattr, deep_setattr
from ember.infer.autoguide.base.point import Point, log_density_of
from ember.infer.autoguide.base.prototype import at_full_size, unconstrained_start
from ember.infer.autoguide.base.reading import reading
from ember.infer.autoguide.base.support import transform_of
from ember.nn.module import PyroModule, PyroParam
from ember.poutine.handlers import block, infer_config
from ember.poutine.runtime import get_mask
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.primitives import sample, subsample
from ember.structure.inspect import get_dependencies

Kind = str | Callable[..., Any]


def _auxiliary(site: Any) -> dict[str, Any]:
    return {"is_auxiliary": True}


class AutoStructured(AutoGuide):
    """Each site has noise of its own, and shifts by functions of the noise of the sites that it depends on.

    In unconstrained space, ``x = loc + noise + sum_u dep_u(noise_u + its shifts)``: the Jacobian does not see
    the dependencies. Parameters are ``locs.x``, ``scales.x``, ``scale_trils.x`` and those of ``deps.x.u``,
    flat and of full size where plates subsample.

    Args:
        model: the model.
        conditionals: "delta", "normal" (independent), "mvn" (with a full covariance), or a function that
            draws flat noise around 0; one for all sites, or a dict by name.
        dependencies: "linear", or a function from a flat upstream vector to a flat downstream one; one for
            all pairs of sites that the model's posterior makes dependent, or a dict
            ``{downstream: {upstream: ...}}`` of the pairs.
        init_loc_fn: where the sites start.
        init_scale: the first standard deviation of all.
        create_plates: see :class:`AutoGuide`.

    Raises:
        ValueError: for an improper ``init_scale``, or a kind of conditional or dependency that is unknown.
        AssertionError: for dependencies that go round in circles, or sites that are unknown.

    >>> import ember
    >>> from ember.infer.autoguide import AutoStructured
    >>> def model():
    ...     x = ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("y", ember.distributions.Normal(x, 1.0))
    >>> guide = AutoStructured(model, conditionals={"x": "normal", "y": "delta"}, dependencies={"y": {"x": "linear"}})
    >>> [name for name, _ in guide.prepare().named_parameters()]
    ['locs.x_unconstrained', 'locs.y_unconstrained', 'scales.x_unconstrained', 'deps.y.x.weight']
    """

    scale_constraint: Any = constraints.softplus_positive
    scale_tril_constraint: Any = constraints.softplus_lower_cholesky

    def __init__(
        self,
        model: Program,
        *,
        conditionals: str | Mapping[str, Kind] = "mvn",
        dependencies: str | Mapping[str, Mapping[str, Kind]] = "linear",
        init_loc_fn: InitFn = init_to_feasible,
        init_scale: float = 0.1,
        create_plates: Program | None = None,
    ) -> None:
        _check_kinds(conditionals, dependencies)
        check_init_scale(init_scale)
        super().__init__(with_initializer(model, init_loc_fn), create_plates=create_plates)
        self.conditionals: Any = conditionals
        self.dependencies: Any = dependencies
        self._init_scale = init_scale
        self._original_model: tuple[Program] | None = (model,)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["_original_model"] = None
        return state

    # ---- setting up -----------------------------------------------------------------------------------------------

    def _parameter_of(self, site: str) -> str | None:
        return f"locs.{site}"

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        sites = dict(self._latent_sites())
        starts = {name: _flat_start(site) for name, site in sites.items()}
        conditionals, dependencies = self._configured(sites, args, kwargs)
        ordered = _sorted_by_dependency(sites, dependencies)
        _check_settings(sites, conditionals, dependencies)
        self.conditionals, self.dependencies = conditionals, dependencies
        self._batch_shapes = {name: shapes[0] for name, (_, *shapes) in starts.items()}
        self._unconstrained_event_shapes = {name: shapes[1] for name, (_, *shapes) in starts.items()}
        self._make_parameters({name: start for name, (start, *_) in starts.items()})
        self._sorted_sites = [(name, _compressed(sites[name])) for name in ordered]
        self._original_model = None

    def _configured(
        self, sites: dict[str, Site], args: Any, kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        conditionals, dependencies = self.conditionals, self.dependencies
        if not isinstance(conditionals, Mapping):
            conditionals = dict.fromkeys(sites, conditionals)
        if not isinstance(dependencies, Mapping):
            assert self._original_model is not None
            kind = dependencies
            pairs = _posterior_pairs(self._with_data(self._original_model[0]), list(sites), args, kwargs)
            dependencies = {down: dict.fromkeys(ups, kind) for down, ups in pairs.items()}
        return dict(conditionals), {down: dict(ups) for down, ups in dependencies.items()}

    def _make_parameters(self, starts: dict[str, Tensor]) -> None:
        for group in ("locs", "scales", "scale_trils", "conds", "deps"):
            setattr(self, group, PyroModule())
        for name, start in starts.items():
            deep_setattr(self.locs, name, PyroParam(start))
            conditional = self.conditionals[name]
            if callable(conditional):
                deep_setattr(self.conds, name, conditional)
            elif conditional in ("normal", "mvn"):
                scale = torch.full_like(start, self._init_scale)
                deep_setattr(self.scales, name, PyroParam(scale, self.scale_constraint))
            if conditional == "mvn":
                identity = torch.eye(len(start), dtype=start.dtype, device=start.device)
                deep_setattr(self.scale_trils, name, PyroParam(identity, self.scale_tril_constraint))
            deps = PyroModule()
            deep_setattr(self.deps, name, deps)
            for upstream, dep in self.dependencies.get(name, {}).items():
                if dep == "linear":
                    dep = torch.nn.Linear(len(starts[upstream]), len(start), bias=False).to(start)
                    torch.nn.init.zeros_(dep.weight)
                deep_setattr(deps, upstream, dep)

    # ---- drawing --------------------------------------------------------------------------------------------------

    def get_deltas(self, save_params: Any = None) -> dict[str, Any]:
        """Draw the noise, and put all sites where it says, for all rows of plates.

        Args:
            save_params: names of the sites to draw; all if None.

        Returns:
            A :class:`Delta` by name of the site.
        """
        with_density = get_mask() is not False
        drawn: dict[str, Any] = infer_config(self._draw_all, config_fn=_auxiliary)(save_params, with_density)
        return {
            name: self._point(name, site, drawn[name], with_density, False)
            for name, site in self._sorted_sites
            if name in drawn
        }

    def _draw_all(self, only: Any, with_density: bool) -> dict[str, tuple[Tensor, Any]]:
        """Flat unconstrained values of the sites, and the log density of each of their entries."""
        shifted: dict[str, Tensor] = {}
        result: dict[str, tuple[Tensor, Any]] = {}
        for name, _ in self._sorted_sites:
            if only is not None and name not in only:
                continue
            loc = deep_getattr(self.locs, name)
            noise, log_density = self._noise(name, loc, with_density)
            # What is upstream enters before this site's own place is noted: so the precision is sparse, not the covariance.
            for upstream in self.dependencies.get(name, {}):
                dep = deep_getattr(deep_getattr(self.deps, name), upstream)
                noise = noise + self._as_stored(f"deps.{name}.{upstream}", dep)(shifted[upstream])
            shifted[name] = noise
            result[name] = noise + loc, log_density
        return result

    def _noise(self, name: str, loc: Tensor, with_density: bool) -> tuple[Tensor, Any]:
        conditional = self.conditionals[name]
        if callable(conditional):
            return self._as_stored(f"conds.{name}", deep_getattr(self.conds, name))(), 0.0
        zero = torch.zeros_like(loc)
        if conditional == "delta":
            return zero, 0.0
        noise = sample(f"{name}_aux", dist.Normal(zero, 1.0).to_event(1), infer={"is_auxiliary": True})
        scale = deep_getattr(self.scales, name)
        if conditional == "normal":
            return noise * scale, (-scale.log() if with_density else 0.0)
        scale_tril = deep_getattr(self.scale_trils, name)
        log_density = -(scale_tril.diagonal(dim1=-2, dim2=-1) * scale).log() if with_density else 0.0
        return noise @ scale_tril.T * scale, log_density

    def _point(
        self, name: str, site: Any, drawn: tuple[Tensor, Any], with_density: bool, in_plates: bool
    ) -> Point:
        flat, log_density = drawn
        batch_shape = broadcast_shapes(flat.shape[:-1], self._batch_shapes[name])
        event_shape = self._unconstrained_event_shapes[name]
        value = flat.reshape(batch_shape + event_shape)
        if isinstance(log_density, Tensor):
            log_density = log_density.expand_as(flat).reshape(batch_shape + (-1,)).sum(-1)
        if in_plates and self._is_subsampled(site):
            value = subsample(value, event_dim=len(event_shape))
            if isinstance(log_density, Tensor):
                log_density = subsample(log_density, event_dim=0)
        transform, event_dim = transform_of(site), site.fn.event_dim
        constrained = transform(value)
        if with_density and self.conditionals[name] != "delta":
            log_density = log_density + log_density_of(transform, value, constrained, event_dim)
        return Point(constrained, log_density, event_dim)

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Draw all sites.

        Returns:
            The constrained values by name.
        """
        self.ensure_prototype(args, kwargs)
        with_density = get_mask() is not False
        drawn = infer_config(self._draw_all, config_fn=_auxiliary)(None, with_density)
        self._create_plates(*args, **kwargs)
        result = {}
        for name, site in self._sorted_sites:
            with self._plates_of(site):
                point = self._point(name, site, drawn[name], with_density, True)
                result[name] = sample(name, point)
        return result

    def _mask_terms(self, masks: dict[str, Mask], guide_trace: Trace) -> None:
        super()._mask_terms(masks, guide_trace)
        for name, mask in masks.items():
            noise = guide_trace.nodes.get(f"{name}_aux")
            if noise is not None:
                whole = at_all_rows(mask, self._prototype().nodes[name], guide_trace)
                shapes = self._batch_shapes[name], self._unconstrained_event_shapes[name]
                entries = entry_mask(whole, *shapes, noise.fn.batch_shape)
                noise.fn = MaskedEntries(noise.fn, entries)

    @reading
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The images of the locations, at full size: medians up to the effect of dependencies."""
        self._prototype()
        result = {}
        for name, site in self._sorted_sites:
            shape = self._batch_shapes[name] + self._unconstrained_event_shapes[name]
            result[name] = transform_of(site)(deep_getattr(self.locs, name).detach().clone().reshape(shape))
        return result


def _check_kinds(conditionals: Any, dependencies: Any) -> None:
    assert isinstance(conditionals, (Mapping, str)), "conditionals must be a string or a dict"
    assert isinstance(dependencies, (Mapping, str)), "dependencies must be a string or a dict"
    if isinstance(conditionals, Mapping):
        for name, kind in conditionals.items():
            assert isinstance(name, str) and (isinstance(kind, str) or callable(kind)), (
                f"conditional of {name!r}: {kind!r}"
            )
    if isinstance(dependencies, Mapping):
        known = conditionals if isinstance(conditionals, Mapping) else None
        for downstream, upstreams in dependencies.items():
            assert known is None or downstream in known, f"no conditional for {downstream!r}"
            assert isinstance(upstreams, Mapping), f"dependencies of {downstream!r} must be a dict"
            for upstream, kind in upstreams.items():
                assert known is None or upstream in known, f"no conditional for {upstream!r}"
                assert upstream != downstream, f"{upstream!r} depends on itself"
                assert isinstance(kind, str) or callable(kind), (
                    f"dependency of {downstream!r} on {upstream!r}: {kind!r}"
                )


def _check_settings(
    sites: dict[str, Site], conditionals: dict[str, Any], dependencies: dict[str, Any]
) -> None:
    for name in sites:
        if name not in conditionals:
            raise ModelError(
                f"AutoStructured got no conditional for site {name!r}; give one of 'delta', 'normal', 'mvn'"
            )
        if not callable(conditionals[name]) and conditionals[name] not in ("delta", "normal", "mvn"):
            raise ModelError(f"Unsupported conditional type: {conditionals[name]} (at site {name!r})")
        for upstream, dep in dependencies.get(name, {}).items():
            assert upstream in sites, f"site {name!r} depends on {upstream!r}, which the model does not have"
            if dep != "linear" and not callable(dep):
                raise ModelError(
                    f"Expected either the string 'linear' or a callable, but got {dep} (site {name!r} on {upstream!r})"
                )


def _flat_start(site: Site) -> tuple[Tensor, Size, Size]:
    """The flat start of a site at full size, and its batch shape and event shape in unconstrained space."""
    start = unconstrained_start(site)
    event_dim = start.dim() - len(site.fn.batch_shape)
    start = at_full_size(start, site, event_dim)
    batch_dim = start.dim() - event_dim
    return start.reshape(-1), start.shape[:batch_dim], start.shape[batch_dim:]


def _posterior_pairs(model: Program, order: list[str], args: Any, kwargs: Any) -> dict[str, list[str]]:
    """Pairs of sites that are dependent in the posterior, the later one in the model's order downstream."""
    found: dict[str, dict[str, Any]] = block(get_dependencies)(model, args, kwargs)["posterior_dependencies"]
    rank = {name: i for i, name in enumerate(order)}
    pairs: dict[str, list[str]] = {}
    for name, others in found.items():
        for other in others:
            if name in rank and other in rank and other != name:
                upstream, downstream = sorted((name, other), key=rank.__getitem__)
                if upstream not in pairs.setdefault(downstream, []):
                    pairs[downstream].append(upstream)
    return pairs


def _sorted_by_dependency(sites: dict[str, Site], dependencies: dict[str, Any]) -> list[str]:
    """Names so that each comes after those it depends on; of those that could come next, the first by name."""
    pending = {name: set(dependencies.get(name, {})) & set(sites) for name in sites}
    ordered: list[str] = []
    while pending:
        ready = [name for name, upstreams in pending.items() if not upstreams]
        assert ready, f"cyclic dependency: {min(pending)}"
        name = min(ready)
        del pending[name]
        for upstreams in pending.values():
            upstreams.discard(name)
        ordered.append(name)
    return ordered


def _compressed(site: Site) -> Site:
    """What drawing needs of a site."""
    fn = site.fn
    kept = SimpleNamespace(support=fn.support, event_dim=fn.event_dim)
    return Site(name=site.name, type=site.type, cond_indep_stack=site.cond_indep_stack, fn=kept)
