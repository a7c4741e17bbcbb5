"""Names of parameters that belong to modules: ``module$$$sub.weight``."""

from __future__ import annotations

MODULE_NAMESPACE_DIVIDER = "$$$"


def param_with_module_name(pyro_name: str, param_name: str) -> str:
    """Return the name under which a parameter of a registered module is stored.

    Args:
        pyro_name: the name of the module, as ``ember.module`` was given it.
        param_name: the name of the parameter in the module.

    >>> from ember.params import param_with_module_name
    >>> param_with_module_name("net", "layer.weight")
    'net$$$layer.weight'
    """
    return MODULE_NAMESPACE_DIVIDER.join([pyro_name, param_name])


def module_from_param_with_module_name(param_name: str) -> str:
    """Return the module part of a stored name (the whole name if it has no module).

    >>> from ember.params import module_from_param_with_module_name
    >>> module_from_param_with_module_name("net$$$layer.weight")
    'net'
    """
    return param_name.split(MODULE_NAMESPACE_DIVIDER)[0]


def user_param_name(param_name: str) -> str:
    """Return the part of a stored name that the user's module gave it.

    >>> from ember.params import user_param_name
    >>> user_param_name("net$$$layer.weight")
    'layer.weight'
    """
    parts = param_name.split(MODULE_NAMESPACE_DIVIDER)
    return parts[1] if len(parts) > 1 else param_name


def normalize_param_name(name: str) -> str:
    """Return a stored name as users write it, with ``.`` between module and parameter.

    >>> from ember.params import normalize_param_name
    >>> normalize_param_name("net$$$layer.weight")
    'net.layer.weight'
    """
    return name.replace(MODULE_NAMESPACE_DIVIDER, ".")
