"""A variational auto-encoder on scikit-learn's 1,797 handwritten digits (Alpaydin and Kaynak, 1998).

A pixel is the number of inked dots in a block of 4 x 4, so it is modelled as what it is: binomial, 16 dots. Prints what the test
images cost, in nats, and draws some of them, their reconstructions, and digits that the model makes up.
"""

from __future__ import annotations

import argparse

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from tqdm import trange

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam

DOTS = 16
PIXELS, HIDDEN, LATENT = 64, 128, 8
BATCH = 128
SHOWN = 12


class Encoder(nn.Module):
    """Images to the mean and standard deviation of their latent codes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loc, log_scale = self.body(images / DOTS - 0.5).chunk(2, dim=-1)
        return loc, log_scale.exp()


class VAE:
    """Model and guide, which share the two networks."""

    def __init__(self) -> None:
        self.encoder = Encoder()
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))

    def model(self, images: torch.Tensor, size: int, rows: torch.Tensor) -> None:
        """A standard normal code for each image, and dots given the code.

        Args:
            images: all images.
            size: how many images the batch stands for.
            rows: the images of the batch.
        """
        ember.module("decoder", self.decoder)
        with ember.plate("images", size, subsample=rows) as chosen:
            code = ember.sample("code", dist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            dots = dist.Binomial(DOTS, logits=self.decoder(code)).to_event(1)
            ember.sample("dots", dots, obs=images[chosen])

    def guide(self, images: torch.Tensor, size: int, rows: torch.Tensor) -> None:
        """Normal codes, from the encoder."""
        ember.module("encoder", self.encoder)
        with ember.plate("images", size, subsample=rows) as chosen:
            ember.sample("code", dist.Normal(*self.encoder(images[chosen])).to_event(1))

    @torch.no_grad()
    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        """Expected dots at the mean of each image's code."""
        return DOTS * torch.sigmoid(self.decoder(self.encoder(images)[0]))

    @torch.no_grad()
    def make_up(self, count: int) -> torch.Tensor:
        """Expected dots for codes drawn from the prior."""
        return DOTS * torch.sigmoid(self.decoder(torch.randn(count, LATENT)))


def load(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Train and test images, each a row of 64 counts of dots."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images, test_size=0.2, stratify=labels, random_state=seed)
    train, test = (torch.tensor(part).float() for part in parts)
    return train, test


def fit(vae: VAE, images: torch.Tensor, test: torch.Tensor, epochs: int) -> list[float]:
    """Train by shuffled mini-batches; returns the test loss in nats an image before and after each epoch."""
    svi = SVI(vae.model, vae.guide, Adam({"lr": 3e-3}), Trace_ELBO())
    everyone = torch.arange(len(test))
    losses = [svi.evaluate_loss(test, len(test), everyone) / len(test)]
    progress = trange(epochs, desc="fitting", unit="epoch")
    for _ in progress:
        for rows in torch.randperm(len(images)).split(BATCH):
            svi.step(images, len(images), rows)
        losses.append(svi.evaluate_loss(test, len(test), everyone) / len(test))
        progress.set_postfix(test=f"{losses[-1]:.1f}")
    return losses


def pixelwise_loss(train: torch.Tensor, test: torch.Tensor) -> float:
    """Nats an image for pixels that are independent, each with its own rate: what the latent code must beat."""
    rates = (train.sum(0) + 1) / (DOTS * len(train) + 2)
    return -dist.Binomial(DOTS, rates).log_prob(test).sum(-1).mean().item()


def draw(rows: dict[str, torch.Tensor], title: str, path: str) -> None:
    """One row of images for each entry, with its name at the left."""
    figure = Figure(figsize=(SHOWN * 0.75 + 1.5, len(rows) * 0.8 + 0.5), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(len(rows), SHOWN)
    for axes_row, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(image.reshape(8, 8).numpy(), cmap="gray_r", vmin=0, vmax=DOTS)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_linewidth(0.3)
        axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.savefig(path)


def main(epochs: int, seed: int, output: str) -> None:
    """Fit, report on the test images, and save the picture."""
    ember.set_rng_seed(seed)
    ember.clear_param_store()
    train, test = load(seed)
    print(f"images: {len(train)} train, {len(test)} test")

    vae = VAE()
    losses = fit(vae, train, test, epochs)
    error = (vae.reconstruct(test) - test).abs().mean().item()
    flat = (train.mean(0) - test).abs().mean().item()
    print(f"test loss at the start  {losses[0]:7.1f} nats an image")
    print(f"test loss at the end    {losses[-1]:7.1f} nats an image")
    print(f"independent pixels      {pixelwise_loss(train, test):7.1f} nats an image")
    print(f"reconstruction is off by {error:.2f} of 16 dots a pixel, the mean image by {flat:.2f}")

    rows = {
        "test image": test[:SHOWN],
        "reconstruction": vae.reconstruct(test[:SHOWN]),
        "made up": vae.make_up(SHOWN),
    }
    title = f"Variational auto-encoder on digits: {losses[-1]:.1f} nats a test image after {epochs} epochs"
    draw(rows, title, output)
    print(f"pictures: {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="digits.png")
    options = parser.parse_args()
    main(options.epochs, options.seed, options.output)
