"""Fits every known answer over seeds and prints whether the verdicts were right.

``python -m tools.trust [--seeds 5] [--only NAME]``; fails if the word on a quantity vouches for a wrong number.
"""

from __future__ import annotations

import argparse
import sys

import torch
from tests.fit.known_answers import all_targets

from tools.trust.targets import HEAD, Row, fitted


def main() -> int:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", default="", help="targets whose name has this in it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(HEAD)
    rows: list[Row] = []
    for known in all_targets():
        if options.only in known.name:
            for seed in range(options.first, options.first + options.seeds):
                rows.append(fitted(known, seed))
                print(rows[-1], flush=True)
    count = max(len(rows), 1)
    right = sum(row.right for row in rows)
    false_ok = sum(row.errors.vouched > 0 for row in rows)
    met = sum(row.errors.all_met for row in rows)
    print(f"{count} fits: {right} verdicts right, {false_ok} false ok, {met} within 0.1 SD and 10 %")
    return int(false_ok > 0)


if __name__ == "__main__":
    sys.exit(main())
