"""Pyro's ``Jit`` objectives: the plain objective, and a compiled step.

In Pyro each of them is an estimator of its own. Here a step is captured whole, whatever the objective, so that the name carries
one wish only, which :class:`ember.infer.SVI` reads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ember.infer.enumeration.traceenum_elbo import TraceEnum_ELBO
from ember.infer.objectives.elbo import Program
from ember.infer.objectives.trace_elbo import Trace_ELBO
from ember.infer.objectives.trace_mean_field_elbo import TraceMeanField_ELBO
from ember.infer.objectives.tracegraph_elbo import TraceGraph_ELBO

__all__ = ["JitTraceEnum_ELBO", "JitTraceGraph_ELBO", "JitTraceMeanField_ELBO", "JitTrace_ELBO"]


class JitTrace_ELBO(Trace_ELBO):
    """:class:`ember.infer.Trace_ELBO` whose SVI runs with ``compile="auto"``.

    It takes the same arguments. An SVI that is given a ``compile`` of its own keeps that. A step that cannot be captured runs
    eagerly, with one warning that says why.

    >>> import ember
    >>> svi = ember.infer.SVI(lambda: None, lambda: None, ember.optim.Adam({}), JitTrace_ELBO())
    >>> svi.compile
    'auto'
    """

    compile = "auto"

    def loss_and_surrogate_loss(
        self, model: Program, guide: Program, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """The negative ELBO, and what has its gradient, as scalar tensors."""
        found = self.estimate(model, guide, args, kwargs)
        return -torch.as_tensor(found.elbo), -torch.as_tensor(found.surrogate)


class JitTraceGraph_ELBO(TraceGraph_ELBO):
    """:class:`ember.infer.TraceGraph_ELBO` whose SVI runs with ``compile="auto"``, as with :class:`JitTrace_ELBO`."""

    compile = "auto"


class JitTraceMeanField_ELBO(TraceMeanField_ELBO):
    """:class:`ember.infer.TraceMeanField_ELBO` whose SVI runs with ``compile="auto"``, as with :class:`JitTrace_ELBO`."""

    compile = "auto"


class JitTraceEnum_ELBO(TraceEnum_ELBO):
    """:class:`ember.infer.TraceEnum_ELBO` whose SVI runs with ``compile="auto"``, as with :class:`JitTrace_ELBO`."""

    compile = "auto"
