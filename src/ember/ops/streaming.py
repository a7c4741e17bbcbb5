"""Statistics of samples that come one by one, in one process or in several."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "CountMeanStats",
    "CountMeanVarianceStats",
    "CountStats",
    "StackStats",
    "StatsOfDict",
    "StreamingStats",
]


class StreamingStats(ABC):
    """Base of statistics: ``update`` takes a sample, ``merge`` those of another, ``get`` returns the statistics."""

    @abstractmethod
    def update(self, sample: Any) -> None:
        """Take one more sample."""
        raise NotImplementedError

    @abstractmethod
    def merge(self, other: Any) -> StreamingStats:
        """The statistics of the samples of both; neither is changed."""
        raise NotImplementedError

    @abstractmethod
    def get(self) -> Any:
        """The statistics."""
        raise NotImplementedError

    def _check(self, other: object) -> None:
        assert isinstance(other, type(self)), (
            f"cannot merge {type(self).__name__} with {type(other).__name__}"
        )


class CountStats(StreamingStats):
    """How many samples there are.

    >>> stats = CountStats()
    >>> stats.update(None)
    >>> stats.get()
    {'count': 1}
    """

    def __init__(self) -> None:
        self.count = 0

    def update(self, sample: object) -> None:
        """Count one more."""
        self.count += 1

    def merge(self, other: CountStats) -> CountStats:
        """The sum of both."""
        self._check(other)
        result = type(self)()
        result.count = self.count + other.count
        return result

    def get(self) -> dict[str, int]:
        """``{"count": ...}``."""
        return {"count": self.count}


class StatsOfDict(StreamingStats):
    """Statistics of samples that are dicts, each entry by itself.

    Args:
        types: the statistics of entries, by their keys.
        default: those of other entries.

    >>> stats = StatsOfDict({"x": CountMeanStats})
    >>> stats.update({"x": torch.tensor(1.0), "y": None})
    >>> stats.get()
    {'x': {'count': 1, 'mean': tensor(1.)}, 'y': {'count': 1}}
    """

    def __init__(
        self,
        types: Mapping[Hashable, Callable[[], StreamingStats]] = {},
        default: Callable[[], StreamingStats] = CountStats,
    ) -> None:
        self.default = default
        self.stats: dict[Hashable, StreamingStats] = {key: make() for key, make in types.items()}

    def update(self, sample: Mapping[Hashable, Any]) -> None:
        """Take one more sample."""
        for key, value in sample.items():
            self.stats.setdefault(key, self.default()).update(value)

    def merge(self, other: StatsOfDict) -> StatsOfDict:
        """Entry by entry; one that only one of both has stays."""
        self._check(other)
        result = copy.copy(self)
        result.stats = dict(self.stats)
        for key, stats in other.stats.items():
            result.stats[key] = self.stats[key].merge(stats) if key in self.stats else copy.deepcopy(stats)
        return result

    def get(self) -> dict[Hashable, Any]:
        """The statistics of each entry."""
        return {key: stats.get() for key, stats in self.stats.items()}


class StackStats(StreamingStats):
    """All samples."""

    def __init__(self) -> None:
        self.samples: list[Tensor] = []

    def update(self, sample: Tensor) -> None:
        """Keep one more."""
        self.samples.append(sample)

    def merge(self, other: StackStats) -> StackStats:
        """Those of both."""
        self._check(other)
        result = type(self)()
        result.samples = self.samples + other.samples
        return result

    def get(self) -> dict[str, Any]:
        """``{"count": ..., "samples": ...}``; without samples the count alone."""
        if not self.samples:
            return {"count": 0}
        return {"count": len(self.samples), "samples": torch.stack(self.samples)}


class CountMeanStats(StreamingStats):
    """How many samples there are, and their mean."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0

    def update(self, sample: Tensor) -> None:
        """Take one more sample."""
        self.count += 1
        self.mean = self.mean + (sample.detach() - self.mean) / self.count

    def merge(self, other: CountMeanStats) -> CountMeanStats:
        """The mean of the samples of both."""
        self._check(other)
        result = type(self)()
        result.count = self.count + other.count
        shares = [(s.count / max(result.count, 1), s.mean) for s in (self, other)]
        result.mean = sum(share * mean for share, mean in shares)
        return result

    def get(self) -> dict[str, Any]:
        """``{"count": ..., "mean": ...}``; without samples the count alone."""
        return {"count": 0} if self.count == 0 else {"count": self.count, "mean": self.mean}


class CountMeanVarianceStats(StreamingStats):
    """How many samples there are, their mean and their variance.

    References:
        T. F. Chan, G. H. Golub, R. J. LeVeque (1983), "Algorithms for Computing the Sample Variance" (merging).
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0
        self.squares: Any = 0
        """The sum of the squares of deviations from the mean."""

    def update(self, sample: Tensor) -> None:
        """Take one more sample."""
        sample = sample.detach()
        self.count += 1
        before = sample - self.mean
        self.mean = self.mean + before / self.count
        self.squares = self.squares + before * (sample - self.mean)

    def merge(self, other: CountMeanVarianceStats) -> CountMeanVarianceStats:
        """The moments of the samples of both."""
        self._check(other)
        result = type(self)()
        result.count = self.count + other.count
        if result.count:
            away, share = other.mean - self.mean, other.count / result.count
            result.mean = self.mean + away * share
            result.squares = self.squares + other.squares + away * away * self.count * share
        return result

    def get(self) -> dict[str, Any]:
        """``{"count": ..., "mean": ..., "variance": ...}``; without samples the count alone.

        Raises:
            RuntimeError: if there is one sample, which has no variance.
        """
        if self.count == 0:
            return {"count": 0}
        if self.count == 1:
            raise RuntimeError("Insufficient samples to estimate covariance: there is 1, and two are needed")
        return {"count": self.count, "mean": self.mean, "variance": self.squares / (self.count - 1)}
