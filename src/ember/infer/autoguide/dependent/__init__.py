"""Guides whose sites depend on each other as the model says."""
