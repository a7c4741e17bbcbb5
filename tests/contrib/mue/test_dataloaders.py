"""Sequences to one-hot rows and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ember.contrib.mue.dataloaders import BiosequenceDataset, alphabets, write


def test_preset_alphabets() -> None:
    assert "".join(alphabets["dna"]) == "ACGT" and len(set(alphabets["amino-acid"])) == 20


def test_rows_are_letters_and_zeros_after_the_end() -> None:
    data = BiosequenceDataset(["AATAT", "CA"], alphabet="dna", max_length=6, include_stop=True)
    assert len(data) == 2 and data.alphabet_length == 5 and data.L_data.tolist() == [6.0, 3.0]
    assert data.seq_data.argmax(-1)[0].tolist() == [0, 0, 3, 0, 3, 4]
    assert data[1][0].sum(-1).tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0] and data[1][1] == 3


def test_letters_of_another_alphabet_are_missing() -> None:
    assert BiosequenceDataset(["AUG"], alphabet="ACGT")[0][0].sum(-1).tolist() == [1.0, 0.0, 1.0]
    assert BiosequenceDataset(["AUG"], alphabet="ACGU")[0][0].sum() == 3


@pytest.mark.parametrize("stop", [False, True])
def test_files_come_back(tmp_path: Path, stop: bool) -> None:
    source = tmp_path / "in.fasta"
    source.write_text(">one\nACGT\nAC\n>two\n\nG\n>none\n>three\nTT\n")
    data = BiosequenceDataset(str(source), "fasta", "dna", include_stop=stop)
    assert data.L_data.tolist() == [6.0 + stop, 1.0 + stop, 2.0 + stop]
    back = tmp_path / "out.fasta"
    write(data.seq_data, data.alphabet, str(back), truncate_stop=stop)
    assert back.read_text() == ">0\nACGTAC\n>1\nG\n>2\nTT\n"
    again = BiosequenceDataset(str(back), "fasta", "dna", include_stop=stop)
    assert torch.equal(again.seq_data, data.seq_data)
    write(data.seq_data[:1].float(), data.alphabet, str(back), truncate_stop=True, append=True, scores=[0.5])
    assert back.read_text().endswith(">2\nTT\n>0.5\nACGTAC\n")


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="source_type must be"):
        BiosequenceDataset(["A"], "json")
    with pytest.raises(ValueError, match="at least one sequence"):
        BiosequenceDataset([])
    with pytest.raises(ValueError, match="a sequence has 3 letters, and max_length is 2"):
        BiosequenceDataset(["ARN"], max_length=2)
