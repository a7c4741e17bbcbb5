"""A fitted guide in a file of its own: it draws and predicts where its model's code is not at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import count
from typing import Any, NamedTuple

from torch import Tensor

from ember.distributions.improper_uniform import ImproperUniform
from ember.errors import ModelError, SaveFileError
from ember.infer.autoguide.base.guide import AutoGuide, plate_like
from ember.infer.autoguide.packed.diagonal_normal import AutoDiagonalNormal
from ember.infer.autoguide.packed.low_rank_normal import AutoLowRankMultivariateNormal
from ember.infer.autoguide.packed.multivariate_normal import AutoMultivariateNormal
from ember.infer.autoguide.sitewise.delta import AutoDelta
from ember.infer.autoguide.sitewise.normal import AutoNormal
from ember.nn.module import root_name
from ember.params import constraint_codec, saved_state
from ember.params.fits import note_fit, store_of
from ember.params.param_store import ParamStoreDict, get_param_store
from ember.poutine.frames import CondIndepStackFrame
from ember.primitives import sample
from ember.serialization import atomic_save, safe_load

_FORMAT = 1
_LOADED = count(1)
# With the options that decide about their parameters.
_KINDS: dict[type[AutoGuide], tuple[str, ...]] = {
    AutoDelta: (),
    AutoNormal: (),
    AutoDiagonalNormal: (),
    AutoMultivariateNormal: (),
    AutoLowRankMultivariateNormal: ("rank",),
}


def save_guide(guide: AutoGuide, path: str | os.PathLike[str]) -> None:
    """Write a fitted guide to a file: its family, its latent sites with supports and plates, its parameters.

    The file is at any time the old one or the whole new one, and loads without unpickling.

    Args:
        guide: an ``AutoDelta``, ``AutoNormal``, ``AutoDiagonalNormal``, ``AutoMultivariateNormal`` or
            ``AutoLowRankMultivariateNormal`` that has been run.
        path: the file.

    Raises:
        ModelError: for a guide of another class, one without parameters, or one whose model gives plates their rows.
    """
    if type(guide) not in _KINDS:
        known = ", ".join(kind.__name__ for kind in _KINDS)
        raise ModelError(
            f"a {type(guide).__name__} runs or differentiates its model, or has functions of yours: it cannot be told by its "
            f"parameters alone, as {known} can. Save the fit by svi.save(...), and make the guide by its own code"
        )
    prototype = guide.prototype_trace
    if prototype is None:
        raise ModelError(
            "the guide has not been run: there is nothing to save. Take a step, or call guide.prepare(...)"
        )
    sites = [_plain_site(name, site) for name, site in prototype.iter_stochastic_nodes()]
    store = store_of(guide) or get_param_store()
    prefix = f"{root_name(guide)}."
    state = saved_state.as_plain_data(store.get_state())
    atomic_save(
        {
            "ember guide": _FORMAT,
            "kind": type(guide).__name__,
            "name": root_name(guide),
            "options": {option: getattr(guide, option) for option in _KINDS[type(guide)]},
            "sites": sites,
            "state": {
                part: {name: value for name, value in values.items() if name.startswith(prefix)}
                for part, values in state.items()
            },
        },
        path,
    )


def _plain_site(name: str, site: Any) -> dict[str, Any]:
    frames = [(f.name, f.dim, f.size, f.full_size) for f in site.cond_indep_stack]
    for frame in site.cond_indep_stack:
        if frame.full_size not in (None, frame.size):
            raise ModelError(
                f"site {name!r} is in the subsampled plate {frame.name!r}, whose rows the model knows: save the fit by "
                "svi.save(...)"
            )
    fn = site.fn
    return {
        "name": name,
        "support": constraint_codec.encode(fn.support),
        "shapes": (list(fn.batch_shape), list(fn.event_shape)),
        "start": site.value.detach().clone(),
        "frames": frames,
    }


class _Site(NamedTuple):
    """A latent site, as a guide needs it."""

    name: str
    fn: ImproperUniform
    start: Tensor
    frames: list[CondIndepStackFrame]


class _Outline:
    """Stands for a model: its latent sites, and nothing else; arguments do not matter."""

    def __init__(self, sites: list[_Site]) -> None:
        self._sites = sites

    def __call__(self, *args: object, **kwargs: object) -> None:
        plates = {frame.name: plate_like(frame) for site in self._sites for frame in site.frames}
        for site in self._sites:
            with ExitStack() as stack:
                for frame in site.frames:
                    stack.enter_context(plates[frame.name])
                sample(site.name, site.fn)

    def start(self, site: Mapping[str, Any]) -> Tensor:
        """Where a site was when the guide was set up."""
        (known,) = [each.start for each in self._sites if each.name == site["name"]]
        return known.clone()


def load_guide(path: str | os.PathLike[str]) -> AutoGuide:
    """A guide that :func:`save_guide` has written, with a parameter store of its own.

    It draws, and has medians and quantiles, with any arguments or none; ``Predictive(model, guide=guide)`` takes it with the
    model that it was made from.

    Raises:
        FileNotFoundError: if there is no such file.
        SaveFileError: if it is damaged, or holds no guide.

    >>> import tempfile, torch, ember
    >>> from ember.infer.autoguide import AutoNormal
    >>> def model():
    ...     ember.sample("x", ember.distributions.Gamma(2.0, 1.0).expand([2]).to_event(1))
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     save_guide(AutoNormal(model).prepare(), file.name)
    ...     guide = load_guide(file.name)
    >>> guide()["x"].shape, guide.median()["x"]
    (torch.Size([2]), tensor([1., 1.]))
    """
    name = os.fspath(path)
    loaded = safe_load(path)
    if not isinstance(loaded, dict) or loaded.get("ember guide") != _FORMAT:
        raise SaveFileError(f"{name!r} holds no guide that this version reads")
    kinds: dict[str, Callable[..., AutoGuide]] = {kind.__name__: kind for kind in _KINDS}
    try:
        outline = _Outline([_read_site(site) for site in loaded["sites"]])
        guide = kinds[loaded["kind"]](outline, init_loc_fn=outline.start, **loaded["options"])
        saved = saved_state.checked(path, loaded["state"])
        # A name that no other guide has: their parameters would be taken for those of each other.
        name_now, before = f"{loaded['name']} {next(_LOADED)}", len(loaded["name"])
        guide.rename(name_now)
        state: saved_state.StateDict = {
            "params": {name_now + known[before:]: leaf for known, leaf in saved["params"].items()},
            "constraints": {name_now + known[before:]: c for known, c in saved["constraints"].items()},
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SaveFileError(f"{name!r} holds a malformed guide: {type(error).__name__}: {error}") from error
    store = ParamStoreDict()
    store.set_state(state)
    with store.active():
        guide.prepare()
    note_fit(guide, store)
    return guide


def _read_site(saved: dict[str, Any]) -> _Site:
    batch, event = saved["shapes"]
    fn = ImproperUniform(constraint_codec.decode(saved["support"]), batch, event)
    frames = [
        CondIndepStackFrame(name, dim, size, 0, full_size) for name, dim, size, full_size in saved["frames"]
    ]
    return _Site(saved["name"], fn, saved["start"], frames)


__all__ = ["load_guide", "save_guide"]
