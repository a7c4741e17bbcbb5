"""Which torch class is which rule."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from ember.optim.adagrad_rmsprop import AdagradRMSProp
from ember.optim.clipped_adam import ClippedAdam
from ember.optim.dct_adam import DCTAdam
from ember.optim.rules.adadelta import ADADELTA
from ember.optim.rules.adagrad import ADAGRAD
from ember.optim.rules.adagrad_rmsprop import ADAGRAD_RMSPROP
from ember.optim.rules.adam import ADAM
from ember.optim.rules.adamax import ADAMAX
from ember.optim.rules.asgd import ASGD
from ember.optim.rules.clipped_adam import CLIPPED_ADAM
from ember.optim.rules.dct_adam import DCT_ADAM
from ember.optim.rules.nadam import NADAM
from ember.optim.rules.radam import RADAM
from ember.optim.rules.rmsprop import RMSPROP
from ember.optim.rules.rprop import RPROP
from ember.optim.rules.rule import Rule
from ember.optim.rules.sgd import SGD

RULES: dict[type[Optimizer], Rule[Any, Any]] = {
    torch.optim.ASGD: ASGD,
    torch.optim.Adadelta: ADADELTA,
    torch.optim.Adagrad: ADAGRAD,
    torch.optim.Adam: ADAM,
    torch.optim.AdamW: ADAM,
    torch.optim.Adamax: ADAMAX,
    torch.optim.NAdam: NADAM,
    torch.optim.RAdam: RADAM,
    torch.optim.RMSprop: RMSPROP,
    torch.optim.Rprop: RPROP,
    torch.optim.SGD: SGD,
    AdagradRMSProp: ADAGRAD_RMSPROP,
    ClippedAdam: CLIPPED_ADAM,
    DCTAdam: DCT_ADAM,
}
"""The classes whose update Ember knows as a rule; a subclass may do something else, and is not one of them."""
