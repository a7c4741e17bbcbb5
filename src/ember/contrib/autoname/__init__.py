"""Names of sites that are made, or counted, by the program's structure."""

from ember.contrib.autoname import named as named
from ember.contrib.autoname.autoname import autoname as autoname
from ember.contrib.autoname.autoname import sample as sample
from ember.contrib.autoname.scoping import name_count as name_count
from ember.contrib.autoname.scoping import scope as scope

__all__ = ["autoname", "name_count", "named", "sample", "scope"]
