"""Training: what acts on :meth:`ember.infer.SVI.fit` from outside, and fits in many processes."""

from ember.infer.step.training.batches import InMemory as InMemory
from ember.infer.step.training.callback import Callback as Callback
from ember.infer.step.training.callback import Training as Training
from ember.infer.step.training.fit import TrainResult as TrainResult
from ember.train.annealing import Annealing as Annealing
from ember.train.checkpoint import Checkpoint as Checkpoint
from ember.train.compiled_loss import CompiledLoss as CompiledLoss
from ember.train.distributed import DataParallel as DataParallel
from ember.train.early_stopping import EarlyStopping as EarlyStopping
from ember.train.history import History as History
from ember.train.iterates import Iterates as Iterates
from ember.train.plateau import Plateau as Plateau
from ember.train.rates import Rates as Rates
from ember.train.rates import Scheduler as Scheduler
from ember.train.rollback import Rollback as Rollback
from ember.train.until_converged import UntilConverged as UntilConverged

__all__ = [
    "Annealing",
    "Callback",
    "Checkpoint",
    "CompiledLoss",
    "DataParallel",
    "EarlyStopping",
    "History",
    "InMemory",
    "Iterates",
    "Plateau",
    "Rates",
    "Rollback",
    "Scheduler",
    "TrainResult",
    "Training",
    "UntilConverged",
]
