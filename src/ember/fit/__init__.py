"""The right answer by default, or a plain word that it is not."""
