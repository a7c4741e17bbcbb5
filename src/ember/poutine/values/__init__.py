"""Handlers that say what value a site has, or from which run it comes."""
