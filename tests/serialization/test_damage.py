"""Damaged files: whatever has changed since a file was written is an error that names the file, never other numbers."""

from __future__ import annotations

import io
import os
import random
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from ember.errors import SaveFileError
from ember.optim import Adam
from ember.params import ParamStoreDict
from ember.serialization import atomic_save, safe_load

DATA = Path(__file__).parent.parent / "params" / "data"
OBJECT = {"a": torch.arange(1.0, 6.0), "b": {"c": 1, "d": [2.5, "e"]}}


def is_the_same(loaded):
    return set(loaded) == {"a", "b"} and torch.equal(loaded["a"], OBJECT["a"]) and loaded["b"] == OBJECT["b"]


@pytest.fixture
def saved(tmp_path):
    atomic_save(OBJECT, tmp_path / "saved")
    return (tmp_path / "saved").read_bytes()


def refuses(path, content, **options):
    path.write_bytes(content)
    with pytest.raises(SaveFileError, match=path.name):
        safe_load(path, **options)
    return True


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_a_change_of_any_byte_is_seen(tmp_path, saved, allow_pickle):
    for place in range(len(saved)):
        changed = bytearray(saved)
        changed[place] ^= 1 << place % 8
        assert refuses(tmp_path / "changed", bytes(changed), allow_pickle=allow_pickle), place


def test_a_file_of_any_shorter_length_is_seen(tmp_path, saved):
    for length in range(len(saved)):
        assert refuses(tmp_path / "short", saved[:length]), length
    assert refuses(tmp_path / "long", saved + b"\0")
    assert refuses(tmp_path / "twice", saved + saved[:100])


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_of_any_extent_is_seen(tmp_path, saved, seed):
    dice = random.Random(seed)
    for _ in range(100):
        changed = bytearray(saved)
        match dice.randrange(4):
            case 0:
                for _ in range(dice.randrange(1, 20)):
                    changed[dice.randrange(len(changed))] ^= dice.randrange(1, 256)
            case 1:  # a block of zeros, as file systems leave after a crash
                start = dice.randrange(len(changed) - 64)
                changed[start : start + 64] = bytes(64)
            case 2:
                start = dice.randrange(len(changed))
                del changed[start : start + dice.randrange(1, 100)]
            case 3:
                changed += dice.randbytes(dice.randrange(1, 100))
        if changed != saved:
            assert refuses(tmp_path / "changed", bytes(changed))


def of_torch():
    file = io.BytesIO()
    torch.save(OBJECT, file)
    return file.getvalue()


def test_files_without_our_checksum_load(tmp_path):
    (tmp_path / "plain").write_bytes(of_torch())
    assert is_the_same(safe_load(tmp_path / "plain"))
    file = io.BytesIO()
    torch.save(OBJECT, file, _use_new_zipfile_serialization=False)
    (tmp_path / "old").write_bytes(file.getvalue())
    assert is_the_same(safe_load(tmp_path / "old"))


def test_and_are_held_to_those_of_the_archive(tmp_path):
    content, path, other = of_torch(), tmp_path / "changed", []
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 255 if place % 2 else 1 << place % 8
        path.write_bytes(bytes(changed))
        try:
            with warnings.catch_warnings(action="ignore"):
                loaded = safe_load(path)
        except SaveFileError:
            continue
        if not is_the_same(loaded):
            other.append(place)
    assert other == []


def test_a_record_that_is_called_a_folder_is_not_read_from_unwritten_memory(tmp_path):
    content = bytearray(of_torch())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"archive/data/0"))
    content[entry + 38] |= 0x10
    assert refuses(tmp_path / "folder", bytes(content))


