"""Pyro's ``Jit`` objectives: the plain objective, and a compiled step.

In Pyro each of them is an estimator of its own. Here a step is captured whole, whatever the objective, so that the name carries
one wish only, which :class:`ember.infer.SVI` reads. ``JitTraceGraph_ELBO`` and the others
follow with the objectives that they name.
"""

from __future__ import annotations

from ember.infer.trace_elbo import Trace_ELBO

__all__ = ["JitTrace_ELBO"]


class JitTrace_ELBO(Trace_ELBO):
    """:class:`ember.infer.Trace_ELBO` whose SVI runs with ``compile=True``.

    It takes the same arguments. An SVI that is given a ``compile`` of its own keeps that. A step that cannot be captured raises
    :class:`ember.errors.CaptureError`.

    >>> import ember
    >>> svi = ember.infer.SVI(lambda: None, lambda: None, ember.optim.Adam({}), JitTrace_ELBO())
    >>> svi.compile
    True
    """

    compile = True
