"""The supports of latent sites: their way to unconstrained space, and errors where there is none."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.distributions import biject_to
from torch.distributions.constraints import Constraint, MixtureSameFamilyConstraint

from ember.distributions.transforms.corr_cholesky import indexed
from ember.errors import ModelError


@contextmanager
def helpful_support_errors(site: Any) -> Iterator[None]:
    """Say which site it is, and what can be done, when a support has no bijection from unconstrained space.

    Args:
        site: a mapping with ``name`` and ``fn``.

    Raises:
        ValueError: for discrete sites and sites on a sphere, in place of a NotImplementedError.
    """
    try:
        yield
    except NotImplementedError as error:
        raise explained(site, error) from None


def explained(site: Any, error: Exception) -> Exception:
    """What to raise for a site whose support cannot be unconstrained."""
    try:
        name, support = site["name"], site["fn"].support
    except NotImplementedError:
        error.add_note(
            f"at sample site {site['name']!r}, whose distribution does not say what its support is"
        )
        return error
    if support.is_discrete:
        return ModelError(
            f"Continuous inference cannot handle discrete sample site '{name}'. "
            "Consider enumerating that variable as documented in "
            "https://pyro.ai/examples/enumeration.html . "
            "If you are already enumerating, take care to hide this site when "
            "constructing an autoguide, e.g. "
            f"guide = AutoNormal(poutine.block(model, hide=['{name}']))."
        )
    if isinstance(support, MixtureSameFamilyConstraint):
        return ModelError(
            f"the components of the mixture at site {name!r} have supports of their own, {support.base_constraint}, which have "
            "no common way to unconstrained space: draw the component at a site of its own and enumerate it, or take components "
            "of one support."
        )
    if "sphere" in repr(support).lower():
        return ModelError(
            f"Continuous inference cannot handle spherical sample site '{name}'. "
            "Consider using ProjectedNormal distribution together with "
            "a reparameterizer, e.g. "
            f"poutine.reparam(config={{'{name}': ProjectedNormalReparam()}})."
        )
    error.add_note(f"at sample site {name!r}, whose support is {support}")
    return error


def transform_of(site: Any) -> Any:
    """The bijection from unconstrained space to the support of a site."""
    with helpful_support_errors(site):
        return indexed(biject_to(site["fn"].support))


def family(constraint: Any) -> Hashable | None:
    """What tells a constraint's bijection from another's; None for constraints that hold tensors.

    >>> from ember.distributions import constraints
    >>> family(constraints.positive) == family(constraints.greater_than(0.0))
    True
    """
    parts: list[Any] = []
    for key, value in sorted(vars(constraint).items()):
        if isinstance(value, Constraint):
            inner = family(value)
            if inner is None:
                return None
            parts.append((key, inner))
        elif isinstance(value, (bool, int, float, str)):
            parts.append((key, value))
        else:
            return None
    kind = type(constraint)
    # ``positive`` is an instance of a subclass in torch that differs by its name alone.
    return (kind, *parts)
