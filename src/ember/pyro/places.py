"""Where Ember has what Pyro has elsewhere: the data of the drop-in, one row a path.

A Pyro path that has no row here is at the same path in Ember (``pyro.infer.autoguide`` is ``ember.infer.autoguide``). If
Ember has no such module either, but has the public names of Pyro's in the package above it, a view over that
package stands in.
"""

from __future__ import annotations

# Pyro path -> the one Ember module that is it, under another name.
MOVED: dict[str, str] = {
    "pyro": "ember",
    "pyro.contrib.autoguide": "ember.infer.autoguide",
    "pyro.infer.abstract_infer": "ember.infer.posterior.abstract_infer",
    "pyro.infer.autoguide.gaussian": "ember.infer.autoguide.dependent.gaussian",
    "pyro.infer.autoguide.initialization": "ember.infer.autoguide.base.initialization",
    "pyro.infer.autoguide.structured": "ember.infer.autoguide.dependent.structured",
    "pyro.infer.discrete": "ember.infer.enumeration.discrete",
    "pyro.infer.elbo": "ember.infer.objectives.elbo",
    "pyro.infer.energy_distance": "ember.infer.objectives.energy_distance",
    "pyro.infer.enum": "ember.infer.enumeration.enum",
    "pyro.infer.importance": "ember.infer.posterior.importance",
    "pyro.infer.inspect": "ember.infer.structure.inspect",
    "pyro.infer.predictive": "ember.infer.posterior.predictive",
    "pyro.infer.renyi_elbo": "ember.infer.objectives.renyi_elbo",
    "pyro.infer.reparam.conjugate": "ember.infer.reparam.families.conjugate",
    "pyro.infer.reparam.discrete_cosine": "ember.infer.reparam.transforms.discrete_cosine",
    "pyro.infer.reparam.haar": "ember.infer.reparam.transforms.haar",
    "pyro.infer.reparam.loc_scale": "ember.infer.reparam.families.loc_scale",
    "pyro.infer.reparam.neutra": "ember.infer.reparam.guided.neutra",
    "pyro.infer.reparam.projected_normal": "ember.infer.reparam.families.projected_normal",
    "pyro.infer.reparam.softmax": "ember.infer.reparam.families.softmax",
    "pyro.infer.reparam.split": "ember.infer.reparam.transforms.split",
    "pyro.infer.reparam.stable": "ember.infer.reparam.families.stable",
    "pyro.infer.reparam.structured": "ember.infer.reparam.guided.structured",
    "pyro.infer.reparam.studentt": "ember.infer.reparam.families.studentt",
    "pyro.infer.reparam.transform": "ember.infer.reparam.transforms.transform",
    "pyro.infer.reparam.unit_jacobian": "ember.infer.reparam.transforms.unit_jacobian",
    "pyro.infer.rws": "ember.infer.objectives.rws",
    "pyro.infer.svi": "ember.infer.step.svi",
    "pyro.infer.trace_elbo": "ember.infer.objectives.trace_elbo",
    "pyro.infer.trace_mean_field_elbo": "ember.infer.objectives.trace_mean_field_elbo",
    "pyro.infer.trace_mmd": "ember.infer.objectives.trace_mmd",
    "pyro.infer.trace_tail_adaptive_elbo": "ember.infer.objectives.trace_tail_adaptive_elbo",
    "pyro.infer.traceenum_elbo": "ember.infer.enumeration.traceenum_elbo",
    "pyro.infer.tracegraph_elbo": "ember.infer.objectives.tracegraph_elbo",
    "pyro.infer.tracetmc_elbo": "ember.infer.enumeration.tracetmc_elbo",
    "pyro.ops.einsum.util": "ember.ops.einsum.tensordot",
    "pyro.poutine.block_messenger": "ember.poutine.rewriting.block_messenger",
    "pyro.poutine.broadcast_messenger": "ember.poutine.plates.broadcast_messenger",
    "pyro.poutine.condition_messenger": "ember.poutine.values.condition_messenger",
    "pyro.poutine.do_messenger": "ember.poutine.values.do_messenger",
    "pyro.poutine.enum_messenger": "ember.poutine.enumeration.enum_messenger",
    "pyro.poutine.equalize_messenger": "ember.poutine.values.equalize_messenger",
    "pyro.poutine.escape_messenger": "ember.poutine.values.escape_messenger",
    "pyro.poutine.guide": "ember.poutine.rewriting.guide",
    "pyro.poutine.indep_messenger": "ember.poutine.plates.indep_messenger",
    "pyro.poutine.infer_config_messenger": "ember.poutine.rewriting.infer_config_messenger",
    "pyro.poutine.lift_messenger": "ember.poutine.values.lift_messenger",
    "pyro.poutine.markov_messenger": "ember.poutine.enumeration.markov_messenger",
    "pyro.poutine.mask_messenger": "ember.poutine.weights.mask_messenger",
    "pyro.poutine.plate_messenger": "ember.poutine.plates.plate_messenger",
    "pyro.poutine.reentrant_messenger": "ember.poutine.enumeration.reentrant_messenger",
    "pyro.poutine.reparam_messenger": "ember.poutine.rewriting.reparam_messenger",
    "pyro.poutine.replay_messenger": "ember.poutine.values.replay_messenger",
    "pyro.poutine.scale_messenger": "ember.poutine.weights.scale_messenger",
    "pyro.poutine.seed_messenger": "ember.poutine.values.seed_messenger",
    "pyro.poutine.subsample_messenger": "ember.poutine.plates.subsample_messenger",
    "pyro.poutine.substitute_messenger": "ember.poutine.values.substitute_messenger",
    "pyro.poutine.uncondition_messenger": "ember.poutine.values.uncondition_messenger",
}

