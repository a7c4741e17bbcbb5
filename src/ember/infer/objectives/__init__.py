"""What a step minimises: one estimator a file."""
