"""Parameters: the store, and the names of parameters that belong to modules."""

from ember.params.names import module_from_param_with_module_name as module_from_param_with_module_name
from ember.params.names import normalize_param_name as normalize_param_name
from ember.params.names import param_with_module_name as param_with_module_name
from ember.params.names import user_param_name as user_param_name
from ember.params.param_store import ParamStoreDict as ParamStoreDict
from ember.params.param_store import clear_param_store as clear_param_store
from ember.params.param_store import get_param_store as get_param_store

__all__ = [
    "ParamStoreDict",
    "clear_param_store",
    "get_param_store",
    "module_from_param_with_module_name",
    "normalize_param_name",
    "param_with_module_name",
    "user_param_name",
]
