"""Many normal sites as one: their noise is drawn at once, and sites of one shape and family are evaluated together.

A thousand scalar sites cost some dozen operators instead of some thousands, and the numbers are those of one draw a site. Each
site keeps its own parameters and two statements; what was computed together is handed out at the statement, and is not used
where a handler replaces a value or a plate expands the distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Size, Tensor

from ember.distributions.fast_checks import checks_values, set_checks
from ember.distributions.normal import Normal
from ember.infer.autoguide.base.layout import SiteLayout
from ember.infer.autoguide.base.point import Point, point_at, points_together
from ember.infer.autoguide.sitewise.noise import Noise
from ember.poutine.plates.indep_messenger import CondIndepStackFrame

Map = Callable[[Tensor], Tensor]
_MINUS_HALF_LOG_2PI = -0.9189385332046727
_PLAIN = (Tensor, torch.nn.Parameter)


@dataclass
class NormalSite:
    """A site with its parameters; inside plates, with the rows that the plates have chosen."""

    layout: SiteLayout
    loc: Tensor
    scale: Tensor
    scale_leaf: Tensor | None = None
    """Unconstrained, if the scale is nothing but its image."""

    def like(self) -> Hashable:
        """What sites that are drawn together have in common."""
        layout, loc = self.layout, self.loc
        dims = (layout.event_dim, layout.unconstrained_event_dim)
        return loc.shape, dims, layout.family, loc.dtype, loc.device

    def point(self, unconstrained: Tensor, with_density: bool) -> Point:
        """What the model's site is drawn from, given the value in unconstrained space."""
        return point_at(self.layout.transform, unconstrained, self.layout.event_dim, with_density)


class PackedNormal(Normal):
    """The normal distribution of one site of a group; its first draw is made together with those of the others."""

    _group: NormalGroup | None = None
    _index = 0

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """A draw: the group's the first time."""
        group = self._group
        if group is None or len(sample_shape) or self._index in group.handed_out:
            return super().rsample(Size(sample_shape))
        group.handed_out.add(self._index)
        return group.values[self._index]

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density; for the group's draw, and as long as the parameters are the group's, evaluated together."""
        group = self._group
        if group is not None and group.drew(self._index, value):
            loc, scale = group.parameters[self._index]
            if self.loc is loc and self.scale is scale:
                return group.log_probs[self._index]
        return super().log_prob(value)


class NormalGroup:
    """Sites of one shape and family. Nothing is drawn or evaluated before it is asked for.

    Args:
        sites: the sites, by their positions in the guide.
        outer: the plates around the guide, such as that of particles.
        scale_of: from unconstrained scales to scales.
        noise: what the sites draw from.

    Raises:
        ValueError: (under validation) if a parameter is improper.
    """

    def __init__(
        self,
        sites: Mapping[int, NormalSite],
        outer: Sequence[CondIndepStackFrame],
        scale_of: Map,
        noise: Noise,
    ) -> None:
        self.positions = list(sites)
        self.sites = list(sites.values())
        self.handed_out: set[int] = set()
        self.loc, self.scale = _stacked(self.sites, scale_of)
        Normal(self.loc, self.scale)
        shape = self.sites[0].loc.shape
        self.shape = _within_plates(shape, self.sites[0].layout.unconstrained_event_dim, outer)
        if self.shape != shape:
            aligned = (len(sites), *(1,) * (len(self.shape) - len(shape)), *shape)
            self.loc, self.scale = self.loc.reshape(aligned), self.scale.reshape(aligned)
        self.parameters: list[tuple[Tensor, Tensor]] = []
        for position in self.positions:
            noise.reserve(position, self.shape, self.loc)
        self._source = noise
        self._noise: Tensor | None = None
        self._value: Tensor | None = None
        self._values: tuple[Tensor, ...] = ()
        self._log_probs: tuple[Tensor, ...] = ()

    def distributions(self) -> list[PackedNormal]:
        """One for each site, expanded to the plates around the guide."""
        result = []
        for index, site in enumerate(self.sites):
            loc, scale = site.loc, site.scale
            if loc.shape != self.shape:
                loc, scale = loc.expand(self.shape), scale.expand(self.shape)
            fn = PackedNormal(loc, scale, validate_args=False)
            set_checks(fn, checks_values(Normal))
            fn._group, fn._index = self, index
            self.parameters.append((fn.loc, fn.scale))
            result.append(fn)
        return result

    @property
    def values(self) -> tuple[Tensor, ...]:
        """The draws, one for each site."""
        if self._value is None:
            self._noise = self._source.stacked(self.positions)
            self._value = torch.addcmul(self.loc, self._noise, self.scale)
            self._values = self._value.unbind(0)
        return self._values

    def drew(self, index: int, value: Tensor) -> bool:
        """Whether a value is the group's draw for a site."""
        return bool(self._values) and self._values[index] is value

    @property
    def log_probs(self) -> tuple[Tensor, ...]:
        """The log densities of the draws."""
        if not self._log_probs:
            assert self._noise is not None
            # In terms of the noise: nothing is lost to rounding where a scale is small against its loc.
            constant = torch.rsub(self.scale.log(), _MINUS_HALF_LOG_2PI)
            self._log_probs = torch.addcmul(constant, self._noise, self._noise, value=-0.5).unbind(0)
        return self._log_probs

    def points(self, values: Sequence[Tensor], with_density: bool) -> list[Point]:
        """What the model's sites are drawn from, given their values in unconstrained space.

        A second run with the same values must find the very same points, so values that are not the group's own are mapped
        together too.
        """
        layout = self.sites[0].layout
        if (
            len(values) == 1
            or layout.family is None
            or any(value.shape != values[0].shape for value in values)
        ):
            pairs = zip(self.sites, values, strict=True)
            return [site.point(value, with_density) for site, value in pairs]
        own = all(self.drew(index, value) for index, value in enumerate(values))
        stacked = self._value if own and self._value is not None else torch.stack(tuple(values))
        return points_together(layout.transform, stacked, values, layout.event_dim, with_density)


