"""The parts of an update that is recorded in a graph: which parameters go together, and what is done to them."""
