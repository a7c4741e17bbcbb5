"""The whole state of a fit as plain data, and back: parameters, buffers, optimizer, random numbers, kinds of calls."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from ember import rng
from ember.capture.state.world import scan
from ember.errors import SaveFileError
from ember.infer.step.programs import Programs
from ember.infer.step.request import Roots
from ember.infer.step.training.callback import State
from ember.optim import PyroOptim
from ember.params import constraint_codec, saved_state
from ember.params.param_store import ParamStoreDict
from ember.serialization import atomic_save, safe_load

_FORMAT = 1
_PARTS = {"params", "homes", "buffers", "optim", "random", "calls"}


@dataclass(frozen=True)
class Holder:
    """Where the parts of a state are."""

    store: ParamStoreDict
    optim: PyroOptim
    programs: Programs
    roots: Roots
    """What is fitted: modules are looked for there."""

    def read(self) -> State:
        """The state; tensors are copies."""
        params = saved_state.as_plain_data(self.store.get_state())
        with self.store.active():
            states = self.optim.get_state()
        return {
            "params": {**params, "params": {name: _copy(leaf) for name, leaf in params["params"].items()}},
            "homes": self._homes(),
            "buffers": {name: buffer.detach().clone() for name, buffer in _tensors(self.roots, "_buffers")},
            "optim": states,
            "random": rng.as_plain_data(rng.get_rng_state()),
            "calls": sorted(self.programs.seen),
        }

    def write(self, state: State, path: str) -> None:
        """Go to a state. Where parameters have their form, values alone change; ``random`` of None leaves random numbers alone.

        Raises:
            SaveFileError: if the state does not fit; nothing has changed then.
        """
        params = saved_state.checked(path, {**state["params"], "params": dict(state["params"]["params"])})
        buffers = self._checked_buffers(state["buffers"], path)
        before = self.optim_state()
        try:
            with self.store.active():
                self.optim.set_state(state["optim"])
                self.optim.forget_others(state["optim"].keys())
        except Exception as error:
            with self.store.active():
                self.optim.set_state(before)
            raise SaveFileError(f"{path!r} holds no state for this optimizer: {error}") from error
        self._write_params(params, state["homes"])
        with self.store.active():
            # Schedulers may be stepped before the next step of the parameters.
            leaves = [self.store.leaf(name) for name in state["optim"]]
            self.optim.plan([leaf for leaf in leaves if leaf is not None])
        with torch.no_grad():
            for own, new in buffers:
                own.copy_(new)
        if state["random"] is not None:
            rng.set_rng_state(state["random"])

    def tensors(self) -> list[Tensor]:
        """Parameters and buffers of all modules that can be reached, each once, in the order of the walk."""
        found = [t for which in ("_parameters", "_buffers") for _, t in _tensors(self.roots, which)]
        return list({id(tensor): tensor for tensor in found}.values())

    def optim_state(self) -> State:
        """The optimizer's part."""
        with self.store.active():
            return self.optim.get_state()

    def _homes(self) -> dict[str, str]:
        """Where the modules are that have parameters of the store, by the names of these."""
        # Those of modules that have not been made yet, since no step has been taken, are where they were.
        found = {name: place for name, place in self.store.awaited.items() if place and name in self.store}
        for place, own in _tensors(self.roots, "_parameters"):
            name = self.store.param_name(own)
            if name is not None:
                found[name] = place
        return found

    def _write_params(self, params: saved_state.StateDict, homes: dict[str, str]) -> None:
        new: saved_state.StateDict = {"params": {}, "constraints": {}}
        in_modules = dict(_tensors(self.roots, "_parameters"))
        for name, leaf in params["params"].items():
            own, constraint = self.store.leaf(name), params["constraints"][name]
            known = own is not None and _same(constraint, self.store.constraint(name))
            if not known:
                # A module whose parameter it is takes it up now: its first run must not change what the program reads.
                own = in_modules.get(homes.get(name, ""))
            if own is None or not _is_like(own, leaf):
                own = new["params"][name] = _copy(leaf).requires_grad_(True)
                new["constraints"][name] = constraint
                self.store.awaited[name] = homes.get(name, "")
                continue
            with torch.no_grad():
                own.copy_(leaf.detach())
            if not known:
                new["params"][name], new["constraints"][name] = own, constraint
        if new["params"]:
            self.store.set_state(new)

    def _checked_buffers(self, saved: dict[str, Tensor], path: str) -> list[tuple[Tensor, Tensor]]:
        own = dict(_tensors(self.roots, "_buffers"))
        missing, unknown = sorted(saved.keys() - own.keys()), sorted(own.keys() - saved.keys())
        if missing or unknown:
            which = (
                f"buffers {missing} that no module here has" if missing else f"nothing for buffers {unknown}"
            )
            raise SaveFileError(
                f"{path!r} holds {which}. Make model and guide as they were when it was saved; a guide that makes its networks "
                "when it is first called needs guide.prepare(...), with the arguments of the model, before"
            )
        for name, buffer in own.items():
            if not _is_like(buffer, saved[name]):
                raise SaveFileError(
                    f"{path!r} holds buffer {name!r} of shape {tuple(saved[name].shape)}, where the module has "
                    f"{tuple(buffer.shape)}"
                )
        return [(buffer, saved[name]) for name, buffer in own.items()]


