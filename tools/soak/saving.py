"""Saves that are killed, that come at once, and for which there is no room."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from ember.optim import Adam
from ember.params import ParamStoreDict

FILES = ("params.pt", "optim.pt")


class Saved:
    """Parameters and an optimizer's state, all of whose numbers are the number of the save."""

    def __init__(self, folder: Path, size: int) -> None:
        self.files = [str(folder / name) for name in FILES]
        self.folder = folder
        self.size = size

    def save(self, number: float) -> None:
        """Write both files."""
        store, optimizer, value = ParamStoreDict(), Adam({"lr": 0.1}), torch.full((self.size,), number)
        store["x"] = value
        group = torch.optim.Adam([value], lr=0.1).state_dict()["param_groups"]
        state = {"step": torch.tensor(1.0), "exp_avg": value, "exp_avg_sq": value}
        optimizer.set_state({"x": {"state": {0: state}, "param_groups": group}})
        store.save(self.files[0])
        optimizer.save(self.files[1])

    def numbers(self) -> tuple[float, float]:
        """The saves that the two files are of. Each is whole."""
        store, optimizer = ParamStoreDict(), Adam({"lr": 0.1})
        store.load(self.files[0])
        optimizer.load(self.files[1])
        (value,) = set(store["x"].detach().tolist())
        entry = optimizer.get_state()["x"]["state"][0]
        (average,) = set(entry["exp_avg"].tolist()) | set(entry["exp_avg_sq"].tolist())
        return value, average

    def age(self) -> None:
        """Let what lies in the folder be old, so that the next save may remove what is left over."""
        for name in os.listdir(self.folder):
            os.utime(self.folder / name, (0, 0))


def in_a_child(work: Callable[[], object]) -> int:
    """Start work in a forked process, which never comes back from it."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        # The threads of torch's loops are not there any more, and would be waited for.
        torch.set_num_threads(1)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def killed_while_saving(dice: random.Random, folder: Path) -> Iterator[None]:
    """A process killed while it saves leaves the old file or the new one, and nothing that the next save does not remove."""
    saved, last = Saved(folder, 50_000), 0
    saved.save(0.0)

    def save_for_ever() -> None:
        for number in range(last, 10**6):
            saved.save(float(number))

    while True:
        child = in_a_child(save_for_ever)
        time.sleep(0.01 + dice.random() * 0.06)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        value, average = saved.numbers()
        assert value >= last and value - average in (0.0, 1.0), (value, average, last)
        last = int(value)
        saved.age()
        saved.save(value)
        assert sorted(os.listdir(folder)) == sorted(FILES), os.listdir(folder)
        yield


def saves_at_once(dice: random.Random, folder: Path) -> Iterator[None]:
    """Processes that save to one name at once: each reader sees a whole file."""
    saved = Saved(folder, 1000)
    saved.save(0.0)

    def save_some() -> None:
        for number in range(10):
            saved.save(float(number))

    while True:
        children = [in_a_child(save_some) for _ in range(dice.randrange(2, 4))]
        while children:
            saved.numbers()
            child, status = os.waitpid(children[0], os.WNOHANG)
            if child:
                assert os.waitstatus_to_exitcode(status) == 0
                children.remove(child)
        assert sorted(os.listdir(folder)) == sorted(FILES), os.listdir(folder)
        yield


@contextmanager
def _small_disk(folder: Path, kib: int) -> Iterator[Path | None]:
    """A file system of that size, if this process may mount one."""
    place = folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


def _fails_for_want_of_room(saved: Saved, limit: int | None) -> Callable[[], None]:
    def work() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        before = saved.numbers()
        try:
            saved.save(before[0] + 1.0)
        except OSError as error:
            assert error.errno in (errno.EFBIG, errno.ENOSPC), error
            assert Path(str(error.filename)).name in FILES and "make room" in str(error), error

    return work


def full_disk(dice: random.Random, folder: Path) -> Iterator[None]:
    """Where the disk fills up, wherever in the file, the error says so, the old files stay whole, and nothing else is left."""
    limited = folder / "limited"
    limited.mkdir()
    with _small_disk(folder, 1024) as small:
        while True:
            for place in (limited, small) if small is not None else (limited,):
                with suppress(FileNotFoundError):
                    for name in os.listdir(place):
                        os.remove(place / name)
                saved = Saved(place, dice.randrange(1, 1000))
                saved.save(0.0)
                saved.size = dice.randrange(1000, 200_000)
                limit = dice.randrange(1, 8 * saved.size) if place is limited else None
                child = in_a_child(_fails_for_want_of_room(saved, limit))
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                value, average = saved.numbers()
                assert (value, average) in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), (value, average)
                assert sorted(os.listdir(place)) == sorted(FILES), os.listdir(place)
            yield
