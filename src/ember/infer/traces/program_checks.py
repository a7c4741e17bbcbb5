"""Is what was given as a model or a guide one?"""

from __future__ import annotations

from ember.errors import ModelError


def check_program(program: object, role: str) -> None:
    """Look at a model or a guide before it fails somewhere else.

    Args:
        program: what was given.
        role: "model" or "guide".

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
