"""What every automatic guide rests on: the prototype run, where sites start, their way to unconstrained space."""
