"""What a step costs under other objectives and with made guides, eager and compiled: Ember beside Pyro and NumPyro.

The machinery, and the options, are those of ``benchmarks.compiled``. NumPyro has no modules, and no enumeration without a further
package: there the mixture and the hidden Markov model are summed out by hand, and modules are functions.

    python -m benchmarks.guides_objectives [--quick] [--models mixture,belief_net] [--contenders pyro,ember,ember-native]
"""

from __future__ import annotations

from benchmarks import compiled, guide_programs, objective_programs, report

MODELS = (*guide_programs.PROGRAMS, *objective_programs.PROGRAMS)
CONTENDERS = tuple(name for name in report.HEADINGS if name.partition("-")[0] in ("pyro", "numpyro", "ember"))


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its tables."""
    compiled.main(argv, __doc__, MODELS, CONTENDERS)


if __name__ == "__main__":
    main()
