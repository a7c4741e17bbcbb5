"""Whether what `ember.fit` says about its answers is right."""
