"""Tests of ember.optim."""
