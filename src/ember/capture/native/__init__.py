"""Captured graphs as C: one translation unit, the loop over steps inside, compiled by the system's compiler."""
