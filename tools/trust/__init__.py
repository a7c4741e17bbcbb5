"""How far the verdict of a fit can be trusted, measured on densities whose answer is known."""
