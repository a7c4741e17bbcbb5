"""What the errors of programs are told besides: the statement of the user, and what values and shapes suggest."""

from __future__ import annotations

import ast
import linecache
import traceback
from collections.abc import Iterator, Mapping
from types import FrameType

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ember.capture.blame import is_of_user
from ember.distributions import typed_torch
from ember.distributions.torch_distribution import MaskedDistribution
from ember.errors import EmberError
from ember.poutine.site import Site

_MARK = "_ember_hints"


def add_hints(error: Exception, nodes: Mapping[str, Site]) -> list[str]:
    """Lines for an error in a program: where it was raised, and what may be behind it. None for errors that have them.

    Args:
        error: what the program raised.
        nodes: the sites of the run so far.
    """
    if is_marked(error) or isinstance(error, EmberError):
        return []
    frames = list(_frames_of_user(error))
    hints = [_place(frames)] if frames else []
    if isinstance(error, RuntimeError):
        hints += _of_dtypes(frames)
        for name, site in nodes.items():
            hints += [*_of_old_shape(name, site), *_of_attribute(name, site)]
    elif isinstance(error, (TypeError, KeyError)):
        hints = [*_of_foreign_arrays(frames), *_of_loaders(frames)]
    elif isinstance(error, IndexError):
        hints += _of_small_indices(frames)
    else:
        hints += _of_nan(frames)
    return hints


def mark(error: Exception) -> None:
    """Note that an error has its hints: handlers further out leave it alone."""
    vars(error)[_MARK] = True


def is_marked(error: Exception) -> bool:
    """Whether an error has its hints."""
    return _MARK in vars(error)


def _frames_of_user(error: Exception) -> Iterator[tuple[FrameType, int]]:
    """The user's frames with line numbers, innermost first."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if is_of_user(frame.f_code.co_filename):
            yield frame, line


def _place(frames: list[tuple[FrameType, int]]) -> str:
    frame, line = frames[0]
    file = frame.f_code.co_filename
    text = linecache.getline(file, line, frame.f_globals).strip()
    names = (_site_around(frame, line) for frame, line in frames)
    site = next((name for name in names if name), None)
    return f"  at {f'site {site}, ' if site else ''}{file}:{line}{f': {text}' if text else ''}"


def _site_around(frame: FrameType, line: int) -> str | None:
    """How the program writes the name of the sample statement around a line."""
    source = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
    except SyntaxError:  # a cell of a notebook with commands of its own
        return None
    around = [call for call in calls if call.lineno <= line <= (call.end_lineno or line) and _samples(call)]
    if not around:
        return None
    innermost = max(around, key=lambda call: (call.lineno, call.col_offset))
    return ast.unparse(innermost.args[0])


def _samples(call: ast.Call) -> bool:
    return getattr(call.func, "attr", getattr(call.func, "id", None)) == "sample"


def _values(frames: list[tuple[FrameType, int]]) -> list[tuple[str, object]]:
    """What the names in the user's innermost function stand for, globals that it reads among them."""
    if not frames:
        return []
    frame = frames[0][0]
    read = {name: frame.f_globals[name] for name in frame.f_code.co_names if name in frame.f_globals}
    return list({**read, **frame.f_locals}.items())


def _of_dtypes(frames: list[tuple[FrameType, int]]) -> list[str]:
    """Tensors of several floating types side by side, by the names that the user gave them."""
    names: dict[torch.dtype, list[str]] = {}
    for name, value in _values(frames):
        if isinstance(value, Tensor) and value.is_floating_point():
            names.setdefault(value.dtype, []).append(name)
    if len(names) < 2:
        return []
    shown = "; ".join(f"{', '.join(sorted(those))}: {dtype}" for dtype, those in names.items())
    return [
        f"  tensors of several types meet there ({shown}): convert the data, x.to({torch.get_default_dtype()}), "
        "or the program, torch.set_default_dtype(torch.float64) before it is made"
    ]


def _of_old_shape(name: str, site: Site) -> list[str]:
    """A value of another event shape than its distribution: it was drawn for another program."""
    wanted = getattr(site.fn, "event_shape", None) if site.is_latent else None
    if not wanted or not isinstance(site.value, Tensor):
        return []
    found = site.value.shape[-len(wanted) :]
    if found == wanted:
        return []
    return [
        f"  at site {name!r} the guide's value has the event shape {tuple(found)}, the model's distribution {tuple(wanted)}: "
        "if these are parameters of an earlier fit, call ember.clear_param_store(), or SVI(..., param_store=ParamStoreDict())"
    ]


