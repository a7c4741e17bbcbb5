"""All that Ember takes from torch beside what torch promises to keep, in one file for each purpose.

Each name is an :class:`~ember.torch_private.entry.Entry`: it is looked up and tried when Ember is imported. Where torch lacks it,
or it answers in another way, something public takes its place, and ``python -m ember`` says so. Inductor has a file of its own,
``ember/capture/inductor.py``, which goes by :func:`torch.compile` where its direct way is gone.
"""

from ember.torch_private.entry import ENTRIES as ENTRIES
from ember.torch_private.entry import LOSSES as LOSSES
from ember.torch_private.entry import Entry as Entry
from ember.torch_private.entry import Loss as Loss
from ember.torch_private.entry import missing_for_capture as missing_for_capture
