"""The divergence of a guide's site from the model's in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember.distributions.kl import kl_divergence
from ember.distributions.masking import scale_and_mask
from ember.poutine.site import Site


def analytic_kl(model_site: Site, guide_site: Site) -> Tensor | None:
    """KL(q || p) of one site, of the guide's batch shape, scaled and masked as the guide's site; None if there is no closed form.

    Raises:
        ValueError: if the divergence does not have the batch shape of the guide's site.
    """
    fn = guide_site.fn
    try:
        kl: Any = kl_divergence(fn, model_site.fn)
    except NotImplementedError:
        return None
    if not isinstance(kl, Tensor):
        kl = torch.full(fn.batch_shape, float(kl), device=getattr(guide_site.value, "device", None))
    scaled: Tensor = scale_and_mask(kl, guide_site.scale, guide_site.mask)
    if scaled.shape != fn.batch_shape:
        raise ValueError(
            f"at site {guide_site.name!r}, the divergence of the guide's {fn} from the model's {model_site.fn} has shape "
            f"{tuple(scaled.shape)}, expected the guide's batch shape {tuple(fn.batch_shape)}"
        )
    return scaled
