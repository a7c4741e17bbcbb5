"""Captured graphs as C: one translation unit, the loop over steps inside, compiled by the system's compiler."""

from ember.capture.native.torch_side import generator as generator
