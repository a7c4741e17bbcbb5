"""From a captured graph to values: one row an operator."""