def groups_of(
    sites: Sequence[NormalSite], outer: Sequence[CondIndepStackFrame], scale_of: Map
) -> list[NormalGroup]:
    """The groups: sites that are alike, and sites without a like whose draws come between those of a group."""
    alike: dict[Hashable, list[int]] = {}
    for position, site in enumerate(sites):
        if site.loc.shape == site.scale.shape and type(site.loc) in _PLAIN:
            alike.setdefault(site.like(), []).append(position)
    groups = []
    for stretch in _stretches([positions for positions in alike.values() if len(positions) > 1]):
        noise = Noise()
        for positions in alike.values():
            if positions[0] in stretch:
                try:
                    members = {position: sites[position] for position in positions}
                    groups.append(NormalGroup(members, outer, scale_of, noise))
                except ValueError:
                    continue  # one by one, they raise an error that names the site
    return groups


def _stretches(groups: Sequence[Sequence[int]]) -> list[range]:
    """The parts of the guide in which sites of groups are drawn; groups that overlap share one."""
    stretches: list[range] = []
    for first, last in sorted((positions[0], positions[-1]) for positions in groups):
        if stretches and first < stretches[-1].stop:
            stretches[-1] = range(stretches[-1].start, max(stretches[-1].stop, last + 1))
        else:
            stretches.append(range(first, last + 1))
    return stretches


def _stacked(sites: Sequence[NormalSite], scale_of: Map) -> tuple[Tensor, Tensor]:
    loc = torch.stack([site.loc for site in sites])
    leaves = [site.scale_leaf for site in sites if site.scale_leaf is not None]
    if len(leaves) == len(sites):
        return loc, scale_of(torch.stack(leaves))
    return loc, torch.stack([site.scale for site in sites])


def _within_plates(shape: Size, event_dim: int, outer: Sequence[CondIndepStackFrame]) -> Size:
    """The shape that plates around the guide expand a shape to."""
    batch, event = list(shape[: len(shape) - event_dim]), shape[len(shape) - event_dim :]
    for frame in outer:
        if frame.dim is None or frame.size == -1:
            continue
        batch[:0] = [1] * (-frame.dim - len(batch))
        if batch[frame.dim] == 1:
            batch[frame.dim] = frame.size
    return Size((*batch, *event))
