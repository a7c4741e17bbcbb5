"""Is what was given as a model, a guide, a loss or a number of steps one?"""

from __future__ import annotations

from operator import index

from ember.errors import ModelError


def check_program(program: object, role: str) -> None:
    """Look at a model or a guide before it fails somewhere else.

    Args:
        program: what was given.
        role: "model", "guide" or "loss".

    Raises:
        ValueError: for a class in place of an object, and for what cannot be called.
    """
    if isinstance(program, type):
        how = f"{program.__name__}(model)" if role == "guide" else f"{program.__name__}()"
        raise ModelError(f"the {role} is the class {program.__name__}: make an object of it, {role} = {how}")
    if not callable(program):
        raise ModelError(
            f"the {role} must be a function, or an object that can be called; got {type(program).__name__}"
        )


def shown_kind(given: object) -> str:
    """What something is: the name of a class, or of what an object is.

    >>> shown_kind(int), shown_kind(1)
    ('the class int', 'int')
    """
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__


def check_pair(model: object, guide: object, made_for: object) -> None:
    """See whether model and guide have changed places.

    Args:
        model: what was given as the model.
        guide: what was given as the guide.
        made_for: what the model, an automatic guide, was made for; None for other models.

    Raises:
        ValueError: if that is the guide.
    """
    if made_for is not None and made_for is guide:
        raise ModelError(
            f"model and guide have changed places: the model is {shown_kind(model)}, an automatic guide "
            "for what was given as the guide. Write SVI(model, guide, optim, loss)"
        )


def number_of_steps(num_steps: object) -> int:
    """A number of steps, as an int.

    Raises:
        TypeError: if it is none.
    """
    try:
        return index(num_steps)  # type: ignore[arg-type]
    except TypeError:
        shape = getattr(num_steps, "shape", None)
        got = repr(num_steps) if shape is None else f"{type(num_steps).__name__} of shape {tuple(shape)}"
        raise TypeError(
            f"run takes the number of steps first, a whole number; got {got}: write svi.run(1000, ...), with the arguments of "
            "the model behind it"
        ) from None
