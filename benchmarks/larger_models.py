"""What a step costs on models of the sizes that people fit, and how that grows: Ember beside NumPyro and C by hand.

The machinery and the options are those of ``benchmarks.compiled``. Guides are AutoNormal where the title names no
other; logistic regression 10,000 x 50 and the hidden Markov model have guides of their own. Whether the models are
the same is a question for ``benchmarks.same_models``.

    python -m benchmarks.larger_models [--quick] [--models gamma_poisson,item_response] [--contenders numpyro,hand-c]
                                       [--json results.json] [--show results.json]
"""

from __future__ import annotations

from benchmarks import compiled, larger_programs

MODELS = (
    *[name for name in larger_programs.PROGRAMS if name != "logistic_1_000_000"],
    *("logistic_regression", "hidden_markov", "scalar_sites_auto", "scalar_sites_auto_1000"),
    "logistic_1_000_000",
)
CONTENDERS = (
    *("numpyro", "numpyro-scan", "hand-c"),
    *("ember-native", "ember-native-run", "ember-inductor", "ember-inductor-run"),
)
# Inductor takes a minute a model: one small, one of many rows, one of matrix products.
INDUCTOR = ("gamma_poisson", "logistic_100_000", "bayesian_network_50")
PLAN = compiled.Plan(rounds=5, turn=0.2, compared=4, many=5000, limit=120, inductor=INDUCTOR)


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its tables."""
    compiled.main(argv, __doc__, MODELS, CONTENDERS, PLAN)


if __name__ == "__main__":
    main()
