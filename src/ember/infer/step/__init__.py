"""A step of SVI: one function of tensors, run by Python, compiled, or many times in one call."""
