"""What is said of a graph that cannot become a program."""

from __future__ import annotations


class UnsupportedError(Exception):
    """Internal: a graph has something for which no C is written; the text says what."""
