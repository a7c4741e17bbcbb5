"""Running a program with the values of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ember.errors import TraceError
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


class ReplayMessenger(Messenger):
    """Gives latent sites the values, and inference settings, that sites of the same name have in a trace.

    Args:
        trace: the trace to take values from; observed sites of the program keep their own.
        params: constrained parameter values (with ``.unconstrained``) by name.

    Raises:
        ValueError: if neither is given.
        TraceError: (a RuntimeError) if a latent site's namesake in the trace is observed or no sample site.

    >>> import ember
    >>> def model():
    ...     return ember.sample("z", ember.distributions.Normal(0.0, 1.0))
    >>> trace = ember.poutine.trace(model).get_trace()
    >>> bool(ember.poutine.replay(model, trace=trace)() == trace.nodes["z"].value)
    True
    """

    def __init__(self, trace: Trace | None = None, params: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        if trace is None and params is None:
            raise ValueError("must provide trace or params to replay against")
        self.trace = trace
        self.params = params

    def is_repeatable(self) -> bool:
        """No: nobody can see changes of the trace."""
        return False

    def _pyro_sample(self, msg: Site) -> None:
        # By key, as in apply_stack: this runs at every site of every step.
        name = msg["name"]
        if self.trace is None or msg["is_observed"]:
            return
        recorded = self.trace.nodes.get(name)
        if recorded is None:
            return
        if recorded["type"] != "sample" or recorded["is_observed"]:
            raise TraceError(f"site {name} must be sampled in trace")
        msg["done"] = True
        msg["value"] = recorded["value"]
        # A copy: what the model's run writes into its site must not reach the guide's.
        msg["infer"] = dict(recorded["infer"])

    def _pyro_param(self, msg: Site) -> None:
        name: str = msg.name
        if self.params is not None and name in self.params:
            value = self.params[name]
            assert hasattr(value, "unconstrained"), f"param {name} must be constrained value"
            msg.done = True
            msg.value = value
