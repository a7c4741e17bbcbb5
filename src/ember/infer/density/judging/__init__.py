"""Whether the numbers of a fit, or of a guide, can be used."""
