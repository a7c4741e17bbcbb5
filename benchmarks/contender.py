"""The parent's end of a worker process: requests, answers, and limits on time and memory."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

GIB = 2**30
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") | {
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
}


class Limit(NamedTuple):
    """What one request may take."""

    seconds: float
    gib: float = 8.0


class ContenderError(Exception):
    """A request that came to nothing; its text fits into a cell of a table."""


class Contender:
    """A worker process of ``benchmarks.worker``."""

    def __init__(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.started = time.perf_counter()
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in close)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **ONE_THREAD, **(environment or {})},
            start_new_session=True,  # so that compilers which it starts can be ended with it
        )

    def ask(self, limit: Limit | None = None, **request: Any) -> Any:
        """The answer to a request.

        Raises:
            ContenderError: if the process ends, or goes over the limit; it is ended then.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContenderError(self._last_words()) from None
        if limit is not None:
            self._wait(limit)
        answer = self._process.stdout.readline()
        if not answer:
            raise ContenderError(self._last_words())
        return json.loads(answer)

    def _wait(self, limit: Limit) -> None:
        end = time.perf_counter() + limit.seconds
        # An answer is one line, read whole, so that nothing is left in Python's buffer.
        while not select.select([self._process.stdout], [], [], 0.05)[0]:
            if time.perf_counter() > end:
                self._end()
                raise ContenderError(f"> {limit.seconds:g} s")
            if self._resident() > limit.gib * GIB:
                self._end()
                raise ContenderError(f"> {limit.gib:g} GiB")

    def _resident(self) -> int:
        try:
            with open(f"/proc/{self._process.pid}/statm") as sizes:
                return int(sizes.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):  # not Linux, or the process is gone
            return 0

    def _last_words(self) -> str:
        self._process.wait(timeout=60)
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return f"failed: {lines[-1][:200]}" if lines else f"failed with status {self._process.returncode}"

    def _end(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait(timeout=60)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._end()
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.stdout.close()
        self._log.close()
