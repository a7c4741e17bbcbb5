"""A parameter store of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ember.params import ParamStoreDict


@pytest.fixture
def store() -> Iterator[ParamStoreDict]:
    with ParamStoreDict().active() as private:
        yield private
