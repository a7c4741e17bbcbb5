"""A captured function over many rows in one call."""
