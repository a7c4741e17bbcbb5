"""# A Gaussian process for quantiles: what does a household need for food?

**Question.** Engel (1857) noted the income and the food bill of 235 Belgian working households (shipped
with statsmodels). A relief fund wants to cover the food of nine in ten households, whatever their income.
How much is that?

The mean does not answer it: rich households differ much more from each other than poor ones. *Quantile
regression* models the median and the 90 % line themselves.

**Model.** A quantile is a straight line in income, plus a Gaussian process of its logarithm for what is
not straight. Data lie around the curve by an asymmetric Laplace distribution, whose mode is its quantile
(Yu and Moyeed, 2001). It stands for the score by which quantiles are judged, not for how food bills come
about: intervals of the curves are rough (Yang, Wang and He, 2016).
"""

import matplotlib.pyplot as plt
import torch
from sklearn.metrics import mean_pinball_loss
from statsmodels.datasets import engel
from statsmodels.regression.quantile_regression import QuantReg

import ember
import ember.distributions as dist
from ember.contrib.hsgp import hsgp_squared_exponential
from ember.infer import Predictive

frame = engel.load_pandas().data.sort_values("income")
income, food = torch.tensor(frame.to_numpy()).float().T / 100
x = income.log()
x = (x - (x.min() + x.max()) / 2) / x.std()
held_out = torch.arange(len(x)) % 4 == 1
LEVELS = {"one in ten": 0.1, "half": 0.5, "nine in ten": 0.9}

# %%
# A Gaussian process of one input is nearly a sum of a few sines with independent normal weights (Solin and
# Särkkä, 2020). So there are 12 unknowns instead of 238. Its length is one standard deviation of the
# logarithm of income; how far it bends away from the line is learnt.


def curve(income, x, level, food=None):
    height = ember.sample("height", dist.Normal(1.0, 1.0))
    slope = ember.sample("slope", dist.Normal(0.5, 0.3))
    bend = ember.sample("bend", dist.LogNormal(-0.7, 0.35))
    spread = ember.sample("spread", dist.LogNormal(-1.5, 0.7))
    line = height + slope * income + hsgp_squared_exponential(x, bend**2, 1.0, ell=4.3, m=8)
    asymmetry = (level / (1 - level)) ** 0.5
    with ember.plate("households", len(x)):
        ember.sample("food", dist.AsymmetricLaplace(line, spread, asymmetry), obs=food)
    return line


fits = {
    name: ember.fit(
        curve, income[~held_out], x[~held_out], tau, food[~held_out], seed=0, budget=300, progress=False
    )
    for name, tau in LEVELS.items()
}
for name, fit in fits.items():
    print(f"{name}: {fit.verdict.status}, {fit.seconds:.1f} s")
print(fit)

# %%
# **The verdict** is ok for the first two curves. For nine in ten it is `means only`: the curve itself can
# be used, and how wide its posterior is cannot. The density has corners, at each household, and how far the
# curve bends depends on the weights of the sines; that is harder than it looks, and takes most of the
# families that Ember has.
#
# **Held out.** A curve for nine in ten should have nine in ten of the new households below it. The *pinball
# loss* scores a quantile, in hundreds of francs. The rival is a straight line in income, by statsmodels.

print("             below the curve   pinball loss   straight line")
curves, ones = {}, torch.ones(len(income))
for name, tau in LEVELS.items():
    curves[name] = Predictive(fits[name], return_sites=["_RETURN"], by_rows=True)(income, x, tau)["_RETURN"]
    lines = torch.stack([ones, income], -1).double().numpy()
    straight = QuantReg(food[~held_out].double().numpy(), lines[~held_out]).fit(tau).predict(lines)
    curved = curves[name].mean(0)[held_out]
    below = (food[held_out] < curved).float().mean()
    losses = (mean_pinball_loss(food[held_out], guess, alpha=tau) for guess in (curved, straight[held_out]))
    print(f"{name:12} {below:15.2f}   {next(losses):12.3f}   {next(losses):13.3f}")

# %%
# **Decision.** The shares below the curves are right. The bends pay for one in ten alone: for the other
# two, Engel's straight line predicts new households better, and a fund may as well use that. Where both
# agree, below an income of some 2,000 francs, the sums below are what it pays. The band around the red
# curve is the one that the verdict does not vouch for.

figure, axes = plt.subplots(figsize=(7.5, 4.5), dpi=130, layout="constrained")
axes.plot(income[~held_out] * 100, food[~held_out] * 100, ".", color="0.6", label="households")
axes.plot(income[held_out] * 100, food[held_out] * 100, "x", color="0.6", markersize=5, label="held out")
for name, color in zip(LEVELS, ("tab:blue", "black", "tab:red"), strict=True):
    low, high = (100 * curves[name]).quantile(torch.tensor([0.05, 0.95]), dim=0)
    axes.fill_between(income * 100, low, high, color=color, alpha=0.25, linewidth=0)
    axes.plot(income * 100, 100 * curves[name].mean(0), color=color, label=f"enough for {name}")
axes.set(xscale="log", xlabel="income, francs a year", ylabel="food, francs a year", ylim=(0, 2200))
axes.legend(frameon=False)
figure.savefig("food.png")
for each in (500, 1000, 2000):
    at = (income * 100 - each).abs().argmin()
    print(f"income {each}: {100 * curves['nine in ten'][:, at].mean():.0f} francs are enough for nine in ten")
