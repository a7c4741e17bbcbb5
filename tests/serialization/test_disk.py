"""Disks that are full, processes that are killed, places that are no files: the old file stays whole, and the error names it."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid

import pytest
import torch

import ember.serialization.saving as saving
from ember.optim import Adam
from ember.params import ParamStoreDict
from ember.serialization import atomic_save, safe_load
from tools.soak.saving import full_disk, killed_while_saving, saves_at_once


def left_over(path, age=120.0):
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.write_bytes(b"half of a file")
    then = time.time() - age
    os.utime(temporary, (then, then))
    return temporary


FULL = """
import resource, sys, torch
from ember.params import ParamStoreDict
store = ParamStoreDict()
store.load(sys.argv[1])
store["big"] = torch.ones(1_000_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.save(sys.argv[1])
except OSError as error:
    print(error.errno, error.filename, error)
"""


def test_a_full_disk_says_so(tmp_path):
    # A limit on the size of files: the write fails as on a full disk.
    path, store = tmp_path / "params.pt", ParamStoreDict()
    store["x"] = torch.ones(3)
    store.save(path)
    before = path.read_bytes()
    run = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    code, name, message = run.stdout.split(maxsplit=2)
    assert int(code) == errno.EFBIG and name == str(path)
    assert "Nothing has been saved" in message and "make room" in message
    assert os.listdir(tmp_path) == ["params.pt"] and path.read_bytes() == before


@pytest.mark.parametrize("allowed", [0, 1, 3, 5])
@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EDQUOT])
def test_wherever_the_disk_fills_up(tmp_path, monkeypatch, allowed, kind):
    path = tmp_path / "params.pt"
    atomic_save({"x": 1}, path)
    write, writes = saving.Remembering.write, []

    def limited(self, data):
        writes.append(data)
        if len(writes) > allowed:
            monkeypatch.setattr(self, "_file", Full())
        return write(self, data)

    class Full:
        def write(self, data):
            raise OSError(kind, os.strerror(kind))

        flush = write

    monkeypatch.setattr(saving.Remembering, "write", limited)
    for save in (lambda: atomic_save({"x": torch.ones(99)}, path), lambda: Adam({"lr": 0.1}).save(path)):
        writes.clear()
        with pytest.raises(OSError, match="make room, or save elsewhere") as caught:
            save()
        assert caught.value.errno == kind and caught.value.filename == str(path)
    assert os.listdir(tmp_path) == ["params.pt"] and safe_load(path) == {"x": 1}


KILLED = """
import sys, time, torch
from ember.serialization import atomic_save
save = torch.save
def slow(obj, file):
    file.write(b"half"); file.flush(); print("saving", flush=True); time.sleep(60)
torch.save = slow
atomic_save({"x": 1}, sys.argv[1])
"""


def test_a_killed_save_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path):
    path = tmp_path / "params.pt"
    atomic_save({"x": 0}, path)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "saving\n"
    (temporary,) = set(os.listdir(tmp_path)) - {"params.pt"}
    then = time.time() - 3600
    os.utime(tmp_path / temporary, (then, then))
    atomic_save({"x": 1}, path)
    assert (tmp_path / temporary).exists(), "a save that is still running was taken for a dead one"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    atomic_save({"x": 2}, path)
    assert os.listdir(tmp_path) == ["params.pt"] and safe_load(path) == {"x": 2}


def test_only_what_is_surely_left_over_is_removed(tmp_path):
    path = tmp_path / "params.pt"
    kept = [
        left_over(path, age=5.0),
        left_over(tmp_path / "others.pt"),
        tmp_path / ".params.pt.mine.tmp",
        tmp_path / f".params.pt.{'a' * 32}.tmp2",
    ]
    for name in kept[2:]:
        name.touch()
        os.utime(name, (0, 0))
    folder = tmp_path / f".params.pt.{'b' * 32}.tmp"
    folder.mkdir()
    os.utime(folder, (0, 0))
    gone = left_over(path), left_over(path, age=1e6)
    with open(left_over(path), "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        atomic_save({"x": 1}, path)
        assert os.path.exists(held.name)
    assert all(name.exists() for name in [*kept, folder]) and not any(name.exists() for name in gone)


def test_folders_that_may_not_be_listed_are_no_obstacle(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError

    monkeypatch.setattr(os, "listdir", refuse)
    atomic_save({"x": 1}, tmp_path / "params.pt")
    assert safe_load(tmp_path / "params.pt") == {"x": 1}


def test_errors_name_the_file_that_was_asked_for(tmp_path, monkeypatch):
    path = str(tmp_path / "nowhere" / "params.pt")
    with pytest.raises(FileNotFoundError, match=re.escape(repr(path))):
        atomic_save({}, path)

    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied", args[0])

    monkeypatch.setattr(saving, "open", refuse, raising=False)
    path = str(tmp_path / "params.pt")
    with pytest.raises(PermissionError, match=re.escape(repr(path))):
        atomic_save({}, path)


def test_what_is_no_ordinary_file_is_never_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="ordinary file"):
        atomic_save({}, tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="ordinary file"):
            atomic_save({}, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "pipe"]


def test_links(tmp_path):
    (tmp_path / "dangling").symlink_to("target")
    atomic_save({"x": 1}, tmp_path / "dangling")
    assert (tmp_path / "dangling").is_symlink() and safe_load(tmp_path / "target") == {"x": 1}
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="round"):
        safe_load(tmp_path / "round")


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "params .pt", "ü.pt"])
def test_any_name_that_a_file_can_have(tmp_path, name):
    atomic_save({"x": 1}, tmp_path / name)
    left = left_over(tmp_path / name) if len(name) < 99 else None
    atomic_save({"x": 2}, tmp_path / name)
    assert safe_load(tmp_path / name) == {"x": 2} and (left is None or not left.exists())


def rounds(scenario, folder, number):
    """So many rounds of what ``make soak`` does for an hour."""
    assert len(list(itertools.islice(scenario(random.Random(0), folder), number))) == number


def test_many_saves_at_once(tmp_path):
    rounds(saves_at_once, tmp_path, 2)


def test_killed_at_any_time(tmp_path):
    rounds(killed_while_saving, tmp_path, 10)


def test_a_disk_that_fills_up_anywhere(tmp_path):
    rounds(full_disk, tmp_path, 5)