def _tensors(roots: Roots, which: str) -> Iterator[tuple[str, Tensor]]:
    """Buffers or parameters of the modules that programs can reach, by what leads there."""
    times = Counter[str]()
    for module, label in scan(roots).facts.modules:
        for key, tensor in vars(module)[which].items():
            if tensor is not None:
                name = f"{label}.{key}"
                times[name] += 1
                yield (name if times[name] == 1 else f"{name} ({times[name]})"), tensor


def _copy(leaf: Tensor) -> Tensor:
    copied = leaf.detach().clone()
    return torch.nn.Parameter(copied) if isinstance(leaf, torch.nn.Parameter) else copied


def _is_like(own: Tensor, other: Any) -> bool:
    return isinstance(other, Tensor) and own.shape == other.shape and own.dtype == other.dtype


def _same(constraint: Any, other: Any) -> bool:
    return constraint is other or _alike(constraint_codec.encode(constraint), constraint_codec.encode(other))


def _alike(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) or isinstance(other, Tensor):
        return isinstance(value, Tensor) and isinstance(other, Tensor) and torch.equal(value, other)
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_alike(value[key], other[key]) for key in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_alike, value, other))
    return type(value) is type(other) and bool(value == other)


def write_file(path: str | os.PathLike[str], state: State, fit: State | None) -> None:
    """Write a state to a file, atomically, with a checksum."""
    try:
        own = version("ember-svi")
    except PackageNotFoundError:  # run from its sources
        own = "unknown"
    versions = {"ember": own, "torch": str(torch.__version__)}
    plain = None if fit is None else {**fit, "epoch_began": _plain_random(fit["epoch_began"])}
    atomic_save({"ember fit": _FORMAT, "versions": versions, "state": state, "fit": plain}, path)


def _plain_random(state: State) -> State:
    return rng.as_plain_data(state) if state else state


def read_file(path: str | os.PathLike[str], map_location: Any = None) -> tuple[State, State | None]:
    """The state that a file holds, and that of the fit over batches, if there is one.

    Raises:
        SaveFileError: if it holds no state of a fit, or a newer form of one.
    """
    loaded, name = safe_load(path, map_location), os.fspath(path)
    if not isinstance(loaded, dict) or "ember fit" not in loaded:
        raise SaveFileError(f"{name!r} holds no state of a fit that svi.save(...) has written")
    if loaded["ember fit"] != _FORMAT:
        raise SaveFileError(
            f"{name!r} was written in form {loaded['ember fit']!r} by {loaded.get('versions')}, and this version reads form "
            f"{_FORMAT}"
        )
    state, fit = loaded.get("state"), loaded.get("fit")
    if not isinstance(state, dict) or state.keys() != _PARTS:
        raise SaveFileError(f"{name!r} holds a malformed state of a fit")
    return state, fit


__all__ = ["Holder", "read_file", "write_file"]
