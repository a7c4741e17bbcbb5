"""Importing Ember changes nothing around it."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, logging, random, sys, warnings
import numpy, torch, torch.distributions
import torch.distributions.constraints, torch.distributions.transforms, torch.distributions.kl
random.seed(0); numpy.random.seed(0); torch.manual_seed(0)

def members(obj):
    return {name: id(value) for name, value in vars(obj).items()
            if not (name.startswith("__") and name.endswith("__")) and name not in ("_cache", "_abc_impl")}

def state():
    found = {}
    for name, module in list(sys.modules.items()):
        if module is None or not name.startswith("torch.distributions") and name not in ("torch", "torch.optim", "torch.nn"):
            continue
        found[name] = members(module)
        for key, value in list(vars(module).items()):
            if isinstance(value, type) and value.__module__ == name:
                found[name + "." + key] = members(value)
    found["Tensor"] = members(torch.Tensor)
    found["Module"] = members(torch.nn.Module)
    return found

def facts():
    return {
        "filters": repr(warnings.filters), "showwarning": id(warnings.showwarning),
        "handlers": repr(logging.getLogger().handlers), "level": logging.getLogger().level,
        "loggers with handlers": sorted(n for n, l in logging.root.manager.loggerDict.items() if getattr(l, "handlers", None)
                                        and not n.startswith("torch")),
        "validate": torch.distributions.Distribution._validate_args,
        "dtype": str(torch.get_default_dtype()), "threads": torch.get_num_threads(), "grad": torch.is_grad_enabled(),
        "torch rng": torch.get_rng_state().tolist(), "random": random.getstate(), "numpy": repr(numpy.random.get_state()),
        "cuda": torch.cuda.is_initialized(), "meta_path": len(sys.meta_path), "excepthook": id(sys.excepthook),
        "recursion": sys.getrecursionlimit(), "deterministic": torch.are_deterministic_algorithms_enabled(),
    }

before, facts_before = state(), facts()
import ember
after, facts_after = state(), facts()
changed = []
for name, old in before.items():
    new = after.get(name, {})
    for key in old:
        if new.get(key) != old[key]:
            changed.append(name + "." + key)
    if name not in ("torch", "torch.nn", "torch.optim"):  # these gain submodules when such are imported
        changed += [name + "." + key + " (new)" for key in new if key not in old]
changed += [key for key in facts_before if facts_before[key] != facts_after[key]]
print(json.dumps({"changed": changed, "pyro": "pyro" in sys.modules,
                  "heavy": [m for m in ("matplotlib", "pandas", "scipy", "sklearn", "pyro") if m in sys.modules]}))
"""


def test_importing_changes_nothing():
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert json.loads(run.stdout) == {"changed": [], "pyro": False, "heavy": []}
