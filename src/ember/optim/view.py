"""``optim_objs``: the torch optimizer of each parameter, made when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from torch import Tensor

from ember.optim.records import Record, Records


class OptimizerView(MutableMapping[Tensor, Any]):
    """The mapping ``optim_objs``: from unconstrained leaf to its torch optimizer, or its scheduler.

    What is changed there, options or state, counts at the next step, eager or compiled; deleting an entry makes the optimizer
    forget the parameter.
    """

    def __init__(self, records: Records, on_removal: Callable[[], object]) -> None:
        self._records = records
        self._on_removal = on_removal

    def _record(self, param: Tensor, otherwise: str) -> Record:
        record = self._records.get(param)
        if record is None:
            raise KeyError(otherwise)
        self._records.hand_out(record)
        return record

    def __getitem__(self, param: Tensor) -> Any:
        return self._record(
            param,
            "this optimizer has not stepped that tensor; keys are unconstrained leaves, "
            "such as param('x').unconstrained()",
        ).shown

    def __setitem__(self, param: Tensor, shown: Any) -> None:
        self._record(param, "only the entry of a parameter that has been stepped can be replaced").show(shown)

    def __delitem__(self, param: Tensor) -> None:
        self._record(param, "this optimizer has not stepped that tensor")
        self._records.remove(param)
        self._on_removal()

    def __contains__(self, param: object) -> bool:
        return isinstance(param, Tensor) and self._records.get(param) is not None

    def __iter__(self) -> Iterator[Tensor]:
        return iter([record.param for record in self._records])

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.items())})"
