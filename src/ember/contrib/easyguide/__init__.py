"""Guides written by hand with automatic parts."""

from ember.contrib.easyguide.easyguide import EasyGuide as EasyGuide
from ember.contrib.easyguide.easyguide import easy_guide as easy_guide

__all__ = ["EasyGuide", "easy_guide"]
