"""# Networks: few labels, many images

**Question.** A post office has 1,397 images of digits and somebody's time to label 200 of them (Alpaydin
and Kaynak, 1998; shipped with scikit-learn). Do the images without labels help? And which images should a
machine leave to a person?

**Model.** Two networks, trained one after the other. A *variational auto-encoder* learns without labels:
each image comes from a code of 12 numbers, with standard normal prior, through a network. A *Bayesian
network* then learns the labels from the codes. It has a prior on each weight, and predicts by an average
over the posterior, so that it can say how sure it is.
"""

import sys

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import nn

import ember
import ember.distributions as dist
from ember.infer import SVI, Predictive, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam

ember.set_rng_seed(0)
pixels, digits = (torch.tensor(part) for part in load_digits(return_X_y=True))
halves = train_test_split(pixels.float(), digits, test_size=400, random_state=0, stratify=digits)
images, test_images, labels, test_labels = halves
labelled = slice(0, 200)
CODE, DOTS = 12, 16
EPOCHS, STEPS = (2, 50) if "--small" in sys.argv else (80, 2000)

# %%
# **The auto-encoder.** A pixel counts the inked dots in a block of 4 x 4, so it is binomial. `svi.fit` cuts
# the images into batches, and scales each batch to stand for all of them.

decoder = nn.Sequential(nn.Linear(CODE, 128), nn.ReLU(), nn.Linear(128, 64))
encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2 * CODE))


def drawn(images):
    ember.module("decoder", decoder)
    with ember.plate("images", len(images)):
        code = ember.sample("code", dist.Normal(torch.zeros(CODE), 1.0).to_event(1))
        ember.sample("dots", dist.Binomial(DOTS, logits=decoder(code)).to_event(1), obs=images)


def coded(images):
    ember.module("encoder", encoder)
    with ember.plate("images", len(images)):
        mean, log_scale = encoder(images / DOTS - 0.5).chunk(2, -1)
        ember.sample("code", dist.Normal(mean, log_scale.exp()).to_event(1))


svi = SVI(drawn, coded, Adam({"lr": 3e-3}), Trace_ELBO(), param_store="own")
result = svi.fit(images, epochs=EPOCHS, batch_size=128, validation=test_images, progress=False)
first, last = (loss / len(images) for _, loss in (result.validation[0], result.validation[-1]))
print(f"test: {first:.1f} nats an image after an epoch, {last:.1f} after {result.epochs}")

# %%
# **The Bayesian network.** One hidden layer. The same program learns from pixels, for comparison.


def reading(x, label=None, hidden=16):
    first = ember.sample("first", dist.Normal(torch.zeros(x.shape[1] + 1, hidden), 1.0).to_event(2))
    second = ember.sample("second", dist.Normal(torch.zeros(hidden + 1, 10), 1.0).to_event(2))
    layer = torch.tanh(2 * x @ first[1:] / x.shape[1] ** 0.5 + first[0])
    logits = layer @ second[1:] / hidden**0.5 * 4 + second[0]
    with ember.plate("readings", len(x)):
        ember.sample("label", dist.Categorical(logits=logits), obs=label)
    return logits


with torch.no_grad():
    codes, test_codes = (encoder(each / DOTS - 0.5)[:, :CODE] for each in (images, test_images))
    made_up = DOTS * torch.sigmoid(decoder(torch.randn(12, CODE)))
probs = {}
for name, x, new in (("pixels", images / 8 - 1, test_images / 8 - 1), ("codes", codes, test_codes)):
    guide = AutoNormal(reading, init_scale=0.05)
    svi = SVI(reading, guide, Adam({"lr": 0.01}), Trace_ELBO(), param_store="own")
    svi.fit((x[labelled], labels[labelled]), steps=STEPS, progress=False)
    verdict = svi.verdict(x[labelled], labels[labelled])
    draw = Predictive(svi, num_samples=200, return_sites=["_RETURN"], by_rows=True)
    probs[f"Bayesian network, {name}"] = draw(new)["_RETURN"].softmax(-1).mean(0)
    plain = LogisticRegression(max_iter=2000).fit(x[labelled], labels[labelled])
    probs[f"logistic regression, {name}"] = torch.tensor(plain.predict_proba(new))
print(verdict)

# %%
# **The verdict** is about the weights of the network: not converged, with a k-hat far above 0.7. A guide of
# independent normals is no match for the posterior of a network, in which hidden units can change places.
# So no single weight means anything, and the predictions are judged by images that were held out.

print(f"{'400 test images':30} accuracy  nats an image")
for name, p in probs.items():
    right = (p.argmax(-1) == test_labels).double().mean()
    print(f"{name:30} {right:8.3f}  {dist.Categorical(p).log_prob(test_labels).mean():13.3f}")

# %%
# **What helped?** The codes help the Bayesian network, which then has a third of the weights to learn. They
# do not help logistic regression: from pixels it is as often right, and nearer in nats. The network is too
# unsure of itself, as a guide without correlations leaves weights that the labels say little about at their
# prior.
#
# **Decision.** For reading alone, logistic regression from pixels will do. The network's certainty sorts
# the images well all the same: the machine reads those of which it is most sure, and leaves the rest to a
# person.

p = probs["Bayesian network, codes"]
sure, guess = p.max(-1)
order = sure.argsort(descending=True)
right = (guess == test_labels)[order].double()
for part in (0.5, 0.7, 0.9, 1.0):
    print(f"reads {part:.0%}: {right[: int(part * len(right))].mean():.3f} of these right")

rows = {"surest": test_images[order[:12]], "left to a person": test_images[order[-12:]], "made up": made_up}
figure, grid = plt.subplots(3, 12, figsize=(8, 2.2), dpi=130, layout="constrained")
for axes_row, (name, shown) in zip(grid, rows.items(), strict=True):
    for axes, image in zip(axes_row, shown, strict=True):
        axes.imshow(image.reshape(8, 8).numpy(), cmap="gray_r", vmin=0, vmax=DOTS)
        axes.set(xticks=[], yticks=[])
    axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
figure.savefig("digits.png")
