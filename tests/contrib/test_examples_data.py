"""The loaders of examples' data, on small stand-ins."""

from __future__ import annotations

import bz2
import datetime
import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ember.contrib.examples import bart, finance, multi_mnist, nextstrain, scanvi_data, util
from ember.contrib.examples import polyphonic_data_loader as music


def write_mnist(folder: Path, count: int = 20) -> np.ndarray:
    folder.mkdir(parents=True)
    images = np.random.RandomState(0).randint(0, 256, (count, 28, 28)).astype(np.uint8)
    for split in ("train", "t10k"):
        head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in images.shape)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(i % 10 for i in range(count))
        with gzip.open(folder / f"{split}-labels-idx1-ubyte.gz", "wb") as stream:
            stream.write(labels)
    return images


def test_mnist(tmp_path: Path) -> None:
    images = write_mnist(tmp_path / "MNIST" / "raw")
    loader = util.get_data_loader(
        "MNIST", tmp_path, batch_size=8, shuffle=False, dataset_transforms=[lambda x: 2 * x]
    )
    batch, labels = next(iter(loader))
    torch.testing.assert_close(batch[:, 0], 2 * torch.tensor(images[:8]).float() / 255)
    assert labels.tolist() == list(range(8)) and len(loader.dataset) == 20
    assert util.MNIST(tmp_path, train=False).data.shape == (20, 28, 28)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        util.get_data_loader("MNIST", tmp_path)
    assert "train-images-idx3-ubyte" in str(caught.value) and str(tmp_path) in str(caught.value)
    write_mnist(tmp_path / "raw")
    (tmp_path / "raw" / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + bytes(12) + b"left over")
    with pytest.raises(ValueError, match="has 9 elements"):
        util.MNIST(tmp_path)


@pytest.mark.parametrize(
    "module, load, name",
    [
        (bart, bart.load_bart_od, "bart_full.pkl"),
        (finance, finance.load_snp500, "snp500.csv.bz2"),
        (nextstrain, nextstrain.load_nextstrain_counts, "nextstrain.data.pt.gz"),
        (scanvi_data, scanvi_data.get_data, "pbmc.pt"),
    ],
)
def test_missing_data_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module, load, name: str
) -> None:
    monkeypatch.setattr(module, "DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        load()
    assert name in str(caught.value) and str(tmp_path) in str(caught.value)


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bart, finance, nextstrain, scanvi_data):
        monkeypatch.setattr(module, "DATA", str(tmp_path))
    trips = {"stations": ["A"], "start_date": datetime.datetime(2011, 1, 1), "counts": torch.ones(2, 1, 1)}
    with bz2.open(tmp_path / "bart_full.pkl.bz2", "wb") as stream:
        torch.save(trips, stream)
    assert bart.load_bart_od()["start_date"].year == 2011
    with gzip.open(tmp_path / "nextstrain.data.pt.gz", "wb") as stream:
        torch.save({"counts": torch.ones(3), "locations": ["x"]}, stream)
    assert nextstrain.load_nextstrain_counts()["locations"] == ["x"]
    with bz2.open(tmp_path / "snp500.csv.bz2", "wt") as stream:
        stream.write("Date,Open\n1927-12-30,17.66\n")
    assert finance.load_snp500()["Open"].tolist() == [17.66]
    torch.save(
        {"data_x": torch.ones(6, 4), "data_y": torch.tensor([0, 1, -1, -1, -1, 2])}, tmp_path / "pbmc.pt"
    )
    loader, genes, mean, scale, _ = scanvi_data.get_data(batch_size=2)
    assert (len(loader), genes, scale) == (4, 4, 0.0) and mean == pytest.approx(np.log(4))


def test_trips_drawn_at_random() -> None:
    torch.manual_seed(0)
    counts = bart.load_fake_od()["counts"]
    assert counts.shape == (24 * 7 * 8, 3, 3) and counts.mean().item() == pytest.approx(100, abs=0.5)


def test_batches_are_labelled_or_not() -> None:
    torch.manual_seed(0)
    loader, genes, *_ = scanvi_data.get_data("mock", batch_size=30)
    batches = list(loader)
    assert genes == 17 and len(batches) == len(loader) == 8 and loader.size == 200
    labelled = [y for _, y in batches if y is not None]
    assert torch.cat(labelled).sum(0).tolist() == [50, 50, 0, 0]
    with pytest.raises(ValueError, match="'wibble'"):
        scanvi_data.get_data("wibble")


PIECES = {"train": [[(60, 62), (65,)], [(21,)]], "valid": [[(30,)], [(31, 108), ()]], "test": [[(40,)]]}


def test_music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(music, "base_path", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"jsb_chorales\.pickle or jsb_chorales\.pkl"):
        music.load_data(music.JSB_CHORALES)
    (tmp_path / "jsb_chorales.pickle").write_bytes(pickle.dumps(PIECES))
    for _ in range(2):  # made, and read again
        found = music.load_data(music.JSB_CHORALES)
        assert found["train"]["sequence_lengths"].tolist() == [2, 1]
        assert found["train"]["sequences"][0, 0].nonzero().flatten().tolist() == [39, 41]
        assert found["valid"]["sequences"].shape == (2, 2, 88) and found["valid"]["sequences"][1].sum() == 2
    (tmp_path / "nottingham.pickle").write_bytes(pickle.dumps({"train": [[(3,)]], "valid": [], "test": []}))
    with pytest.raises(ValueError, match="note 3 is not among the 88 from 21 on"):
        music.load_data(music.NOTTINGHAM)


def test_a_file_of_music_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(music, "base_path", str(tmp_path))
    (tmp_path / "muse_data.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(pickle.UnpicklingError, match=r"holds no builtins\.print"):
        music.load_data(music.MUSE_DATA)


def test_sequences() -> None:
    x, lengths = torch.arange(48.0).reshape(4, 4, 3), torch.tensor([2, 4, 1, 2])
    batch, packed, mask, ordered = music.get_mini_batch(torch.tensor([0, 2, 1]), x, lengths)
    assert ordered.tolist() == [4, 2, 1] and mask.sum(-1).tolist() == [4, 2, 1]
    assert batch[:, 0, 0].tolist() == [12.0, 0.0, 24.0]
    # Reversed twice is the sequence, its padding zero.
    back = music.pad_and_reverse(packed, ordered)
    torch.testing.assert_close(back, batch * mask.unsqueeze(-1))


def test_canvases(tmp_path: Path) -> None:
    write_mnist(tmp_path / "raw", 5)
    np.random.seed(0)
    digits = multi_mnist.load_mnist(tmp_path)
    canvases, labels = multi_mnist.mk_dataset(6, digits, 2, 50)
    assert canvases.shape == (6, 50, 50) and canvases.dtype == np.uint8
    assert all((canvas > 0).any() == bool(found) for canvas, found in zip(canvases, labels, strict=True))
    np.savez(tmp_path / "multi_mnist_uint8.npz", x=canvases, y=labels)
    assert np.array_equal(multi_mnist.load(tmp_path)[0], canvases)
    with pytest.raises(FileNotFoundError, match="train-images"):
        multi_mnist.load(tmp_path / "elsewhere")


def test_folders(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert util.get_data_directory("/a/b/c.py") == "/a/b/.data"
    with pytest.raises(TypeError, match="__file__"):
        util.get_data_directory()
    monkeypatch.setenv("CI", "1")
    assert util.get_data_directory().endswith("/.data")
    with open(tmp_path / "log", "w") as stream:
        util.print_and_log(stream, "hello")
    assert capsys.readouterr().out == (tmp_path / "log").read_text() == "hello\n"
