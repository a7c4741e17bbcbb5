"""Atomic saving and safe loading, whatever is saved."""

from __future__ import annotations

import os
import stat

import pytest
import torch

from ember.errors import SaveFileError
from ember.serialization import atomic_save, safe_load

OBJECT = {"a": torch.arange(3), "b": [1, 2.0, "three", None, (4,)]}


def test_round_trip(tmp_path):
    for path in (tmp_path / "a", str(tmp_path / "b")):
        atomic_save(OBJECT, path)
        loaded = safe_load(path)
        assert torch.equal(loaded["a"], OBJECT["a"]) and loaded["b"] == OBJECT["b"]
        assert safe_load(path, map_location="meta")["a"].device.type == "meta"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_permissions_are_those_of_any_file(tmp_path):
    (tmp_path / "plain").write_text("")
    atomic_save(OBJECT, tmp_path / "saved")
    assert stat.S_IMODE((tmp_path / "saved").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )
    (tmp_path / "saved").chmod(0o600)
    atomic_save(OBJECT, tmp_path / "saved")
    assert stat.S_IMODE((tmp_path / "saved").stat().st_mode) == 0o600


def test_links_stay_links(tmp_path):
    atomic_save({"old": 1}, tmp_path / "run1")
    (tmp_path / "latest").symlink_to(tmp_path / "run1")
    atomic_save({"new": 1}, tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink() and safe_load(tmp_path / "run1") == {"new": 1}


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_interrupted_saves_leave_nothing_behind(tmp_path, monkeypatch, error):
    atomic_save({"old": 1}, tmp_path / "a")

    def interrupted(obj, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(type(error)):
        atomic_save({"new": 1}, tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"] and safe_load(tmp_path / "a") == {"old": 1}


def test_what_cannot_be_saved_leaves_the_old_file(tmp_path):
    atomic_save({"old": 1}, tmp_path / "a")
    with pytest.raises(Exception, match="pickle"):
        atomic_save({"new": lambda: 1}, tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"] and safe_load(tmp_path / "a") == {"old": 1}


def test_missing_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic_save(OBJECT, tmp_path / "nowhere" / "a")


class Plain:
    """An object that needs unpickling."""


def test_objects_need_allow_pickle(tmp_path):
    atomic_save(Plain(), tmp_path / "a")
    with pytest.raises(SaveFileError, match="allow_pickle=True"):
        safe_load(tmp_path / "a")
    assert isinstance(safe_load(tmp_path / "a", allow_pickle=True), Plain)


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_corrupt_files_are_named(tmp_path, allow_pickle):
    atomic_save(OBJECT, tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    for broken in (b"", b"hello", content[: len(content) // 2]):
        (tmp_path / "b").write_bytes(broken)
        with pytest.raises(SaveFileError, match="cannot be read"):
            safe_load(tmp_path / "b", allow_pickle=allow_pickle)
    with pytest.raises(FileNotFoundError):
        safe_load(tmp_path / "c", allow_pickle=allow_pickle)
