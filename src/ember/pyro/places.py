"""Where Ember has what Pyro has elsewhere: the data of the drop-in, one row a path.

A Pyro path that has no row here is at the same path in Ember (``pyro.infer.autoguide`` is ``ember.infer.autoguide``). If
Ember has no such module either, but has the public names of Pyro's in the package above it, a view over that
package stands in.
"""

from __future__ import annotations

from ember import paths

# Pyro path -> the one Ember module that is it, under another name.
MOVED: dict[str, str] = {
    "pyro": "ember",
    "pyro.contrib.autoguide": "ember.infer.autoguide",
    "pyro.ops.einsum.util": "ember.ops.einsum.tensordot",
    **{"pyro" + path.removeprefix("ember"): home for path, home in paths.HOMES.items()},
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
    "pyro.distributions.hmm": ("ember.distributions.*", "ember.ops.*", "ember.pyro.reached"),
    "pyro.distributions.util": ("ember.distributions.*", "ember.distributions.copying", "ember.pyro.helpers"),
    "pyro.generic": ("ember.pyro.generic",),
    "pyro.infer.autoguide.effect": _GUIDES,
    "pyro.infer.autoguide.guides": _GUIDES,
    "pyro.infer.autoguide.utils": _GUIDES,
    "pyro.infer.util": ("ember.infer.*", "ember.ops.scalars", "ember.distributions.*", "ember.poutine.*"),
    "pyro.logger": ("ember.pyro.legacy",),
    "pyro.ops.jit": ("ember.pyro.jit_trace", "ember.pyro.helpers"),
    "pyro.poutine.util": ("ember.poutine.*",),
    "pyro.util": (
        "ember.rng",
        "ember.nonfinite",
        "ember.infer.*",
        "ember.poutine.*",
        "ember.structure.render",
        "ember.pyro.helpers",
    ),
}

# Names that Pyro had at a path before 1.9.2, and that libraries still import.
EARLIER: dict[str, tuple[str, ...]] = {
    "pyro.infer.autoguide.effect": ("deep_getattr",),
    "pyro.infer.autoguide.guides": ("deep_getattr",),
    "pyro.infer.autoguide.utils": ("deep_getattr",),
    "pyro.util": ("deep_getattr",),
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
    "pyro.optim": ("ember.pyro.reached",),
    "pyro.params.param_store": ("ember.pyro.reached",),
    "pyro.infer.autoguide.gaussian": ("ember.pyro.reached", *_GUIDES),
    "pyro.infer.autoguide.initialization": _GUIDES,
    "pyro.infer.autoguide.structured": _GUIDES,
    "pyro.infer.trace_elbo": ("ember.pyro.jit",),
    "pyro.infer.trace_mean_field_elbo": ("ember.pyro.jit",),
    "pyro.infer.traceenum_elbo": ("ember.pyro.jit",),
    "pyro.infer.tracegraph_elbo": ("ember.pyro.jit",),
    "pyro.poutine.block_messenger": ("ember.pyro.reached",),
    "pyro.poutine.handlers": ("ember.pyro.reached",),
    "pyro.poutine.runtime": ("ember.params.param_store",),
    "pyro.primitives": ("ember", "ember.pyro.legacy", "ember.poutine.*", "ember.params.*"),
}

# Modules of Ember that are not there under "pyro".
HIDDEN: tuple[str, ...] = ("ember.pyro",)

_SAMPLE = "Ember fits by variational inference only; sample with NUTS in Pyro or NumPyro"
_FORECASTER = "pyro.contrib.forecast.Forecaster, which fits by variational inference; a wider guide= where it is too narrow"
_COLLAPSE = "pyro.contrib.conjugate for conjugate pairs, TraceEnum_ELBO for discrete sites; it needs funsor in Pyro too"
_HOROVOD = "any rule of ember.optim in one process; gather the gradients of several by torch.distributed"

# What to use instead of a name or path of Pyro that Ember does not carry.
INSTEAD: dict[str, str] = {
    "pyro.contrib.forecast.HMCForecaster": _FORECASTER,
    "pyro.contrib.forecast.forecaster.HMCForecaster": _FORECASTER,
    "pyro.contrib.funsor": "enumeration, markov and vectorised chains of Ember's own, in pyro.infer and pyro.poutine",
    "pyro.infer.mcmc": _SAMPLE,
    "pyro.infer.MCMC": _SAMPLE,
    "pyro.infer.HMC": _SAMPLE,
    "pyro.infer.NUTS": _SAMPLE,
    "pyro.infer.RandomWalkKernel": _SAMPLE,
    "pyro.distributions.torch_patch": "Ember changes nothing in torch",
    "pyro.optim.HorovodOptimizer": _HOROVOD,
    "pyro.optim.horovod": _HOROVOD,
    "pyro.poutine.collapse": _COLLAPSE,
    "pyro.poutine.collapse_messenger": _COLLAPSE,
    "pyro.poutine.handlers.collapse": _COLLAPSE,
}

# Those of them that import all the same: what is in them is an error when it is used.
ABSENT: tuple[str, ...] = (
    "pyro.poutine.collapse_messenger",
    "pyro.distributions.torch_patch",
    "pyro.infer.mcmc",
    "pyro.optim.horovod",
)
