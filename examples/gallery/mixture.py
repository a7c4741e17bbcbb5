"""# A mixture with unknown labels: which bottles come from the same kind of grape?

**Question.** The labels of 178 bottles of wine are lost (Forina and others, 1991; shipped with
scikit-learn). Three chemical measurements of each are left. Which bottles belong together, and for which
of them should one ask a taster?

**Model.** Each bottle is of one of three kinds. Each kind has a mean and a spread for each measurement.
The kind of a bottle is a discrete unknown: Ember sums it out while it fits, and gives its probabilities
afterwards.

A mixture does not change when its kinds change places, so a posterior has one copy for each order of the
kinds. Here the kinds are sorted by their flavanoids, and one copy is left.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_wine
from sklearn.metrics import adjusted_rand_score, confusion_matrix

import ember
import ember.distributions as dist

wine = load_wine(as_frame=True)
columns = ["flavanoids", "proline", "color_intensity"]
x = torch.tensor(wine.data[columns].to_numpy()).float().log()
x = (x - x.mean(0)) / x.std(0)

# %%
# A vector that increases is drawn by its first entry and the logarithms of the gaps.


def mixture(x, kinds):
    share = ember.sample("share", dist.Dirichlet(torch.full((kinds,), 4.0)))
    increasing = dist.transforms.OrderedTransform()
    start = dist.Normal(torch.tensor([-1.5] + [0.0] * (kinds - 1)), 0.7).to_event(1)
    flavanoids = ember.sample("flavanoids", dist.TransformedDistribution(start, [increasing]))
    with ember.plate("kinds", kinds):
        others = ember.sample("others", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        spread = ember.sample("spread", dist.LogNormal(torch.full((3,), -0.7), 0.5).to_event(1))
    mean = torch.cat([flavanoids[:, None], others], -1)
    with ember.plate("bottles", len(x)):
        kind = ember.sample("kind", dist.Categorical(share))
        ember.sample("x", dist.Normal(mean[kind], spread[kind]).to_event(1), obs=x)


fit = ember.fit(mixture, x, 3, seed=0, budget=300, progress=False)
print(fit)

# %%
# **The verdict** is ok. Because the kinds are sorted, there is one mode; the spreads are skewed, so that a
# mixture of normals was needed to draw from the posterior.
#
# `ember.assign` gives the probability of each kind for each bottle, averaged over the posterior.

kinds = ember.assign(fit, "kind")
print(kinds)
agreement = adjusted_rand_score(wine.target, kinds.values)
print(f"agreement with the true cultivars: {agreement:.2f} (1 is perfect, 0 is chance)")

# %%
# **How many kinds?** Leave-one-out cross-validation compares two kinds with three. A kind of the second fit
# is a union.

fits = {"two": ember.fit(mixture, x, 2, seed=0, budget=300, progress=False), "three": fit}
print(f"two kinds: {fits['two'].verdict.status}")
print(ember.compare(fits))

# %%
# **Decision.** Bottles whose most probable kind has less than 90 % go to the taster. The errors are among
# them, if the probabilities are worth their name.

unsure = kinds.certainty < 0.9
cultivars = torch.tensor(wine.target.to_numpy())
names = torch.tensor(confusion_matrix(cultivars, kinds.values).argmax(0))  # of each kind, its commonest
wrong = names[kinds.values] != cultivars
print(f"to the taster: {unsure.sum()} bottles, of which {(wrong & unsure).sum()} are labelled wrongly")
print(f"labelled at once: {(~unsure).sum()} bottles, of which {(wrong & ~unsure).sum()} are labelled wrongly")

figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), dpi=130, layout="constrained", sharey=True)
for place, other in zip(axes, (1, 2), strict=True):
    for k, color in zip(range(3), ("tab:red", "tab:blue", "tab:green"), strict=True):
        mine = (kinds.values == k) & ~unsure
        place.plot(x[mine, other], x[mine, 0], ".", color=color, label=f"kind {k}")
    place.plot(x[unsure, other], x[unsure, 0], "o", mfc="none", color="black", label="to the taster")
    place.set_xlabel(f"{columns[other].replace('_', ' ')}, standardised logarithm")
axes[0].set_ylabel("flavanoids, standardised logarithm")
axes[0].legend(frameon=False, fontsize=9)
figure.savefig("bottles.png")
