"""Losses at the border to Python, and what happens to one that is not finite."""
