"""A fitted guide in a file of its own: it draws and predicts where its model's code is not at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor

from ember.distributions.improper_uniform import ImproperUniform
from ember.errors import ModelError, SaveFileError
from ember.nn.module import PyroModule, root_name
from ember.params import constraint_codec, saved_state
from ember.params.fits import note_fit, store_of
from ember.params.param_store import ParamStoreDict, get_param_store
from ember.poutine.frames import CondIndepStackFrame
from ember.poutine.trace_struct import Trace
from ember.primitives import plate, sample
from ember.serialization import atomic_save, safe_load

_FORMAT = 1
_LOADED = count(1)


class Savable(PyroModule):
    """The part of a guide that is written to a file, and read where its model is not at hand."""

    saved_options: ClassVar[tuple[str, ...] | None] = None
    """Of a class whose guides are told by their parameters alone: the options that decide about these.
    Each class says it for itself: what inherits from it may have functions of its own."""
    prototype_trace: Trace | None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted guide to a file: its family, its latent sites with supports and plates, its parameters.

        The file is at any time the old one or the whole new one, and loads without unpickling. ``AutoDelta``,
        ``AutoNormal``, ``AutoDiagonalNormal``, ``AutoMultivariateNormal`` and
        ``AutoLowRankMultivariateNormal`` are saved so.

        Args:
            path: the file.

        Raises:
            ModelError: for a guide of another class, one without parameters, or one whose model gives plates
                their rows.
        """
        kind, prototype = type(self), self.prototype_trace
        if _options(kind) is None:
            raise ModelError(
                f"{kind.__name__} runs or differentiates its model, or has functions of yours: it cannot be told by its "
                f"parameters alone, as {', '.join(sorted(_kinds()))} can. Save the fit by svi.save(...), and make the guide by "
                "its own code"
            )
        if prototype is None:
            raise ModelError(
                "the guide has not been run: there is nothing to save. Take a step, or call guide.prepare(...)"
            )
        atomic_save(self._plain(prototype), path)

    def _plain(self, prototype: Trace) -> dict[str, Any]:
        sites = [_plain_site(name, site) for name, site in prototype.iter_stochastic_nodes()]
        store, own_name = store_of(self) or get_param_store(), root_name(self)
        state = saved_state.as_plain_data(store.get_state())
        return {
            "ember guide": _FORMAT,
            "kind": type(self).__name__,
            "name": own_name,
            "options": {option: getattr(self, option) for option in _options(type(self)) or ()},
            "sites": sites,
            "state": {
                part: {name: value for name, value in values.items() if name.startswith(f"{own_name}.")}
                for part, values in state.items()
            },
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A guide that :meth:`save` has written, with a parameter store of its own.

        It draws, and has medians and quantiles, with any arguments or none;
        ``Predictive(model, guide=guide)`` takes it with the model that it was made from. ``AutoGuide.load``
        reads any kind.

        Raises:
            FileNotFoundError: if there is no such file.
            SaveFileError: if it is damaged, or holds no guide, or one of another class than this.

        >>> import tempfile, torch, ember
        >>> from ember.infer.autoguide import AutoGuide, AutoNormal
        >>> def model():
        ...     ember.sample("x", ember.distributions.Gamma(2.0, 1.0).expand([2]).to_event(1))
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     AutoNormal(model).prepare().save(file.name)
        ...     guide = AutoGuide.load(file.name)
        >>> guide()["x"].shape, guide.median()["x"]
        (torch.Size([2]), tensor([1., 1.]))
        """
        name = os.fspath(path)
        loaded = safe_load(path)
        if not isinstance(loaded, dict) or loaded.get("ember guide") != _FORMAT:
            raise SaveFileError(f"{name!r} holds no guide that this version reads")
        kind = _kinds().get(str(loaded.get("kind")))
        if kind is not None and not issubclass(kind, cls):
            raise SaveFileError(
                f"{name!r} holds a guide of class {kind.__name__}, and {cls.__name__}.load was asked for it"
            )
        try:
            return _read(kind, loaded, path)  # type: ignore[no-any-return]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SaveFileError(
                f"{name!r} holds a malformed guide: {type(error).__name__}: {error}"
            ) from error


def save_guide(guide: Savable, path: str | os.PathLike[str]) -> None:
    """Save a guide to a file, as ``guide.save(path)`` does; see :meth:`AutoGuide.save`.

    Args:
        guide: a guide that has been run or prepared.
        path: the file.

    >>> import tempfile, ember
    >>> from ember.infer.autoguide import AutoNormal, load_guide, save_guide
    >>> def model():
    ...     ember.sample("z", ember.distributions.Normal(0.0, 1.0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_guide(AutoNormal(model).prepare(), f"{folder}/guide.pt")
    ...     load_guide(f"{folder}/guide.pt").median()["z"].shape
    torch.Size([])
    """
    guide.save(path)


def load_guide(path: str | os.PathLike[str]) -> Any:
    """Load a guide from a file of :func:`save_guide`, without its model; see :meth:`AutoGuide.load`.

    Args:
        path: the file.
    """
    return Savable.load(path)


def _options(kind: type[Savable]) -> tuple[str, ...] | None:
    """What the class itself says, not what it inherits."""
    options: tuple[str, ...] | None = vars(kind).get("saved_options")
    return options


def _kinds() -> dict[str, type[Savable]]:
    """All classes whose guides are saved, by name."""
    return {kind.__name__: kind for kind in _below(Savable) if _options(kind) is not None}


def _below(kind: type[Savable]) -> Iterator[type[Savable]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def _read(kind: Any, loaded: dict[str, Any], path: str | os.PathLike[str]) -> Any:
    outline = _Outline([_read_site(site) for site in loaded["sites"]])
    guide = kind(outline, init_loc_fn=outline.start, **loaded["options"])
    saved = saved_state.checked(path, loaded["state"])
    # A name that no other guide has: their parameters would be taken for those of each other.
    name_now, before = f"{loaded['name']} {next(_LOADED)}", len(loaded["name"])
    guide.rename(name_now)
    state: saved_state.StateDict = {
        "params": {name_now + known[before:]: leaf for known, leaf in saved["params"].items()},
        "constraints": {name_now + known[before:]: c for known, c in saved["constraints"].items()},
    }
    store = ParamStoreDict()
    store.set_state(state)
    with store.active():
        guide.prepare()
    note_fit(guide, store)
    return guide


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
        plates = {frame.name: _plate(frame) for site in self._sites for frame in site.frames}
        for site in self._sites:
            with ExitStack() as stack:
                for frame in site.frames:
                    stack.enter_context(plates[frame.name])
                sample(site.name, site.fn)

    def start(self, site: Mapping[str, Any]) -> Tensor:
        """Where a site was when the guide was set up."""
        (known,) = [each.start for each in self._sites if each.name == site["name"]]
        return known.clone()


def _plate(frame: CondIndepStackFrame) -> Any:
    size = frame.full_size or frame.size
    return plate(frame.name, dim=frame.dim) if size == -1 else plate(frame.name, size, dim=frame.dim)


def _read_site(saved: dict[str, Any]) -> _Site:
    batch, event = saved["shapes"]
    fn = ImproperUniform(constraint_codec.decode(saved["support"]), batch, event)
    frames = [
        CondIndepStackFrame(name, dim, size, 0, full_size) for name, dim, size, full_size in saved["frames"]
    ]
    return _Site(saved["name"], fn, saved["start"], frames)


__all__ = ["Savable", "load_guide", "save_guide"]
