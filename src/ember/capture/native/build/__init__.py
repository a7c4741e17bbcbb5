"""From C to a shared library: the compiler, and what it built before."""
