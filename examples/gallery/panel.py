"""# A panel: how much does each firm invest?

**Question.** Eleven American firms, 1935 to 1954 (Grunfeld, 1958; shipped with statsmodels): gross
investment, the market value of the firm, its stock of plant. By how much does a firm with more capital
invest more, and is that the same for all? A supplier of machines wants the next five years.

**Model.** In logarithms, so that slopes are elasticities. Each firm has a level of its own. The
elasticity of capital differs between firms, but firms resemble each other: the eleven slopes come from
one normal, whose mean and spread are learnt. Firms with little information borrow from the others. Errors
have Student's heavy tails.
"""

import numpy as np
import torch
from statsmodels.datasets import grunfeld

import ember
import ember.distributions as dist
from ember.infer import Predictive

frame = grunfeld.load_pandas().data
names = frame["firm"].astype("category")
firm = torch.tensor(names.cat.codes.to_numpy()).long()
past = torch.tensor((frame["year"] < 1950).to_numpy())
logs = np.log(frame[["value", "capital", "invest"]])

# Relative to the firm's own mean in the past: so levels and slopes are nearly independent.
means = logs[frame["year"] < 1950].groupby(names, observed=True).mean().loc[names].to_numpy()
value, capital, _ = torch.tensor(logs.to_numpy() - means).float().T
invested = torch.tensor(logs["invest"].to_numpy()).float()
train, test = ((firm[rows], value[rows], capital[rows], invested[rows]) for rows in (past, ~past))

# %%
# The second program says that all firms share one elasticity.


def partial(firm, value, capital, invested=None):
    of_value = ember.sample("of_value", dist.Normal(0.5, 0.5))
    of_capital = ember.sample("of_capital", dist.Normal(0.5, 0.5))
    spread = ember.sample("spread", dist.LogNormal(-1.0, 0.5))
    noise = ember.sample("noise", dist.HalfNormal(0.5))
    with ember.plate("firms", 11):
        level = ember.sample("level", dist.Normal(4.0, 3.0))
        own = ember.sample("own", dist.Normal(of_capital, spread))
    with ember.plate("rows", len(firm)):
        mean = level[firm] + of_value * value + own[firm] * capital
        ember.sample("invested", dist.StudentT(4.0, mean, noise), obs=invested)


def pooled(firm, value, capital, invested=None):
    of_value = ember.sample("of_value", dist.Normal(0.5, 0.5))
    of_capital = ember.sample("of_capital", dist.Normal(0.5, 0.5))
    noise = ember.sample("noise", dist.HalfNormal(0.5))
    with ember.plate("firms", 11):
        level = ember.sample("level", dist.Normal(4.0, 3.0))
    with ember.plate("rows", len(firm)):
        mean = level[firm] + of_value * value + of_capital * capital
        ember.sample("invested", dist.StudentT(4.0, mean, noise), obs=invested)


fits = {
    model.__name__: ember.fit(model, *train, seed=0, budget=300, progress=False)
    for model in (partial, pooled)
}
for name, fit in fits.items():
    print(f"{name}: {fit.verdict.status}, {fit.seconds:.1f} s")
fit = fits["partial"]
print(fit)

# %%
# **The verdict** on both is ok: means and standard deviations in the table can be used. The first fit takes
# longer. The spread of the slopes is skewed and the slopes depend on it, so a normal was not enough, and
# richer families were tried until two agreed.
#
# **Held out.** Both models forecast the five years after 1949, from the value and the capital of those
# years. Leave-one-out cross-validation within the past says the same.

scores = {name: ember.held_out(found, *test) for name, found in fits.items()}
for name, score in scores.items():
    print(f"{name:8} {score.mean:6.3f} nats a firm and year")
print(ember.compare(scores))
print(ember.compare(fits))

# %%
# **Decision.** The firms are not alike. Where the interval is far right of zero, plants that are there draw
# new ones.

figure = ember.report.forest(fit, site="own", labels=names.cat.categories, ordered=True)
axes = figure.axes[0]
axes.axvline(fit.draws["of_capital"].mean(), color="black", linewidth=0.8, label="mean of all firms")
axes.set(xlabel="elasticity of investment to capital")
axes.legend(frameon=False)
figure.savefig("elasticities.png")

# %%
# What the supplier gets: for each firm, the sum of the five years that were held out. The model is given
# the values and the stocks of those years, and not the investments. Crosses are what came.

draws = Predictive(fit, return_sites=["invested"], by_rows=True)(*test[:3])["invested"].exp()
sums = torch.zeros(len(draws), 11).index_add(1, test[0], draws)
truth = torch.zeros(11).index_add(0, test[0], test[3].exp())
low, high = sums.quantile(torch.tensor([0.05, 0.95]), dim=0)
print(f"{((low < truth) & (truth < high)).sum()} of 11 sums lie in their 90 % interval")
figure = ember.report.forest({"sum": sums}, labels=names.cat.categories, ordered=True, marks=truth)
figure.axes[0].set(xscale="log", xlabel="investment from 1950 to 1954, millions of dollars of 1947")
figure.savefig("forecast.png")
