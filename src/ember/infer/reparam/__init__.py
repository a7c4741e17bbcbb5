"""Reparameterisers: the same model in coordinates in which it is easier to fit.

A reparameteriser rewrites one ``sample`` statement; :func:`ember.poutine.reparam` applies it.
"""

from ember.infer.reparam.families.conjugate import ConjugateReparam as ConjugateReparam
from ember.infer.reparam.families.linear_hmm import LinearHMMReparam as LinearHMMReparam
from ember.infer.reparam.families.loc_scale import LocScaleReparam as LocScaleReparam
from ember.infer.reparam.families.projected_normal import ProjectedNormalReparam as ProjectedNormalReparam
from ember.infer.reparam.families.softmax import GumbelSoftmaxReparam as GumbelSoftmaxReparam
from ember.infer.reparam.families.stable import LatentStableReparam as LatentStableReparam
from ember.infer.reparam.families.stable import StableReparam as StableReparam
from ember.infer.reparam.families.stable import SymmetricStableReparam as SymmetricStableReparam
from ember.infer.reparam.families.studentt import StudentTReparam as StudentTReparam
from ember.infer.reparam.guided.neutra import NeuTraReparam as NeuTraReparam
from ember.infer.reparam.guided.structured import StructuredReparam as StructuredReparam
from ember.infer.reparam.strategies import AutoReparam as AutoReparam
from ember.infer.reparam.strategies import MinimalReparam as MinimalReparam
from ember.infer.reparam.transforms.discrete_cosine import DiscreteCosineReparam as DiscreteCosineReparam
from ember.infer.reparam.transforms.haar import HaarReparam as HaarReparam
from ember.infer.reparam.transforms.split import SplitReparam as SplitReparam
from ember.infer.reparam.transforms.transform import TransformReparam as TransformReparam
from ember.infer.reparam.transforms.unit_jacobian import UnitJacobianReparam as UnitJacobianReparam

__all__ = [
    "AutoReparam",
    "ConjugateReparam",
    "DiscreteCosineReparam",
    "GumbelSoftmaxReparam",
    "HaarReparam",
    "LatentStableReparam",
    "LinearHMMReparam",
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