_GUIDES = (
    "ember.infer.autoguide.*",
    "ember.nn.*",
    "ember.infer.*",
    "ember.poutine.*",
    "ember.ops.*",
    "ember.distributions.*",
)

# Pyro path -> the Ember modules in which its names live, in the order in which they are asked.
# "ember.x.*" stands for the package and all modules below it.
VIEWS: dict[str, tuple[str, ...]] = {
    "pyro.distributions.hmm": ("ember.distributions.*", "ember.ops.*"),
    "pyro.distributions.util": ("ember.distributions.*", "ember.pyro.helpers"),
    "pyro.infer.autoguide.effect": _GUIDES,
    "pyro.infer.autoguide.guides": _GUIDES,
    "pyro.infer.autoguide.utils": _GUIDES,
    "pyro.infer.util": ("ember.infer.*", "ember.ops.scalars", "ember.distributions.*", "ember.poutine.*"),
    "pyro.logger": ("ember.pyro.legacy",),
    "pyro.ops.jit": ("ember.pyro.jit_trace", "ember.pyro.helpers"),
    "pyro.poutine.util": ("ember.poutine.*",),
    "pyro.util": ("ember.rng", "ember.nonfinite", "ember.infer.*", "ember.poutine.*", "ember.pyro.helpers"),
}

# Paths for which a view over the package above would hand out something else under the same name: in Pyro,
# these hold torch optimizers, while the package holds the wrappers of that name.
NO_STAND_IN: frozenset[str] = frozenset(
    {"pyro.optim.adagrad_rmsprop", "pyro.optim.clipped_adam", "pyro.optim.dct_adam"},
)

# Where else to look for the names of a path that is a module of Ember's own; the package that it is in comes after these.
ALSO: dict[str, tuple[str, ...]] = {
    "pyro": ("ember.pyro.legacy",),
    "pyro.contrib.easyguide.easyguide": _GUIDES,
    "pyro.infer": ("ember.pyro.jit",),
    "pyro.infer.autoguide.gaussian": _GUIDES,
    "pyro.infer.autoguide.initialization": _GUIDES,
    "pyro.infer.autoguide.structured": _GUIDES,
    "pyro.infer.trace_elbo": ("ember.pyro.jit",),
    "pyro.infer.trace_mean_field_elbo": ("ember.pyro.jit",),
    "pyro.infer.traceenum_elbo": ("ember.pyro.jit",),
    "pyro.infer.tracegraph_elbo": ("ember.pyro.jit",),
    "pyro.poutine.runtime": ("ember.params.param_store",),
    "pyro.primitives": ("ember", "ember.pyro.legacy", "ember.poutine.*", "ember.params.*"),
}

# Modules of Ember that are not there under "pyro".
HIDDEN: tuple[str, ...] = ("ember.pyro",)

# What to use instead of a name or path of Pyro that Ember does not carry.
INSTEAD: dict[str, str] = {
    "pyro.infer.mcmc": "Ember fits by variational inference only; sample with NUTS in Pyro or NumPyro",
    "pyro.infer.MCMC": "Ember fits by variational inference only; sample with NUTS in Pyro or NumPyro",
    "pyro.infer.HMC": "Ember fits by variational inference only; sample with NUTS in Pyro or NumPyro",
    "pyro.infer.NUTS": "Ember fits by variational inference only; sample with NUTS in Pyro or NumPyro",
    "pyro.distributions.torch_patch": "Ember changes nothing in torch",
}