def _of_attribute(name: str, site: Site) -> list[str]:
    """A module's attribute that was drawn once for each row of a plate."""
    if not (site.is_latent and site.cond_indep_stack and "." in name):
        return []
    plates = ", ".join(repr(frame.name) for frame in site.cond_indep_stack)
    return [
        f"  site {name!r}, an attribute of a module, was drawn inside plate {plates}, with shape "
        f"{tuple(getattr(site.value, 'shape', ()))}: give its prior the shape of the attribute, "
        ".expand(shape).to_event(len(shape)), and call the module before the plate"
    ]


def _of_foreign_arrays(frames: list[tuple[FrameType, int]]) -> list[str]:
    return [
        f"{name} is a {type(value).__module__}.{type(value).__name__}: programs compute with tensors, "
        + _converted(name, value)
        for name, value in _values(frames)
        if hasattr(value, "__array__") and not isinstance(value, Tensor)
    ]


def _converted(name: str, value: object, options: str = "") -> str:
    """How something becomes a tensor. Columns of pandas do not by themselves, and their memory may be read-only."""
    if not hasattr(value, "to_numpy"):
        return f"torch.as_tensor({name}{options})"
    if hasattr(value, "columns"):
        return f"give its columns one by one, torch.tensor({name}['column'].to_numpy())"
    if str(getattr(value, "dtype", "")) in ("object", "str", "string", "category"):
        return f"torch.tensor({name}.astype('category').cat.codes.to_numpy()).long() for labels"
    return f"torch.tensor({name}.to_numpy(){options})"


def _of_small_indices(frames: list[tuple[FrameType, int]]) -> list[str]:
    """Whole numbers that torch takes for no index, as the codes of pandas's categories."""
    return [
        f"  {name} has the dtype {value.dtype}: {name}.long() can be an index"
        for name, value in _values(frames)
        if isinstance(value, Tensor) and value.dtype in (torch.int8, torch.int16)
    ]


def _of_loaders(frames: list[tuple[FrameType, int]]) -> list[str]:
    return [
        f"{name} is a DataLoader: take its batches one by one, for batch in {name}: svi.step(*batch)"
        for name, value in _values(frames)
        if isinstance(value, DataLoader)
    ]


def _of_nan(frames: list[tuple[FrameType, int]]) -> list[str]:
    """The user's tensors that hold NaN, which may be where a parameter's comes from."""
    names = [
        name
        for name, value in _values(frames)
        if isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any())
    ]
    return [f"  there is NaN in {', '.join(names)}"] if names else []


def of_value(site: Site) -> str:
    """What may be behind a value that its distribution refuses, as lines; empty if there is nothing to say."""
    value = site.value
    if not isinstance(value, Tensor):
        return (
            f"\n  The value is a {type(value).__module__}.{type(value).__name__}: convert it once, before the fit, "
            + _converted("value", value, ", dtype=torch.get_default_dtype()")
        )
    if not _fits(site, value):
        return (
            f"\n  The value has shape {tuple(value.shape)}: take the sizes of plates and distributions from the same data, "
            "plate(name, len(data))"
        )
    if not site.is_observed:
        return ""
    if isinstance(site.mask, Tensor) or isinstance(site.fn, MaskedDistribution):
        return (
            "\n  Where a mask leaves values out they must lie in the support all the same: fill in any that do, "
            "torch.where(mask, data, 1.0). To sample what is missing, sample(..., obs_mask=mask)"
        )
    if bool(value.isnan().any()):
        return (
            "\n  If NaN stands for a missing value: sample(..., obs_mask=~data.isnan()) samples it, "
            "dist.NanMaskedNormal leaves it out"
        )
    return ""


def _fits(site: Site, value: Tensor) -> bool:
    fn = site.fn
    try:
        typed_torch.broadcast_shapes(value.shape, fn.batch_shape + fn.event_shape)
    except (RuntimeError, AttributeError):
        return not hasattr(fn, "batch_shape")
    return True
