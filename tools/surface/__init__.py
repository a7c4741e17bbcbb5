"""Pyro's public surface beside Ember's, name by name: ``make surface`` writes ``docs/surface.md``."""