def test_torchs_files_without_checksums_load_unseen(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        content = of_torch()
        atomic_save(OBJECT, tmp_path / "ours")
    finally:
        torch.serialization.set_crc32_options(True)
    (tmp_path / "torchs").write_bytes(content)
    assert is_the_same(safe_load(tmp_path / "torchs")) and is_the_same(safe_load(tmp_path / "ours"))
    damaged = bytearray((tmp_path / "ours").read_bytes())
    damaged[damaged.index(OBJECT["a"].numpy().tobytes())] ^= 1
    assert refuses(tmp_path / "ours", bytes(damaged))


def test_others_read_our_files(tmp_path, saved):
    path = tmp_path / "saved"
    for options in ({}, {"mmap": True}, {"weights_only": True}):
        assert is_the_same(torch.load(path, **options))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"ember sha256 ")


def test_archives_that_unpack_to_more_than_their_size(tmp_path):
    bomb = tmp_path / "bomb"
    with (
        zipfile.ZipFile(io.BytesIO(of_torch())) as plain,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for record in plain.infolist():
            packed.writestr(record.filename, plain.read(record) + bytes(1 << 20))
    assert bomb.stat().st_size < 100_000
    for allow_pickle in (False, True):
        with pytest.raises(SaveFileError, match="more than its size"):
            safe_load(bomb, allow_pickle=allow_pickle)


def test_archives_with_two_records_of_one_name(tmp_path):
    with zipfile.ZipFile(io.BytesIO(of_torch())) as plain, zipfile.ZipFile(tmp_path / "two", "w") as made:
        for record in [*plain.infolist(), plain.getinfo("archive/data/0")]:
            with warnings.catch_warnings(action="ignore"):
                made.writestr(record.filename, plain.read(record))
    with pytest.raises(SaveFileError, match="two records of one name"):
        safe_load(tmp_path / "two")


def nested(levels):
    data = []
    for _ in range(levels):
        data = [data]
    return data


def laughing(levels):
    data = [1.0]
    for _ in range(levels):
        data = [data, data]
    return data


def in_itself():
    data = {"x": 1}
    data["x"] = [data]
    return data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (nested(70), "levels deep"),
        (nested(400), "levels deep"),
        (laughing(40), "so often"),
        (in_itself(), "levels deep"),
    ],
)
def test_nesting(tmp_path, data, reason):
    torch.save(data, tmp_path / "deep")
    for load in (safe_load, ParamStoreDict().load, Adam({"lr": 0.1}).load):
        with pytest.raises(SaveFileError, match=reason):
            load(tmp_path / "deep")


def test_very_deep_nesting_is_no_recursion_error(tmp_path):
    # Written by hand: pickle itself cannot write it.
    levels = 100_000
    content = b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."
    with zipfile.ZipFile(tmp_path / "deep", "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
    with pytest.raises(SaveFileError):
        safe_load(tmp_path / "deep")


def test_wide_data_are_fine(tmp_path):
    shared = (0.9, 0.999)
    wide = {f"p{i}": {"betas": shared, "step": i} for i in range(5000)}
    atomic_save(wide, tmp_path / "wide")
    assert safe_load(tmp_path / "wide") == wide


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        safe_load(tmp_path / "folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(SaveFileError, match="no ordinary file"):
            safe_load(tmp_path / "pipe")
    if os.path.exists("/dev/zero"):
        with pytest.raises(SaveFileError, match="no ordinary file"):
            safe_load("/dev/zero")


@pytest.mark.parametrize("file", sorted(DATA.glob("*.save")), ids=lambda file: file.name)
def test_damaged_files_of_pyro_load_right_or_not_at_all(tmp_path, file):
    content, dice = file.read_bytes(), random.Random(1)
    sound = ParamStoreDict()
    sound.load(file, allow_pickle=True)
    for _ in range(60):
        changed = bytearray(content)
        changed[dice.randrange(len(changed))] ^= dice.randrange(1, 256)
        (tmp_path / "changed").write_bytes(bytes(changed))
        store = ParamStoreDict()
        try:
            store.load(tmp_path / "changed", allow_pickle=True)
        except SaveFileError:
            assert len(store) == 0
        else:
            assert list(store) == list(sound)
            assert all(torch.equal(store._params[name], sound._params[name]) for name in sound)
