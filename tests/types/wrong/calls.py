"""Wrong calls. Each line that ends in ``error`` must have one, with its code, and no other may."""

from __future__ import annotations

import torch
from torch import Tensor

import ember
from ember import distributions as dist
from ember import optim, poutine
from ember.infer import SVI, Predictive, Trace_ELBO


def model(x: Tensor) -> Tensor:
    return ember.sample("z", dist.Normal(0.0, 1.0))


ember.sample("no distribution", 0.5)  # error: call-overload
ember.sample(dist.Normal(0.0, 1.0), "z")  # error: call-overload
ember.sample("z", dist.Normal(0.0, 1.0), infer="parallel")  # error: call-overload
text: str = ember.sample("z", dist.Normal(0.0, 1.0))  # error: assignment
ember.param("scale", torch.tensor(1.0), constraint="positive")  # error: arg-type
ember.param(torch.tensor(1.0))  # error: arg-type
ember.factor("term", 0.5)  # error: arg-type
ember.plate("data", "ten")  # error: arg-type
ember.plate("data", 10, dimension=-1)  # error: call-arg

svi = SVI(model, model, torch.optim.Adam([torch.zeros(1)]), Trace_ELBO())  # error: call-overload
svi = SVI(model, model, optim.Adam({"lr": 0.1}), "elbo")  # error: call-overload
svi = SVI(model, model, optim.Adam({"lr": 0.1}), Trace_ELBO(), compile="always")  # error: call-overload
svi = SVI(model, model, optim.Adam({"lr": 0.1}), Trace_ELBO(num_particle=2))  # error: call-arg
svi = SVI(model, model, optim.Adam({"lr": 0.1}), Trace_ELBO())
svi.step(torch.ones(2)).backward()  # error: attr-defined
svi.run("ten")  # error: call-overload
svi.run(100, torch.ones(2), until="done")  # error: call-overload
svi.run(100, torch.ones(2)).loss  # error: attr-defined

Predictive(model, num_sample=10)  # error: call-arg
Predictive(model, num_samples=10)(torch.ones(2)).y  # error: attr-defined

ember.fit(model, torch.ones(2), draws="many")  # error: arg-type
ember.fit(model, torch.ones(2)).verdict.state  # error: attr-defined

poutine.condition(model, datum={})  # error: call-overload
poutine.scale(model, scale="half")  # error: call-overload
poutine.scale(model, scale=0.5)("x")  # error: arg-type
poutine.trace(model).get_traces()  # error: attr-defined
