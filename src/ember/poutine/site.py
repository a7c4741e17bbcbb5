"""Site: the record of one primitive statement, passed through the handlers and kept in traces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ember.distributions.score_parts import ScoreParts
from ember.poutine.frames import CondIndepStackFrame
from ember.record import Record

InferOptions = dict[str, Any]


def _option(key: str, doc: str) -> Any:
    """An attribute for an entry of ``site["infer"]``; None where the entry is missing."""

    def read(site: Site) -> Any:
        return site.infer.get(key)

    def write(site: Site, value: object) -> None:
        site.infer[key] = value

    return property(read, write, doc=doc)


class Packed(Record):
    """Tensors of a site without dims of size 1, whose remaining dims have symbols (``_pyro_dims``)."""

    __slots__ = ()

    mask: Tensor | bool | None
    log_prob: Tensor
    unscaled_log_prob: Tensor
    score_parts: ScoreParts
    masked_log_prob: Tensor


class Site(Record):
    """One primitive statement: ``site["value"]`` and ``site.value`` are the same.

    A message has the entries up to ``continuation``; inference adds the others to sample sites of a trace. A
    site that a program made by hand may lack all but ``type``, ``is_observed``, ``value`` and ``infer``.

    >>> from ember.poutine.site import message
    >>> site = message("x", abs, args=(-1.0,))
    >>> site.name, site["is_observed"], site.is_latent
    ('x', False, True)
    """

    __slots__ = ()

    type: str
    name: str
    fn: Any
    is_observed: bool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: Any
    infer: InferOptions
    scale: float | Tensor
    mask: bool | Tensor | None
    cond_indep_stack: tuple[CondIndepStackFrame, ...]
    done: bool
    stop: bool
    continuation: Callable[[Site], None] | None

    log_prob: Tensor
    log_prob_sum: Tensor
    unscaled_log_prob: Tensor
    fixed_log_prob: Tensor
    score_parts: ScoreParts
    packed: Packed

    @property
    def is_sample(self) -> bool:
        """Whether it is a sample site, latent or observed."""
        return self.type == "sample"

    @property
    def is_latent(self) -> bool:
        """Whether it is a sample site that is not observed."""
        return self.type == "sample" and not self.is_observed

    @property
    def is_param(self) -> bool:
        """Whether it is a parameter."""
        return self.type == "param"

    @property
    def is_subsample(self) -> bool:
        """Whether it is the hidden sample site in which a plate draws its indices."""
        return site_is_subsample(self)

    @property
    def is_factor(self) -> bool:
        """Whether it comes from a ``factor`` statement."""
        return site_is_factor(self)

    @property
    def has_rsample(self) -> bool:
        """Whether its distribution has a pathwise derivative."""
        return bool(getattr(self.fn, "has_rsample", False))

    @property
    def is_auxiliary(self) -> bool:
        """Whether it is a guide's own, without a counterpart in the model."""
        return bool(self.infer.get("is_auxiliary"))

    @property
    def is_deterministic(self) -> bool:
        """Whether it comes from a ``deterministic`` statement."""
        return bool(self.infer.get("_deterministic"))

    @property
    def plates(self) -> tuple[CondIndepStackFrame, ...]:
        """The frames of the plates around it that lie along a dim."""
        return tuple([frame for frame in self.cond_indep_stack if frame.vectorized])

    # Options that programs give.
    enumeration: str | None = _option(
        "enumerate", "How it is enumerated: ``parallel``, ``sequential`` or not."
    )
    num_samples: int | None = _option("num_samples", "How many samples stand in for its support.")
    expand: bool | None = _option("expand", "Whether enumerated values are expanded to the batch shape.")
    tmc: str | None = _option("tmc", "How samples choose their ancestors in Tensor Monte Carlo.")
    baseline: dict[str, Any] | None = _option("baseline", "The options of its baseline.")
    entropy: Any = _option("entropy", "The estimator of its entropy term.")

    # What handlers note.
    whole: bool | None = _option(
        "_whole", "Whether a plate takes all its rows, though it was to take a part."
    )
    prior: Any = _option("prior", "Its distribution in the model, at a site of a guide that is a handler.")
    was_observed: bool | None = _option(
        "was_observed", "Whether ``uncondition`` has taken its observation away."
    )
    observation: Any = _option("obs", "What it had observed before ``uncondition``.")
    enumerate_dim: int | None = _option("_enumerate_dim", "The dim along which its values lie.")
    enumerate_total: int | None = _option("_enum_total", "How many values it has, of which this is one.")
    enumerate_symbol: str | None = _option("_enumerate_symbol", "The symbol of its ``enumerate_dim``.")
    dim_to_id: dict[int, int] | None = _option("_dim_to_id", "What the dims of its tensors enumerate.")
    dim_to_symbol: dict[int, str] | None = _option("_dim_to_symbol", "The symbols of its dims.")
    markov_scope: Counter[str] | None = _option("_markov_scope", "The sites in sight of its markov steps.")
    markov_depth: int | None = _option("_markov_depth", "In how many markov contexts it lies.")

    def label(self) -> str:
        """What error messages call it."""
        return f"site {self.get('name')!r}"


Message = Site


def as_site(site: Mapping[str, Any], name: str | None = None) -> Site:
    """A site for what a program made by hand, with its name if it has none; a site itself comes back as it is."""
    if isinstance(site, Site):
        return site
    return Site(site) if name is None or "name" in site else Site(site, name=name)


def message(
    name: str | None,
    fn: object,
    *,
    type: str = "sample",
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    value: object = None,
    is_observed: bool = False,
    infer: InferOptions | None = None,
) -> Site:
    """A fresh message, by default of a ``sample`` statement, that no handler has seen yet."""
    return Site(
        type=type,
        name=name,
        fn=fn,
        is_observed=is_observed,
        args=args,
        kwargs={} if kwargs is None else kwargs,
        value=value,
        infer={} if infer is None else infer,
        scale=1.0,
        mask=None,
        cond_indep_stack=(),
        done=False,
        stop=False,
        continuation=None,
    )


def site_is_subsample(site: Mapping[str, Any]) -> bool:
    """Say whether a site is the hidden one in which a plate draws its indices."""
    return _is_sample_of(site, "_Subsample")


def site_is_factor(site: Mapping[str, Any]) -> bool:
    """Whether a site comes from a ``factor`` statement."""
    return _is_sample_of(site, "Unit")


def _is_sample_of(site: Mapping[str, Any], family: str) -> bool:
    """By the name of the class, since sites may come from elsewhere."""
    return site["type"] == "sample" and type(site["fn"]).__name__ == family
