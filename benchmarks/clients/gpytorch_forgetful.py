"""GPyTorch's ``PyroGP`` with a cache that is cleared in each step, so that steps can be captured."""

from __future__ import annotations

from benchmarks.clients.gpytorch_gp import Forgetful, Regression


class ForgetfulRegression(Regression):
    """Each step stands for itself."""

    what = "`PyroGP`, its cache cleared in each step (see below)"
    process = Forgetful


CLIENT = ForgetfulRegression()
