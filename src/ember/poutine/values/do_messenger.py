"""Interventions (Richardson and Robins, 2013, "Single World Intervention Graphs: A Primer")."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Mapping

import torch

from ember.poutine.messenger import Messenger
from ember.poutine.runtime import apply_stack
from ember.poutine.site import Site


class DoMessenger(Messenger):
    """Intervenes at sites: each is still sampled, but the program goes on with the intervention.

    The intervention is an observed site ``<name>__CF`` that outer handlers do not see (Pearl, 2009,
    *Causality*).

    Args:
        data: interventions (tensors or numbers) by name; None means no intervention.

    Raises:
        NotImplementedError: for an intervention of another type.

    >>> import torch, ember
    >>> def model():
    ...     dose = ember.sample("dose", ember.distributions.Normal(0.0, 1.0))
    ...     return ember.sample("effect", ember.distributions.Delta(2.0 * dose))
    >>> ember.do(model, data={"dose": torch.tensor(3.0)})()
    tensor(6.)
    """

    def __init__(self, data: Mapping[str, torch.Tensor | float | None]) -> None:
        super().__init__()
        self.data = data
        self._intervener_id = str(id(self))

    def _pyro_sample(self, msg: Site) -> None:
        name = msg.name
        intervention = self.data.get(name)
        # All who have intervened, so that two handlers that intervene on one site do not hand it to and fro.
        earlier: tuple[str, ...] = msg.get("_intervener_id", ())
        if intervention is None or self._intervener_id in earlier:
            return
        if earlier:
            warnings.warn(
                f"Attempting to intervene on variable {name} multiple times,"
                "this is almost certainly incorrect behavior",
                RuntimeWarning,
                stacklevel=2,
            )
        if not isinstance(intervention, (numbers.Number, torch.Tensor)):
            raise NotImplementedError(
                f"Interventions of type {type(intervention)} not implemented (yet), at site {name!r}; give a tensor"
            )
        msg["_intervener_id"] = (*earlier, self._intervener_id)
        factual = msg.copy()
        # The plates inside of this handler see the copy again.
        factual.cond_indep_stack = ()
        apply_stack(factual)

        msg.name = name + "__CF"
        msg.value = intervention if isinstance(intervention, torch.Tensor) else torch.tensor(intervention)
        msg.is_observed = True
        msg.stop = True
