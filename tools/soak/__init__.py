"""Rough treatment for hours: each scenario breaks things at random moments and looks whether its promise holds."""
