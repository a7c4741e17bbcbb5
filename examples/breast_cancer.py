"""Benign or malignant? Bayesian logistic regression on 569 real patients, fitted by mini-batches.

The data (Wolberg, Street and Mangasarian, 1995) comes with scikit-learn: thirty measurements of cell nuclei a patient. Three
fifths of the patients train, a fifth validates while training, and the last fifth is looked at once, at the end.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from tqdm import trange

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam

EVERY, EVALUATIONS = 25, 4
DRAWS = 1000


class Patients(NamedTuple):
    """Standardised measurements, and 1 for a benign tumour."""

    x: torch.Tensor
    y: torch.Tensor


def load(seed: int) -> tuple[Patients, Patients, Patients]:
    """Train, validation and test patients; the scale of the measurements is learnt from the first only."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_rest, y_train, y_rest = train_test_split(x, y, test_size=0.4, stratify=y, random_state=seed)
    halves = train_test_split(x_rest, y_rest, test_size=0.5, stratify=y_rest, random_state=seed)
    mean, std = x_train.mean(0), x_train.std(0)
    parts = [(x_train, y_train), (halves[0], halves[2]), (halves[1], halves[3])]
    train, validation, test = (
        Patients(torch.tensor((x - mean) / std).float(), torch.tensor(y).float()) for x, y in parts
    )
    return train, validation, test


def model(data: Patients, size: int, batch: int | None = None, rows: torch.Tensor | None = None) -> None:
    """Logistic regression under a standard normal prior.

    Args:
        data: patients to choose from.
        size: how many patients the likelihood stands for.
        batch: how many patients to draw from ``data`` in this step.
        rows: the patients to take, if they are not to be drawn.
    """
    features = data.x.shape[1]
    weights = ember.sample("weights", dist.Normal(torch.zeros(features), 1.0).to_event(1))
    bias = ember.sample("bias", dist.Normal(0.0, 1.0))
    with ember.plate("patients", size, subsample_size=batch, subsample=rows) as chosen:
        logits = data.x[chosen] @ weights + bias
        ember.sample("benign", dist.Bernoulli(logits=logits), obs=data.y[chosen])


def guide(
    data: Patients, size: int, batch: int | None = None, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Independent normals for all weights and the bias; returns the values drawn."""
    features = data.x.shape[1]
    loc = ember.param("weights_loc", torch.zeros(features))
    scale = ember.param("weights_scale", torch.full((features,), 0.1), constraint=constraints.positive)
    bias_loc = ember.param("bias_loc", torch.tensor(0.0))
    bias_scale = ember.param("bias_scale", torch.tensor(0.1), constraint=constraints.positive)
    weights = ember.sample("weights", dist.Normal(loc, scale).to_event(1))
    return weights, ember.sample("bias", dist.Normal(bias_loc, bias_scale))


class Curves(NamedTuple):
    """Losses in nats a patient: of every step, and of every so many on the patients that validate."""

    train: list[float]
    validation_steps: list[int]
    validation: list[float]


def fit(train: Patients, validation: Patients, steps: int, batch: int) -> Curves:
    """Train the guide; both losses stand for as many patients as there are in ``train``, so they compare."""
    size = len(train.y)
    everyone = torch.arange(len(validation.y))
    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO())
    curves = Curves([], [], [])
    progress = trange(1, steps + 1, desc="fitting", unit="step")
    for step in progress:
        curves.train.append(svi.step(train, size, batch) / size)
        if step % EVERY == 0:
            # One evaluation is one draw from the guide; a few of them make a steadier curve.
            losses = [svi.evaluate_loss(validation, size, rows=everyone) for _ in range(EVALUATIONS)]
            loss = sum(losses) / EVALUATIONS / size
            curves.validation_steps.append(step)
            curves.validation.append(loss)
            progress.set_postfix(train=f"{curves.train[-1]:.3f}", validation=f"{loss:.3f}")
    return curves


@torch.no_grad()
def predict(x: torch.Tensor) -> torch.Tensor:
    """The posterior predictive probability of a benign tumour: an average over draws from the guide."""
    everyone = Patients(x, x.new_zeros(len(x)))
    draws = [guide(everyone, len(x)) for _ in range(DRAWS)]
    weights, bias = (torch.stack(values) for values in zip(*draws, strict=True))
    return torch.sigmoid(x @ weights.T + bias).mean(-1)


def score(probability: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Accuracy, and log-likelihood a patient."""
    accuracy = ((probability > 0.5) == y.bool()).float().mean().item()
    return accuracy, dist.Bernoulli(probability).log_prob(y).mean().item()


def smooth(values: list[float], width: int) -> tuple[list[int], list[float]]:
    """Means over a sliding window, and the step at which each window ends."""
    means = torch.tensor(values).unfold(0, min(width, len(values)), 1).mean(-1)
    return list(range(len(values) - len(means) + 1, len(values) + 1)), means.tolist()


def draw(curves: Curves, title: str, path: str) -> None:
    """Both loss curves in one figure."""
    figure = Figure(figsize=(7.5, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    steps = range(1, len(curves.train) + 1)
    axes.plot(steps, curves.train, color="tab:blue", alpha=0.2, linewidth=0.6, label="train, each mini-batch")
    axes.plot(*smooth(curves.train, 50), color="tab:blue", label="train, mean of 50 steps")
    axes.plot(curves.validation_steps, curves.validation, color="tab:orange", label="validation")
    axes.set(xlabel="step", ylabel="negative ELBO (nats a patient)", yscale="log")
    axes.set_xlim(0, len(curves.train))
    axes.set_yticks([0.05, 0.1, 0.2, 0.5, 1.0], ["0.05", "0.1", "0.2", "0.5", "1"])
    axes.minorticks_off()
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.legend(frameon=False)
    figure.savefig(path)


def main(steps: int, batch: int, seed: int, output: str) -> None:
    """Fit, report on the held-out patients, and save the curves."""
    ember.set_rng_seed(seed)
    ember.clear_param_store()
    train, validation, test = load(seed)
    print(f"patients: {len(train.y)} train, {len(validation.y)} validate, {len(test.y)} test")

    curves = fit(train, validation, steps, batch)
    print(f"negative ELBO: train {smooth(curves.train, 50)[1][-1]:.3f} nats a patient")
    if curves.validation:
        print(f"negative ELBO: validation {curves.validation[-1]:.3f} nats a patient")

    accuracy, log_likelihood = score(predict(test.x), test.y)
    plain = LogisticRegression().fit(train.x, train.y).predict_proba(test.x)[:, 1]
    plain_scores = score(torch.tensor(plain).float(), test.y)
    base_scores = score(train.y.mean().expand(len(test.y)), test.y)
    print("on test patients         accuracy   log-likelihood a patient")
    print(f"Ember                    {accuracy:8.3f}   {log_likelihood:8.3f}")
    print(f"scikit-learn's estimate  {plain_scores[0]:8.3f}   {plain_scores[1]:8.3f}")
    print(f"always the base rate     {base_scores[0]:8.3f}   {base_scores[1]:8.3f}")

    draw(curves, f"Breast cancer, Bayesian logistic regression: held-out accuracy {accuracy:.3f}", output)
    print(f"curves: {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="elbo.png")
    options = parser.parse_args()
    main(options.steps, options.batch, options.seed, options.output)
