"""Loops and calls as the text of one C translation unit."""
