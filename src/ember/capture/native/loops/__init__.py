"""Which loops compute the values, in which order, and where they lie in memory."""
