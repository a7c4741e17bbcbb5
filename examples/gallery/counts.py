"""# Counts with exposures: where is mortality really higher?

**Question.** Between 1950 and 1960, breast cancer killed some women in each of 301 counties of three
southern states (Rice, 1995; shipped with statsmodels). Health officers can visit a few counties. Which
ones?

A ranking by deaths per woman puts small counties at both ends: where 500 women live, one death more
doubles the rate. That is chance, and the model must know it.

**Model.** The expected count is the county's number of women times its own rate. Rates scatter around a
common one by a gamma distribution. A gamma mixture of Poissons is negative binomial, so the 301 rates
need not be drawn: two unknowns are left, and each rate comes back at the end, as a gamma again.
"""

import matplotlib.pyplot as plt
import torch
from statsmodels.datasets import cancer

import ember
import ember.distributions as dist

frame = cancer.load_pandas().data
deaths = torch.tensor(frame["cancer"].to_numpy()).float()
women = torch.tensor(frame["population"].to_numpy()).float()
print(f"{len(frame)} counties, {women.min():.0f} to {women.max():.0f} women, {deaths.sum():.0f} deaths")

# %%
# Two models of the same counts. `same` says that all counties share one rate. `differ` has a spread: the
# standard deviation of the counties' rates, as a fraction of the common one.


def same(women, deaths=None):
    log_rate = ember.sample("log_rate", dist.Normal(-6.0, 2.0))
    with ember.plate("counties", len(women)):
        ember.sample("deaths", dist.Poisson(women * log_rate.exp()), obs=deaths)


def differ(women, deaths=None):
    log_rate = ember.sample("log_rate", dist.Normal(-6.0, 2.0))
    spread = ember.sample("spread", dist.HalfNormal(0.5))
    shape = spread**-2
    with ember.plate("counties", len(women)):
        ember.sample("deaths", dist.GammaPoisson(shape, shape / (women * log_rate.exp())), obs=deaths)


plain = ember.fit(same, women, deaths, seed=0, budget=300, progress=False)
fit = ember.fit(differ, women, deaths, seed=0, budget=300, progress=False)
print(fit)
print(f"one rate for all: {plain.verdict.status}")

# %%
# Both verdicts are ok: the numbers of both posteriors can be used. Which *model* fits the counties is
# another question. Leave-one-out cross-validation predicts each county from the others, and compares the
# log probability.

comparison = ember.compare({"same": plain, "differ": fit})
print(comparison)

# %%
# The spread pays. Given a draw of the two unknowns and the county's deaths, its rate is a gamma again: add
# the deaths to the shape, and the women to the rate.

shape = fit.draws["spread"][:, None] ** -2
common = fit.draws["log_rate"][:, None].exp()
rates = 1000 * dist.Gamma(shape + deaths, shape / common + women).sample()
excess = (rates > 1.1 * 1000 * common).float().mean(0)
raw = 1000 * deaths / women
visit = excess > 0.95
order = excess.argsort(descending=True)
top = raw.argsort(descending=True)[:10]
print("county   women  deaths  raw rate  rate  chance of 10 % above the common rate")
for i in order[:10].tolist():
    print(
        f"{i:6}  {women[i]:6.0f}  {deaths[i]:6.0f}  {raw[i]:8.2f}  {rates[:, i].mean():4.2f}  {excess[i]:.2f}"
    )
print(f"to visit: {visit.sum()} counties; among the ten with the highest raw rates: {visit[top].sum()}")
print(f"women in these ten: {women[top].median():.0f} in the median, against {women.median():.0f} in all")

figure, axes = plt.subplots(figsize=(7.5, 4.5), dpi=130, layout="constrained")
middle, (low, high) = rates.mean(0), rates.quantile(torch.tensor([0.05, 0.95]), dim=0)
axes.plot(women, raw, ".", color="0.7", label="raw rate")
axes.errorbar(
    women[visit],
    middle[visit],
    [(middle - low)[visit], (high - middle)[visit]],
    fmt="o",
    color="tab:red",
    label="rate and 90 % interval, worth a visit",
)
axes.plot(women[~visit], middle[~visit], ".", color="tab:blue", label="rate, others")
axes.axhline(1000 * common.mean(), color="black", linewidth=0.8)
axes.set(xscale="log", xlabel="women in the county", ylabel="deaths per 1,000 women", ylim=(0, 9))
axes.legend(frameon=False, fontsize=9)
figure.savefig("rates.png")

# %%
# **Decision.** Visit the counties in red: their rate is at least a tenth above the common one, with a
# probability of 95 %. Of the ten at the top of the raw ranking, one is among them. The others are small,
# and their rates are pulled to the middle.
#
# **Does the model fit?** Counties drawn from the posterior scatter as the real ones do. Under one rate for
# all, they do not: real counties lie outside.


def scatter(deaths):
    """Mean squared distance from 3.5 per 1,000, in units of chance."""
    return ((deaths - women * 0.0035) ** 2 / (women * 0.0035)).mean()


for name, found in (("one rate for all", plain), ("rates differ", fit)):
    figure = ember.report.posterior_predictive_check(found, statistics={"scatter": scatter}, title=name)
    figure.savefig(f"check_{found.called.name}.png")
