"""Looking at a model: its dependencies, its relations, and its drawing."""

from ember.structure.dependencies import get_dependencies as get_dependencies
from ember.structure.relations import TrackProvenance as TrackProvenance
from ember.structure.relations import get_model_relations as get_model_relations
from ember.structure.relations import is_sample_site as is_sample_site
from ember.structure.relations import site_is_deterministic as site_is_deterministic
from ember.structure.render import deep_merge
from ember.structure.render import generate_graph_specification as generate_graph_specification
from ember.structure.render import render_graph as render_graph
from ember.structure.render import render_model as render_model

# Pyro's name for it, which programs read.
_deep_merge = deep_merge

__all__ = [
    "generate_graph_specification",
    "get_dependencies",
    "get_model_relations",
    "render_graph",
    "render_model",
]
