"""Reparameterisers: the same model in coordinates in which it is easier to fit.

A reparameteriser rewrites one ``sample`` statement; :func:`ember.poutine.reparam` applies it.
"""

from ember.infer.reparam.conjugate import ConjugateReparam as ConjugateReparam
from ember.infer.reparam.discrete_cosine import DiscreteCosineReparam as DiscreteCosineReparam
from ember.infer.reparam.haar import HaarReparam as HaarReparam
from ember.infer.reparam.loc_scale import LocScaleReparam as LocScaleReparam
from ember.infer.reparam.neutra import NeuTraReparam as NeuTraReparam
from ember.infer.reparam.projected_normal import ProjectedNormalReparam as ProjectedNormalReparam
from ember.infer.reparam.softmax import GumbelSoftmaxReparam as GumbelSoftmaxReparam
from ember.infer.reparam.split import SplitReparam as SplitReparam
from ember.infer.reparam.stable import LatentStableReparam as LatentStableReparam
from ember.infer.reparam.stable import StableReparam as StableReparam
from ember.infer.reparam.stable import SymmetricStableReparam as SymmetricStableReparam
from ember.infer.reparam.strategies import AutoReparam as AutoReparam
from ember.infer.reparam.strategies import MinimalReparam as MinimalReparam
from ember.infer.reparam.structured import StructuredReparam as StructuredReparam
from ember.infer.reparam.studentt import StudentTReparam as StudentTReparam
from ember.infer.reparam.transform import TransformReparam as TransformReparam
from ember.infer.reparam.unit_jacobian import UnitJacobianReparam as UnitJacobianReparam

__all__ = [
    "AutoReparam",
    "ConjugateReparam",
    "DiscreteCosineReparam",
    "GumbelSoftmaxReparam",
    "HaarReparam",
    "LatentStableReparam",
    "LocScaleReparam",
    "MinimalReparam",
    "NeuTraReparam",
    "ProjectedNormalReparam",
    "SplitReparam",
    "StableReparam",
    "StructuredReparam",
    "StudentTReparam",
    "SymmetricStableReparam",
    "TransformReparam",
    "UnitJacobianReparam",
]
