"""Update rules as pure functions of tensors: one file a rule, each with its options, its state, ``init`` and ``update``."""
