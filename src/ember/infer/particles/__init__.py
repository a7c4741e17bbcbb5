"""Inference by many particles: moved together, filtered over time, weighed, or learned to be proposed."""
