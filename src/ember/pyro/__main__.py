"""``python -m ember.pyro``: run a program written for Pyro on Ember."""

from __future__ import annotations

import sys

from ember.pyro.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
