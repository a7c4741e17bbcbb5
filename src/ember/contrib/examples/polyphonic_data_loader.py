"""Pieces of music as sequences of chords, one bit a note of the piano.

N. Boulanger-Lewandowski, Y. Bengio and P. Vincent (2012): Modeling temporal dependencies in high-dimensional
sequences: application to polyphonic music generation and transcription.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import rnn

from ember.contrib.examples.local_files import data_directory, find, open_packed

_SITE = "https://github.com/pyro-ppl/datasets/blob/master/polyphonic/"
_SPLITS = ("train", "valid", "test")


class dset(NamedTuple):
    """A data set: its name, where its original is published, and its file here."""

    name: str
    url: str
    filename: str


def _dset(name: str) -> dset:
    return dset(name, f"{_SITE}{name}.pickle?raw=true", f"{name}.pkl")


JSB_CHORALES = _dset("jsb_chorales")
PIANO_MIDI = _dset("piano_midi")
MUSE_DATA = _dset("muse_data")
NOTTINGHAM = _dset("nottingham")

base_path = data_directory(__file__)


class _PlainData(pickle.Unpickler):
    """Reads lists, tuples, numbers and tensors; refuses all else, which could run code."""

    _ALLOWED = {
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch.storage", "_load_from_bytes"): None,
        ("collections", "OrderedDict"): dict,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"a file of music holds no {module}.{name}")
        return self._ALLOWED[module, name]


def _storage(data: bytes) -> Any:
    import io

    return torch.load(io.BytesIO(data), weights_only=True)


def _read(stream: IO[bytes]) -> dict[str, Any]:
    with stream:
        found: dict[str, Any] = _PlainData(stream).load()
    return found


def _bits(chords: Sequence[Sequence[int]], min_note: int, note_range: int) -> Tensor:
    bits = torch.zeros(len(chords), note_range)
    for time, chord in enumerate(chords):
        for note in chord:
            if not min_note <= note < min_note + note_range:
                raise ValueError(f"note {note} is not among the {note_range} from {min_note} on")
            bits[time, note - min_note] = 1.0
    return bits


def process_data(
    base_path: str | os.PathLike[str], dataset: dset, min_note: int = 21, note_range: int = 88
) -> None:
    """Make the file of sequences of bits out of the published one, lists of chords, unless it is there.

    Args:
        base_path: the folder of both.
        dataset: which data set.
        min_note: the lowest note.
        note_range: how many notes there are.

    Raises:
        FileNotFoundError: if neither file is there; names them.
        ValueError: for a note out of range.
    """
    output = os.path.join(base_path, dataset.filename)
    if os.path.exists(output):
        return
    raw_name = f"{dataset.name}.pickle"
    raw = _read(open_packed(find(dataset.name, base_path, raw_name, dataset.filename, source=dataset.url)))
    processed = {}
    for split in _SPLITS:
        sequences = [_bits(chords, min_note, note_range) for chords in raw[split]]
        lengths = torch.tensor([len(chords) for chords in raw[split]], dtype=torch.long)
        processed[split] = {"sequence_lengths": lengths, "sequences": sequences}
    with open(output, "wb") as stream:
        pickle.dump(processed, stream, pickle.HIGHEST_PROTOCOL)


def load_data(dataset: dset) -> dict[str, dict[str, Tensor]]:
    """The splits "train", "valid" and "test", each with "sequence_lengths" and padded "sequences".

    Raises:
        FileNotFoundError: if the file is not in :data:`base_path`; names it.
    """
    process_data(base_path, dataset)
    found = _read(open_packed(find(dataset.name, base_path, dataset.filename)))
    for split in found.values():
        split["sequences"] = rnn.pad_sequence(split["sequences"], batch_first=True).float()
        split["sequence_lengths"] = split["sequence_lengths"].to(device=torch.get_default_device())
    return found


def reverse_sequences(mini_batch: Tensor, seq_lengths: Tensor) -> Tensor:
    """Each sequence back to front, its padding still at the end.

    Args:
        mini_batch: of shape (sequences, time, features).
        seq_lengths: the length of each.
    """
    out = torch.zeros_like(mini_batch)
    for row, length in enumerate(seq_lengths.tolist()):
        out[row, :length] = mini_batch[row, :length].flip(0)
    return out


def pad_and_reverse(rnn_output: rnn.PackedSequence, seq_lengths: Tensor) -> Tensor:
    """The outputs of a recurrent network over reversed sequences, padded and in the order of time."""
    output, _ = rnn.pad_packed_sequence(rnn_output, batch_first=True)
    return reverse_sequences(output, seq_lengths)


def get_mini_batch_mask(mini_batch: Tensor, seq_lengths: Tensor) -> Tensor:
    """Ones where a sequence has elements, zeros where it is padded: shape (sequences, time)."""
    times = torch.arange(mini_batch.size(1), device=mini_batch.device)
    return (times < seq_lengths.to(mini_batch.device).unsqueeze(-1)).to(mini_batch.dtype)


def get_mini_batch(
    mini_batch_indices: Tensor, sequences: Tensor, seq_lengths: Tensor, cuda: bool = False
) -> tuple[Tensor, rnn.PackedSequence, Tensor, Tensor]:
    """Some sequences, the longest first.

    Args:
        mini_batch_indices: which.
        sequences: all of them, of shape (sequences, time, features).
        seq_lengths: their lengths.
        cuda: on the accelerator.

    Returns:
        The sequences, cut after the longest; the same, reversed and packed; their mask; their lengths.
    """
    lengths = seq_lengths[mini_batch_indices]
    order = torch.sort(lengths, stable=True).indices.flip(0)
    lengths = lengths[order]
    batch = sequences[mini_batch_indices[order], : int(lengths.max())]
    backwards = reverse_sequences(batch, lengths)
    mask = get_mini_batch_mask(batch, lengths)
    if cuda:
        batch, mask, backwards = batch.cuda(), mask.cuda(), backwards.cuda()
    packed = rnn.pack_padded_sequence(backwards, lengths.cpu(), batch_first=True)
    return batch, packed, mask, lengths
