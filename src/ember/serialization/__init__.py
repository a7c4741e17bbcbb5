"""Files that survive a crash and do not run foreign code: atomic save, safe load."""

from ember.serialization.loading import safe_load as safe_load
from ember.serialization.saving import atomic_save as atomic_save

__all__ = ["atomic_save", "safe_load"]
