"""Paths of modules that are in a room now: a room is no public path, so ``ember.infer.svi`` goes on working.

They are Pyro's paths, read with ``ember`` for ``pyro``.
"""

from __future__ import annotations

import sys
from importlib import import_module

HOMES: dict[str, str] = {
    "ember.infer.abstract_infer": "ember.infer.posterior.abstract_infer",
    "ember.infer.autoguide.gaussian": "ember.infer.autoguide.dependent.gaussian",
    "ember.infer.autoguide.initialization": "ember.infer.autoguide.base.initialization",
    "ember.infer.autoguide.structured": "ember.infer.autoguide.dependent.structured",
    "ember.infer.discrete": "ember.infer.enumeration.discrete",
    "ember.infer.elbo": "ember.infer.objectives.elbo",
    "ember.infer.energy_distance": "ember.infer.objectives.energy_distance",
    "ember.infer.enum": "ember.infer.enumeration.enum",
    "ember.infer.importance": "ember.infer.posterior.importance",
    "ember.infer.inspect": "ember.structure.inspect",
    "ember.infer.predictive": "ember.infer.posterior.predictive",
    "ember.infer.renyi_elbo": "ember.infer.objectives.renyi_elbo",
    "ember.infer.reparam.conjugate": "ember.infer.reparam.families.conjugate",
    "ember.infer.reparam.discrete_cosine": "ember.infer.reparam.transforms.discrete_cosine",
    "ember.infer.reparam.haar": "ember.infer.reparam.transforms.haar",
    "ember.infer.reparam.hmm": "ember.infer.reparam.families.linear_hmm",
    "ember.infer.reparam.loc_scale": "ember.infer.reparam.families.loc_scale",
    "ember.infer.reparam.neutra": "ember.infer.reparam.guided.neutra",
    "ember.infer.reparam.projected_normal": "ember.infer.reparam.families.projected_normal",
    "ember.infer.reparam.softmax": "ember.infer.reparam.families.softmax",
    "ember.infer.reparam.split": "ember.infer.reparam.transforms.split",
    "ember.infer.reparam.stable": "ember.infer.reparam.families.stable",
    "ember.infer.reparam.structured": "ember.infer.reparam.guided.structured",
    "ember.infer.reparam.studentt": "ember.infer.reparam.families.studentt",
    "ember.infer.reparam.transform": "ember.infer.reparam.transforms.transform",
    "ember.infer.reparam.unit_jacobian": "ember.infer.reparam.transforms.unit_jacobian",
    "ember.infer.rws": "ember.infer.objectives.rws",
    "ember.infer.csis": "ember.infer.posterior.csis",
    "ember.infer.resampler": "ember.infer.posterior.resampler",
    "ember.infer.smcfilter": "ember.infer.posterior.smcfilter",
    "ember.infer.svgd": "ember.infer.objectives.svgd",
    "ember.infer.svi": "ember.infer.step.svi",
    "ember.infer.trace_elbo": "ember.infer.objectives.trace_elbo",
    "ember.infer.trace_mean_field_elbo": "ember.infer.objectives.trace_mean_field_elbo",
    "ember.infer.trace_mmd": "ember.infer.objectives.trace_mmd",
    "ember.infer.trace_tail_adaptive_elbo": "ember.infer.objectives.trace_tail_adaptive_elbo",
    "ember.infer.traceenum_elbo": "ember.infer.enumeration.traceenum_elbo",
    "ember.infer.tracegraph_elbo": "ember.infer.objectives.tracegraph_elbo",
    "ember.infer.tracetmc_elbo": "ember.infer.enumeration.tracetmc_elbo",
    "ember.nn.auto_reg_nn": "ember.distributions.networks.auto_reg_nn",
    "ember.nn.dense_nn": "ember.distributions.networks.dense_nn",
    "ember.ops.gamma_gaussian": "ember.distributions.gamma_gaussian",
    "ember.ops.ssm_gp": "ember.nn.matern_kernel",
    "ember.poutine.block_messenger": "ember.poutine.rewriting.block_messenger",
    "ember.poutine.broadcast_messenger": "ember.poutine.plates.broadcast_messenger",
    "ember.poutine.condition_messenger": "ember.poutine.values.condition_messenger",
    "ember.poutine.do_messenger": "ember.poutine.values.do_messenger",
    "ember.poutine.enum_messenger": "ember.poutine.enumeration.enum_messenger",
    "ember.poutine.equalize_messenger": "ember.poutine.values.equalize_messenger",
    "ember.poutine.escape_messenger": "ember.poutine.values.escape_messenger",
    "ember.poutine.guide": "ember.poutine.rewriting.guide",
    "ember.poutine.indep_messenger": "ember.poutine.plates.indep_messenger",
    "ember.poutine.infer_config_messenger": "ember.poutine.rewriting.infer_config_messenger",
    "ember.poutine.lift_messenger": "ember.poutine.values.lift_messenger",
    "ember.poutine.markov_messenger": "ember.poutine.enumeration.markov_messenger",
    "ember.poutine.mask_messenger": "ember.poutine.weights.mask_messenger",
    "ember.poutine.plate_messenger": "ember.poutine.plates.plate_messenger",
    "ember.poutine.reentrant_messenger": "ember.poutine.enumeration.reentrant_messenger",
    "ember.poutine.reparam_messenger": "ember.poutine.rewriting.reparam_messenger",
    "ember.poutine.replay_messenger": "ember.poutine.values.replay_messenger",
    "ember.poutine.scale_messenger": "ember.poutine.weights.scale_messenger",
    "ember.poutine.seed_messenger": "ember.poutine.values.seed_messenger",
    "ember.poutine.subsample_messenger": "ember.poutine.plates.subsample_messenger",
    "ember.poutine.substitute_messenger": "ember.poutine.values.substitute_messenger",
    "ember.poutine.uncondition_messenger": "ember.poutine.values.uncondition_messenger",
}
"""Path -> the module that is meant."""


def _keep(path: str, home: str) -> None:
    module = import_module(home)
    sys.modules.setdefault(path, module)
    package, _, name = path.rpartition(".")
    vars(import_module(package)).setdefault(name, module)


for _path, _home in HOMES.items():
    _keep(_path, _home)
