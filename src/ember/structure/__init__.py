"""What a model looks like: sites, plates, dependencies, drawings."""
