"""What stands between a call and torch: modes, autocast, transforms. Captured steps must notice when it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from ember.torch_private.entry import Entry, entry_point

Count = Callable[[], int]
At = Callable[[int], object]
Level = Callable[[], int | None]
Switch = Callable[[], AbstractContextManager[object]]

_UNSEEN = "nothing: without it a captured step would not notice a mode, so that steps run eagerly"


def _none() -> int:
    return 0


def _nothing(index: int) -> object:
    return None


def _maybe_some() -> int:
    """Somewhere within a transform, for all that is known."""
    return 0


@contextmanager
def _without_autocast() -> Iterator[None]:
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


def _is_whole(call: Count) -> bool:
    return isinstance(call(), int)


def _counts_modes(call: Count) -> bool:
    before = call()
    with torch.device("cpu"):
        return call() == before + 1


def _shows_modes(call: At) -> bool:
    mode = torch.device("cpu")
    with mode:
        return type(call(num_function_modes() - 1)).__name__ == "DeviceContext"


def _switches(switch: Switch) -> bool:
    with torch.autocast("cpu", dtype=torch.bfloat16), switch():
        return not torch.is_autocast_enabled("cpu")


num_function_modes: Count = entry_point(
    Entry[Count]("torch._C._len_torch_function_stack", _counts_modes, _none, _UNSEEN, needed=True)
)
function_mode_at: At = entry_point(
    Entry[At]("torch._C._get_function_stack_at", _shows_modes, _nothing, _UNSEEN, needed=True)
)
num_dispatch_modes: Count = entry_point(
    Entry[Count]("torch._C._len_torch_dispatch_stack", _is_whole, _none, _UNSEEN, needed=True)
)
transform_level: Level = entry_point(
    Entry[Level](
        "torch._C._functorch.maybe_current_level",
        lambda call: call() is None or isinstance(call(), int),
        _maybe_some,
        "values of lazy modules are not kept between calls, which is slower",
    )
)
"""How deep in vmap, grad and the like a call is; None outside of them."""

without_autocast: Switch = entry_point(
    Entry[Switch]("torch._C._DisableAutocast", _switches, _without_autocast, "torch.autocast(enabled=False)")
)
