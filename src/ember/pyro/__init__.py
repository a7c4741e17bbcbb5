"""The drop-in: programs written for Pyro run on Ember without a change.

From a shell, ``python -m ember.pyro script.py`` (or ``-m MODULE``, or ``-c CODE``) runs a program in which
``import pyro`` and every path below it is Ember. From Python, :func:`install` does the same for the running
process and for the processes that it starts; :func:`uninstall` takes it back.

    >>> import ember.pyro
    >>> with ember.pyro.installed():
    ...     import pyro
    ...     pyro.__name__
    'ember'
"""

from __future__ import annotations

from ember.pyro.switch import EMULATED_VERSION as EMULATED_VERSION
from ember.pyro.switch import install as install
from ember.pyro.switch import installed as installed
from ember.pyro.switch import is_installed as is_installed
from ember.pyro.switch import uninstall as uninstall

__all__ = ["EMULATED_VERSION", "install", "installed", "is_installed", "uninstall"]
