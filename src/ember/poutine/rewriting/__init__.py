"""Handlers that change which sites there are, and what those are."""
