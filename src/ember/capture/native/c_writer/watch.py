"""The data from which values are computed once: compared with copies, to see that they are the same."""

from __future__ import annotations

from ember.capture.native.loops.structure import Placed

MOST_COPIED = 2**26
"""Bytes of data of which copies are kept."""
# The copies come after a word that says whether there are any.
_HEAD_BYTES = 64
_PREPARE = """\
char *const W = P[WATCHED];
    if (!unchanged(W, P)) {
        *(int64_t *)W = 0;
        prepare(A, P, g, &failed, E, 0, 0);
        if (failed) return failed;
        note(W, P);
    }"""


class Watch:
    """What is written in C for the data of a program."""

    def __init__(self, placed: Placed) -> None:
        schedule = placed.schedule
        before = schedule.before
        self.kept: tuple[int, ...] = ()
        self.bytes = 0
        self.pointer = len(schedule.pointers)
        """The number of the pointer to the copies, which comes last."""
        self._data: list[tuple[int, int, int]] = []
        """Which inputs, how many bytes, and where their copies lie."""
        self._is_compared = True
        self._prepares = before is not None
        if before is None:
            return
        self.kept = tuple(old.extent * old.dtype.itemsize for old in before.filled)
        at = _HEAD_BYTES
        for old in sorted(before.read(), key=lambda old: old.index):
            size = old.extent * old.dtype.itemsize
            self._data.append((old.index, size, at))
            at += -(-size // _HEAD_BYTES) * _HEAD_BYTES
        self._is_compared = at <= MOST_COPIED
        self.bytes = at if self._is_compared else _HEAD_BYTES

    def statements(self) -> str:
        """What comes before the loop over steps."""
        return _PREPARE.replace("WATCHED", str(self.pointer)) if self._prepares else ""

    def functions(self) -> list[str]:
        """``unchanged`` and ``note``; where copies would take too much memory, data count as changed in every call."""
        if not self._prepares:
            return []
        data = self._data if self._is_compared else []
        same = " && ".join(
            ["*(int64_t *)W", *(f"!memcmp(W + {at}, P[{index}], {size})" for index, size, at in data)]
        )
        copied = "".join(f"    memcpy(W + {at}, P[{index}], {size});\n" for index, size, at in data)
        noted = f"    *(int64_t *)W = {int(self._is_compared)};\n"
        return [
            f"static int unchanged(const char *W, void *const *P) {{ return {same}; }}",
            f"static void note(char *W, void *const *P) {{\n{copied}{noted}}}",
            "",
        ]
