"""The examples of Pyro 1.9.2: what each needs, and whether the drop-in offers it."""
