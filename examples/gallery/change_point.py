"""# A change point and an autoregression: when did the Nile change?

**Question.** The Nile's flow at Aswan was measured in each year from 1871 to 1970 (Cobb, 1978; shipped
with statsmodels). Did its level change, when, and by how much? A dam must be planned for the level that
holds now, not for the mean of all years.

**Model.** There is one level before the change and one after it. Around the level, a year remembers the
year before by some fraction: an autoregression of order one. Without memory, a few dry years in a row
would count as proof of a change. The year of the change is a discrete unknown, and "never" is one of its
values, with prior probability 1/2.
"""

import matplotlib.pyplot as plt
import torch
from statsmodels.datasets import nile

import ember
import ember.distributions as dist

frame = nile.load_pandas().data
years = torch.tensor(frame["year"].to_numpy()).long()
flow = torch.tensor(frame["volume"].to_numpy()).float() / 100  # in 10^10 cubic metres a year
past = years[1:] <= 1950  # the years that are predicted in the fit, each from the year before

# %%
# `last` is the last year of the old level. All its values are summed out during the fit, so the code is
# written for many values at once: `years <= last` has one row for each. A mask says which years count.


def change(flow, counted):
    n = len(flow)
    before, after = (ember.sample(name, dist.Normal(9.0, 3.0)) for name in ("before", "after"))
    memory = ember.sample("memory", dist.Normal(0.0, 0.5))
    noise = ember.sample("noise", dist.HalfNormal(2.0))
    never = torch.full((n,), 0.5 / (n - 1)).index_fill(0, torch.tensor(n - 1), 0.5)
    last = ember.sample("last", dist.Categorical(never))
    level = torch.where(torch.arange(n) <= last, before, after)
    expected = level[..., 1:] + memory * (flow[:-1] - level[..., :-1])
    with ember.plate("years", n - 1), ember.poutine.mask(mask=counted):
        ember.sample("flow", dist.Normal(expected, noise), obs=flow[1:])


def steady(flow, counted):
    level = ember.sample("level", dist.Normal(9.0, 3.0))
    memory = ember.sample("memory", dist.Normal(0.0, 0.5))
    noise = ember.sample("noise", dist.HalfNormal(2.0))
    with ember.plate("years", len(flow) - 1), ember.poutine.mask(mask=counted):
        ember.sample("flow", dist.Normal(level + memory * (flow[:-1] - level), noise), obs=flow[1:])


fit = ember.fit(change, flow, past, seed=0, budget=300, progress=False)
print(fit)

# %%
# **The verdict** is ok, and the table has no row for `last`: it was summed out. `ember.assign` gives the
# probability of each value of `last`.

when = ember.assign(fit, "last").probs
print(f"probability that the level had not changed by 1950: {when[years >= 1950].sum():.1g}")
order = when.argsort(descending=True)[:4]
print("last year of the old level:", ", ".join(f"{years[i]} ({when[i]:.2f})" for i in order.tolist()))
drop = fit.draws["before"] - fit.draws["after"]
low, high = drop.quantile(torch.tensor([0.05, 0.95])).tolist()
print(f"the flow fell by {drop.mean():.1f}, 90 % interval {low:.1f} to {high:.1f}")

# %%
# **Held out.** Predict each of the 20 years after 1950 from the year before it. The year of the change keeps
# what the fit knows of it: `new=()` says that nothing is new but the flows. Twenty years alone cannot tell the
# models apart: the difference is smaller than its standard error. The 80 years of the fit can.

other = ember.fit(steady, flow, past, seed=0, budget=300, progress=False)
print(f"a level that never changes: {other.verdict.status}")
scores = {
    name: ember.held_out(found, flow, ~past, new=()) for name, found in (("change", fit), ("steady", other))
}
for name, score in scores.items():
    print(f"{name}: {score.mean:.3f} nats a held-out year")
print(ember.compare(scores))

# %%
# **Decision.** Plan for the level after the change.

figure, (top, bottom) = plt.subplots(
    2, 1, figsize=(7.5, 5), dpi=130, layout="constrained", sharex=True, height_ratios=[3, 1]
)
top.plot(years, flow, ".-", color="0.5", linewidth=0.8, label="flow")
top.axvspan(1950.5, 1970.5, color="0.85", label="held out")
for site, begin, end in (("before", 1871, years[order[0]]), ("after", years[order[0]] + 1, 1970)):
    low, middle, high = fit.draws[site].quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    top.fill_between([begin, end], low, high, color="tab:blue", alpha=0.3)
    top.plot(
        [begin, end], [middle, middle], color="tab:blue", label="level, 90 %" if site == "after" else None
    )
top.set(ylabel="10 billion m³ a year")
top.legend(frameon=False, fontsize=9, loc="upper right")
bottom.bar(years[:-1].numpy(), when[:-1].numpy(), color="tab:red", width=1.0)
bottom.set(ylabel="probability", xlabel="last year of the old level")
figure.savefig("nile.png")
