"""Tests of ember.nn."""
