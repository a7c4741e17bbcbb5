"""Measure the house and compare with the budgets: ``python -m tools.house [--tighten] [NAME ...]``.

A number above its budget is an error. ``--tighten`` lowers the budgets to what stands today; nothing raises them but an editor.
Names of contracts show all the places that count.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from tools.house.measures import MEASURES, House

ROOT = Path(__file__).parent.parent.parent
BUDGETS = ROOT / "tools" / "budgets.toml"


def main(arguments: list[str]) -> int:
    """Print one line a contract; 1 if one is broken."""
    budgets: dict[str, float] = tomllib.loads(BUDGETS.read_text())
    house = House(ROOT / "src" / "ember")
    broken = False
    for name, measure in MEASURES.items():
        found = measure(house)
        over = found.number > budgets[name]
        broken |= over
        print(f"{'BROKEN' if over else 'kept  '} {name}: {found.number:g} (budget {budgets[name]:g})")
        if over or name in arguments:
            print(*(f"         {place}" for place in found.places), sep="\n")
        if "--tighten" in arguments and found.number < budgets[name]:
            tighten(name, found.number)
    return int(broken)


def tighten(name: str, number: float) -> None:
    """Write a lower number into the file of budgets, the rest as it is."""
    text = re.sub(rf"^{name} = \S+", f"{name} = {number:g}", BUDGETS.read_text(), flags=re.MULTILINE)
    BUDGETS.write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
