"""Tracking objects: their motion, measurements of it, and which detection is of which object."""
