"""The terms of an ELBO estimator that one sample site contributes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ember.distributions.masking import scale_and_mask


class ScoreParts(NamedTuple):
    """Terms that combine the pathwise and the score function estimator.

    ``log_prob`` is the log density. ``score_function`` is the part whose gradient is multiplied by the
    downstream cost. ``entropy_term`` is the part of the log density that the pathwise estimator differentiates.
    The last two may be the number 0.

    References:
        G. Roeder, Y. Wu, D. Duvenaud (2017), "Sticking the Landing".
        C. Naesseth, F. Ruiz, S. Linderman, D. Blei (2017), "Reparameterization Gradients through
        Acceptance-Rejection Sampling Algorithms".

    >>> parts = ScoreParts(torch.tensor(2.0), 0, torch.tensor(2.0))
    >>> parts.scale_and_mask(scale=3.0)
    ScoreParts(log_prob=tensor(6.), score_function=0, entropy_term=tensor(6.))
    """

    log_prob: Any
    score_function: Any
    entropy_term: Any

    def scale_and_mask(
        self, scale: float | torch.Tensor = 1.0, mask: bool | torch.Tensor | None = None
    ) -> ScoreParts:
        """Scale and mask the log density and the entropy term; the score function stays as it is."""
        log_prob = scale_and_mask(self.log_prob, scale, mask)
        if self.entropy_term is self.log_prob:
            entropy_term = log_prob
        else:
            entropy_term = scale_and_mask(self.entropy_term, scale, mask)
        return ScoreParts(log_prob, self.score_function, entropy_term)
