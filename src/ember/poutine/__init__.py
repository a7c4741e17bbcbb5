"""Effects: sites, traces, plates, and handlers that change what a program's statements do."""

from ember.poutine.handlers import block as block
from ember.poutine.handlers import broadcast as broadcast
from ember.poutine.handlers import condition as condition
from ember.poutine.handlers import do as do
from ember.poutine.handlers import enum as enum
from ember.poutine.handlers import equalize as equalize
from ember.poutine.handlers import escape as escape
from ember.poutine.handlers import infer_config as infer_config
from ember.poutine.handlers import lift as lift
from ember.poutine.handlers import markov as markov
from ember.poutine.handlers import mask as mask
from ember.poutine.handlers import queue as queue
from ember.poutine.handlers import reparam as reparam
from ember.poutine.handlers import replay as replay
from ember.poutine.handlers import scale as scale
from ember.poutine.handlers import seed as seed
from ember.poutine.handlers import substitute as substitute
from ember.poutine.handlers import trace as trace
from ember.poutine.handlers import uncondition as uncondition
from ember.poutine.messenger import Messenger as Messenger
from ember.poutine.messenger import unwrap as unwrap
from ember.poutine.plates.plate_messenger import block_plate as block_plate
from ember.poutine.runtime import NonlocalExit as NonlocalExit
from ember.poutine.runtime import get_mask as get_mask
from ember.poutine.runtime import get_plates as get_plates
from ember.poutine.site import Site as Site
from ember.poutine.trace_struct import Trace as Trace
from ember.poutine.validation import enable_validation as enable_validation
from ember.poutine.validation import is_validation_enabled as is_validation_enabled

__all__ = [
    "Messenger",
    "NonlocalExit",
    "Site",
    "Trace",
    "block",
    "block_plate",
    "broadcast",
    "condition",
    "do",
    "enable_validation",
    "enum",
    "equalize",
    "escape",
    "get_mask",
    "get_plates",
    "infer_config",
    "is_validation_enabled",
    "lift",
    "markov",
    "mask",
    "queue",
    "reparam",
    "replay",
    "scale",
    "seed",
    "substitute",
    "trace",
    "uncondition",
    "unwrap",
]
