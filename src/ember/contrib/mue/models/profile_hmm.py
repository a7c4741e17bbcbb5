"""One latent sequence for all, copied with insertions and deletions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.contrib.mue.missingdatahmm import MissingDataDiscreteHMM
from ember.contrib.mue.models.fitted import SequenceModel, Sequences, normalised, posterior, prior
from ember.contrib.mue.statearrangers import Profile
from ember.primitives import plate, sample


class ProfileHMM(SequenceModel):
    """A profile hidden Markov model of sequences that are copies of one, with normal priors on all logits.

    Args:
        latent_seq_length: how many letters the latent sequence has.
        alphabet_length: how many letters there are.
        prior_scale: the priors' standard deviation.
        indel_prior_bias: the prior mean of the log odds against an insertion, or a deletion.
        cuda: move batches to the GPU.
        pin_memory: load batches to pinned memory.

    Raises:
        AssertionError: for arguments that are not positive, or of another type.

    >>> import ember
    >>> from ember.contrib.mue.dataloaders import BiosequenceDataset
    >>> _ = torch.manual_seed(0), ember.clear_param_store()
    >>> data = BiosequenceDataset(["ACG", "ACG", "AG"], alphabet="dna")
    >>> model = ProfileHMM(3, data.alphabet_length)
    >>> losses = model.fit_svi(data, epochs=1, batch_size=3)  # doctest: +ELLIPSIS
    0 ...
    >>> train_lp, test_lp, perplexity, _ = model.evaluate(data)
    >>> train_lp < 0, test_lp, perplexity > 1
    (True, None, True)
    """

    def __init__(
        self,
        latent_seq_length: int,
        alphabet_length: int,
        prior_scale: float = 1.0,
        indel_prior_bias: float = 10.0,
        cuda: bool = False,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(cuda, pin_memory)
        check_sizes(latent_seq_length=latent_seq_length, alphabet_length=alphabet_length)
        check_numbers(prior_scale=prior_scale, indel_prior_bias=indel_prior_bias)
        self.latent_seq_length = latent_seq_length
        self.alphabet_length = alphabet_length
        self.precursor_seq_shape = (latent_seq_length, alphabet_length)
        self.insert_seq_shape = (latent_seq_length + 1, alphabet_length)
        self.indel_shape = (latent_seq_length, 3, 2)
        self.prior_scale = prior_scale
        self.indel_prior = torch.tensor([indel_prior_bias, 0.0])
        self.statearrange = Profile(latent_seq_length)

    def model(self, seq_data: Tensor, local_scale: Tensor) -> None:
        """Sequences, given the latent one."""
        letters = self._prior("precursor_seq", torch.zeros(self.precursor_seq_shape))
        inserted = self._prior("insert_seq", torch.zeros(self.insert_seq_shape))
        insert = self._prior("insert", self.indel_prior * torch.ones(self.indel_shape))
        delete = self._prior("delete", self.indel_prior * torch.ones(self.indel_shape))
        arranged = self.statearrange(letters, inserted, insert, delete)
        with plate("batch", seq_data.shape[0]), poutine.scale(scale=local_scale):
            sample("obs_seq", MissingDataDiscreteHMM(*arranged), obs=seq_data)

    def _prior(self, name: str, loc: Tensor) -> Tensor:
        return normalised(prior(name, loc, self.prior_scale * torch.ones_like(loc)))

    def guide(self, seq_data: Tensor | None, local_scale: Tensor | None) -> None:
        """Independent normals for all logits."""
        for name, loc in (
            ("precursor_seq", torch.zeros(self.precursor_seq_shape)),
            ("insert_seq", torch.zeros(self.insert_seq_shape)),
            ("insert", self.indel_prior * torch.ones(self.indel_shape)),
            ("delete", self.indel_prior * torch.ones(self.indel_shape)),
        ):
            posterior(name, loc, torch.zeros_like(loc))

    def _make_parameters(self, batches: Any) -> None:
        self.guide(None, None)

    def fit_svi(
        self,
        dataset: Sequences,
        epochs: int = 2,
        batch_size: int = 1,
        scheduler: Any = None,
        jit: bool = False,
    ) -> list[float]:
        """Train on sequences; prints the loss after each epoch.

        Args:
            dataset: the sequences.
            epochs: how often all are seen.
            batch_size: sequences a step.
            scheduler: an optimizer with a scheduler, which is stepped with it; Adam at 0.01 if None.
            jit: capture the steps, where that is possible.

        Returns:
            The loss of each step.
        """
        self.batch_size = batch_size
        return self._train(dataset, epochs, batch_size, scheduler, jit)


def check_sizes(**sizes: int) -> None:
    """Check that all are positive whole numbers.

    Raises:
        AssertionError: names the one that is not.
    """
    for name, size in sizes.items():
        assert isinstance(size, int) and size > 0, f"{name} is a positive whole number, and not {size!r}"


def check_numbers(**numbers: float) -> None:
    """Check that all are floats.

    Raises:
        AssertionError: names the one that is not.
    """
    for name, number in numbers.items():
        assert isinstance(number, float), f"{name} is a float, and not {number!r}"
