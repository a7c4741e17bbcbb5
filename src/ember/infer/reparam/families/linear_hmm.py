"""Linear state space models as Gaussian ones, by reparameterising their noise."""

from __future__ import annotations

from typing import Any

import torch

from ember import distributions as dist
from ember.errors import ReparamError
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult
from ember.poutine.site import Site


class LinearHMMReparam(Reparam):
    """Reparameterises the parts of a :class:`~ember.distributions.LinearHMM`, so that it becomes a ``GaussianHMM``.

    Auxiliary sites are those of the parts' reparameterisers, at ``<name>_init``, ``<name>_trans`` and
    ``<name>_obs``. Given them, all noise is normal, and states are integrated out. Suits observed sites too,
    and an ``IndependentHMM`` of such models.

    Args:
        init: for the initial distribution, None if that is normal.
        trans: for the noise of transitions, None if that is normal.
        obs: for the noise of observations, None if that is normal.

    Raises:
        ReparamError: (an AssertionError) at sites of other families, or where noise is not normal afterwards.

    >>> import ember, torch
    >>> from ember.infer.reparam import StudentTReparam
    >>> from ember import distributions as dist
    >>> from ember.infer.reparam import LinearHMMReparam
    >>> heavy = dist.StudentT(4.0, torch.zeros(1), 1.0).to_event(1)
    >>> normal = dist.Normal(torch.zeros(1), 1.0).to_event(1)
    >>> hmm = dist.LinearHMM(normal, torch.eye(1), heavy, torch.eye(1), normal, duration=5)
    >>> config = {"x": LinearHMMReparam(trans=StudentTReparam())}
    >>> with ember.poutine.reparam(config=config), ember.poutine.trace() as tr:
    ...     x = ember.sample("x", hmm)
    >>> list(tr.trace.nodes), type(tr.trace.nodes["x"]["fn"]).__name__
    (['x_trans_gamma', 'x'], 'GaussianHMM')
    """

    def __init__(
        self, init: Reparam | None = None, trans: Reparam | None = None, obs: Reparam | None = None
    ) -> None:
        for name, part in (("init", init), ("trans", trans), ("obs", obs)):
            if part is not None and not isinstance(part, Reparam):
                raise ReparamError(
                    f"LinearHMMReparam takes a reparameteriser for {name}, or None, got {part!r}"
                )
        self.init = init
        self.trans = trans
        self.obs = obs

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Run the auxiliary ``sample`` statements of the parts."""
        name, (whole, event_dim) = msg.name, self._unwrap(msg.fn)
        fn = whole.base_dist if isinstance(whole, dist.IndependentHMM) else whole
        self._require(name, fn, dist.LinearHMM)
        rows = int(fn is not whole)  # dims of the batch that are dims of the event
        initial = self._normal(name, "init", self.init, fn.initial_dist, rows)
        transition = self._normal(name, "trans", self.trans, fn.transition_dist, rows + 1)
        observation = self._normal(name, "obs", self.obs, fn.observation_dist, rows + 1)
        hmm: Any = dist.GaussianHMM(
            initial,
            fn.transition_matrix,
            transition,
            fn.observation_matrix,
            observation,
            duration=fn.duration,
        )
        if rows:
            hmm = dist.IndependentHMM(hmm)
        if fn.transforms:
            hmm = dist.TransformedDistribution(hmm, fn.transforms)
        return {"fn": self._wrap(hmm, event_dim), "value": msg.value, "is_observed": msg.is_observed}

    def _normal(self, site: str, part: str, reparam: Reparam | None, noise: Any, dims: int) -> Any:
        """The noise after its reparameteriser, with as many dims in a batch as before."""
        if reparam is not None:
            inner = Site(
                name=f"{site}_{part}", type="sample", fn=noise.to_event(dims), value=None, is_observed=False
            )
            reparam.args_kwargs = self.args_kwargs
            noise = reparam.apply(inner)["fn"].to_event(-dims)
        base = noise.base_dist if isinstance(noise, torch.distributions.Independent) else noise
        if not isinstance(base, (torch.distributions.Normal, torch.distributions.MultivariateNormal)):
            raise ReparamError(
                f"at site {site!r}, LinearHMMReparam needs normal noise, but {part} is {type(base).__name__}; give a "
                f"reparameteriser that makes it normal, such as LinearHMMReparam({part}=StudentTReparam())"
            )
        return noise
