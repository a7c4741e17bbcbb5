"""A latent sequence for each, that depends on a few factors: principal components of sequences."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader

import ember.distributions as dist
from ember import poutine
from ember.contrib.mue.missingdatahmm import MissingDataDiscreteHMM
from ember.contrib.mue.models.fitted import SequenceModel, Sequences, normalised, posterior, prior
from ember.contrib.mue.models.profile_hmm import check_numbers, check_sizes
from ember.contrib.mue.statearrangers import Profile
from ember.modules import module
from ember.primitives import param, plate, sample

_PRIORS = {"Normal": dist.Normal, "Laplace": dist.Laplace}


def _known(prior_of_factors: str) -> str:
    if prior_of_factors not in _PRIORS:
        raise ValueError(f"z_prior_distribution must be one of {list(_PRIORS)}, got {prior_of_factors!r}")
    return prior_of_factors


class Encoder(nn.Module):
    """From one-hot sequences to the mean and standard deviation of each factor, by one linear layer each.

    Args:
        data_length: rows of a sequence.
        alphabet_length: letters.
        z_dim: factors.
    """

    def __init__(self, data_length: int, alphabet_length: int, z_dim: int) -> None:
        super().__init__()
        self.input_size = data_length * alphabet_length
        self.f1_mn = nn.Linear(self.input_size, z_dim)
        self.f1_sd = nn.Linear(self.input_size, z_dim)

    def forward(self, data: Tensor) -> tuple[Tensor, Tensor]:
        rows = data.reshape(-1, self.input_size).to(self.f1_mn.weight.dtype)
        return self.f1_mn(rows), softplus(self.f1_sd(rows))


class FactorMuE(SequenceModel):
    """Sequences whose latent sequences are linear in a few factors, on the scale of logits.

    Args:
        data_length: rows of a sequence, zeros at the end included.
        alphabet_length: letters.
        z_dim: factors.
        batch_size: sequences a step.
        latent_seq_length: letters of a latent sequence; 1.1 times ``data_length`` if None.
        indel_factor_dependence: let insertions and deletions depend on the factors.
        indel_prior_scale: of the priors of insertions and deletions.
        indel_prior_bias: the prior mean of the log odds against them.
        inverse_temp_prior: the prior mean of what logits are multiplied with, before softplus.
        weights_prior_scale: of the prior of the factors' weights.
        offset_prior_scale: of the prior of the offset.
        z_prior_distribution: of the factors: "Normal" (principal components) or "Laplace" (independent components).
        ARD_prior: let a factor's weights have a scale of their own, so that factors without use vanish.
        substitution_matrix: learn what is seen for each latent letter; if not, it is the letter itself.
        substitution_prior_scale: of the prior of its logits.
        latent_alphabet_length: letters of the latent sequences; ``alphabet_length`` if None.
        cuda: move batches to the GPU.
        pin_memory: load batches to pinned memory.
        epsilon: added to scales under ``ARD_prior``.

    Raises:
        AssertionError: for arguments that are not positive, or of another type.
        ValueError: for another prior of the factors.

    References:
        E. N. Weinstein, D. S. Marks (2021), "A structured observation distribution for generative biological sequence
        prediction and forecasting".

    >>> import ember
    >>> from ember.contrib.mue.dataloaders import BiosequenceDataset
    >>> _ = torch.manual_seed(0), ember.clear_param_store()
    >>> data = BiosequenceDataset(["ACG", "ACG", "AG"], alphabet="dna")
    >>> model = FactorMuE(data.max_length, data.alphabet_length, z_dim=2, batch_size=3)
    >>> losses = model.fit_svi(data, epochs=1)  # doctest: +ELLIPSIS
    0 ...
    >>> model.embed(data)[0].shape
    torch.Size([3, 2])
    """

    local_sites = ("latent", "obs_seq")
    data_length: int
    alphabet_length: int
    z_dim: int
    latent_seq_length: int
    indel_prior_scale: Tensor
    indel_prior_bias: Tensor
    inverse_temp_prior: Tensor
    weights_prior_scale: Tensor
    offset_prior_scale: Tensor
    substitution_prior_scale: Tensor
    epsilon: Tensor

    def __init__(
        self,
        data_length: int,
        alphabet_length: int,
        z_dim: int,
        batch_size: int = 10,
        latent_seq_length: int | None = None,
        indel_factor_dependence: bool = False,
        indel_prior_scale: float = 1.0,
        indel_prior_bias: float = 10.0,
        inverse_temp_prior: float = 100.0,
        weights_prior_scale: float = 1.0,
        offset_prior_scale: float = 1.0,
        z_prior_distribution: Literal["Normal", "Laplace"] = "Normal",
        ARD_prior: bool = False,
        substitution_matrix: bool = True,
        substitution_prior_scale: float = 10.0,
        latent_alphabet_length: int | None = None,
        cuda: bool = False,
        pin_memory: bool = False,
        epsilon: float = 1e-32,
    ) -> None:
        super().__init__(cuda, pin_memory)
        self._set_sizes(
            data_length=data_length,
            alphabet_length=alphabet_length,
            z_dim=z_dim,
            batch_size=batch_size,
            latent_seq_length=int(data_length * 1.1) if latent_seq_length is None else latent_seq_length,
        )
        self.z_prior_distribution = _known(z_prior_distribution)
        own = latent_alphabet_length if substitution_matrix else None
        self.latent_alphabet_length = alphabet_length if own is None else own
        self.indel_shape = (self.latent_seq_length, 3, 2)
        self.indel_factor_dependence = indel_factor_dependence
        self.total_factor_size = sum(self._sizes())
        self.ARD_prior = ARD_prior
        self.substitution_matrix = substitution_matrix
        self._set_numbers(
            indel_prior_scale=indel_prior_scale,
            indel_prior_bias=indel_prior_bias,
            inverse_temp_prior=inverse_temp_prior,
            weights_prior_scale=weights_prior_scale,
            offset_prior_scale=offset_prior_scale,
            substitution_prior_scale=substitution_prior_scale,
            epsilon=epsilon,
        )
        self.indel_prior = torch.tensor([indel_prior_bias, 0.0])
        self.encoder = Encoder(data_length, alphabet_length, z_dim)
        self.statearrange = Profile(self.latent_seq_length)

    def _set_sizes(self, **sizes: int) -> None:
        check_sizes(**sizes)
        for name, size in sizes.items():
            setattr(self, name, size)

    def _set_numbers(self, **numbers: float) -> None:
        check_numbers(**numbers)
        for name, number in numbers.items():
            setattr(self, name, torch.tensor(number))

    def _sizes(self) -> list[int]:
        """How long the parts of what the factors give are: letters, insertions, and the chances of both."""
        letters = [
            self.latent_seq_length * self.latent_alphabet_length,
            (self.latent_seq_length + 1) * self.latent_alphabet_length,
        ]
        return letters + [math.prod(self.indel_shape)] * 2 * self.indel_factor_dependence

    def decoder(self, z: Tensor, W: Tensor, B: Tensor, inverse_temp: Tensor) -> dict[str, Tensor]:
        """What :class:`~ember.contrib.mue.statearrangers.Profile` takes, given factors.

        Args:
            z: factors, ``(..., z_dim)``.
            W: weights, ``(z_dim, total_factor_size)``.
            B: the offset, ``(total_factor_size,)``.
            inverse_temp: what logits of letters are multiplied with, before softplus.

        Returns:
            Logits by name: "precursor_seq_logits", "insert_seq_logits", and "insert_logits" and
                "delete_logits" where these depend on factors.
        """
        letters, inserted, *indels = (z @ W + B).split(self._sizes(), -1)  # type: ignore[no-untyped-call]
        batch, last = z.shape[:-1], self.latent_alphabet_length
        sharpness = softplus(inverse_temp)
        found = {
            "precursor_seq_logits": normalised((letters * sharpness).reshape((*batch, -1, last))),
            "insert_seq_logits": normalised((inserted * sharpness).reshape((*batch, -1, last))),
        }
        for name, part in zip(("insert_logits", "delete_logits"), indels, strict=False):
            found[name] = normalised(part.reshape(batch + self.indel_shape) + self.indel_prior)
        return found

    def model(self, seq_data: Tensor, local_scale: Tensor, local_prior_scale: Tensor) -> None:
        """Factors, and sequences given them."""
        shared = self._shared()
        with plate("batch", seq_data.shape[0]), poutine.scale(scale=local_scale):
            with poutine.scale(scale=local_prior_scale):
                standard = _PRIORS[self.z_prior_distribution](torch.zeros(self.z_dim), torch.ones(self.z_dim))
                z = sample("latent", standard.to_event(1))
            decoded = self.decoder(z, shared.W, shared.B, shared.inverse_temp)
            arranged = self.statearrange(
                decoded["precursor_seq_logits"],
                decoded["insert_seq_logits"],
                decoded.get("insert_logits", shared.insert),
                decoded.get("delete_logits", shared.delete),
                shared.substitute,
            )
            sample("obs_seq", MissingDataDiscreteHMM(*arranged), obs=seq_data)

    def _shared(self) -> _Shared:
        ones = torch.ones(self.z_dim)
        alpha = sample("alpha", dist.Gamma(ones, ones).to_event(1)) if self.ARD_prior else ones
        size = self.total_factor_size
        scale = torch.ones(self.z_dim, size) * self.weights_prior_scale / (alpha[:, None] + self.epsilon)
        W = prior("W", torch.zeros(self.z_dim, size), scale)
        B = prior("B", torch.zeros(size), torch.ones(size) * self.offset_prior_scale)
        insert = delete = None
        if not self.indel_factor_dependence:
            loc = self.indel_prior * torch.ones(self.indel_shape)
            scale = self.indel_prior_scale * torch.ones(self.indel_shape)
            insert = normalised(prior("insert", loc, scale))
            delete = normalised(prior("delete", loc, scale))
        inverse_temp = prior("inverse_temp", self.inverse_temp_prior, torch.tensor(1.0))
        substitute = None
        if self.substitution_matrix:
            zeros = torch.zeros(self.latent_alphabet_length, self.alphabet_length)
            substitute = prior("substitute", zeros, self.substitution_prior_scale * torch.ones_like(zeros))
        return _Shared(W, B, insert, delete, inverse_temp, substitute)

    def guide(self, seq_data: Tensor, local_scale: Tensor, local_prior_scale: Tensor) -> None:
        """Independent normals for what sequences share, and for their factors those of the encoder."""
        module("encoder", self.encoder)
        if self.ARD_prior:
            concentration = softplus(param("alpha_conc", torch.randn(self.z_dim)))
            rate = softplus(param("alpha_rate", torch.randn(self.z_dim)))
            sample("alpha", dist.Gamma(concentration, rate).to_event(1))
        size = self.total_factor_size
        posterior("W", torch.randn(self.z_dim, size), torch.ones(self.z_dim, size))
        posterior("B", torch.randn(size), torch.ones(size))
        if not self.indel_factor_dependence:
            for name in ("insert", "delete"):
                loc = self.indel_prior * torch.ones(self.indel_shape)
                posterior(name, loc, torch.zeros_like(loc))
        posterior("inverse_temp", torch.tensor(0.0), torch.tensor(0.0))
        if self.substitution_matrix:
            zeros = torch.zeros(self.latent_alphabet_length, self.alphabet_length)
            posterior("substitute", zeros, torch.zeros_like(zeros))
        with plate("batch", seq_data.shape[0]):
            loc, scale = self.encoder(seq_data)
            with poutine.scale(scale=local_scale * local_prior_scale):
                sample("latent", _PRIORS[self.z_prior_distribution](loc, scale).to_event(1))

    def fit_svi(
        self,
        dataset: Sequences,
        epochs: int = 2,
        anneal_length: float = 1.0,
        batch_size: int | None = None,
        scheduler: Any = None,
        jit: bool = False,
    ) -> list[float]:
        """Train on sequences; prints the loss after each epoch.

        Args:
            dataset: the sequences.
            epochs: how often all are seen.
            anneal_length: over so many epochs the weight of the factors' prior grows from 0 to 1.
            batch_size: sequences a step, from now on; as it is if None.
            scheduler: an optimizer with a scheduler, which is stepped with it; Adam at 0.01 if None.
            jit: capture the steps, where that is possible.

        Returns:
            The loss of each step.
        """
        if batch_size is not None:
            self.batch_size = batch_size
        self._anneal_length = anneal_length
        return self._train(dataset, epochs, self.batch_size, scheduler, jit)

    def _weights(self, size: int, batch: int, step: int) -> tuple[Tensor, ...]:
        annealed = 1.0
        if not math.isclose(self._anneal_length, 0.0, abs_tol=1e-8):
            annealed = min(step * self.batch_size / (self._anneal_length * size), 1.0)
        return (*super()._weights(size, batch, step), torch.tensor(annealed))

    def _local_weights(self) -> tuple[Tensor, ...]:
        return (torch.tensor(1.0), torch.tensor(1.0))

    @torch.no_grad()
    def embed(self, dataset: Sequences, batch_size: int | None = None) -> tuple[Tensor, Tensor]:
        """The posterior means and standard deviations of the factors of each sequence.

        Args:
            dataset: the sequences.
            batch_size: how many at a time.
        """
        size = self.batch_size if batch_size is None else batch_size
        batches = DataLoader(dataset, batch_size=size, shuffle=False)
        encoded = [self.encoder(self._moved(sequences)) for sequences, _ in batches]
        locs, scales = zip(*encoded, strict=True)
        return torch.cat([loc.cpu() for loc in locs]), torch.cat([scale.cpu() for scale in scales])

    # A name that Pyro's example asks for.
    @torch.no_grad()
    def _reconstruct_regressor_seq(self, data: Any, ind: int, param: Any) -> Tensor:
        """The probabilities of the letters in the latent sequence of a datum."""
        loc, _ = self.encoder(data[ind][0])
        decoded = self.decoder(loc, param("W_q_mn"), param("B_q_mn"), param("inverse_temp_q_mn"))
        return decoded["precursor_seq_logits"].exp()


class _Shared(NamedTuple):
    """What all sequences have in common; None where the factors give it, or there is none."""

    W: Tensor
    B: Tensor
    insert: Tensor | None
    delete: Tensor | None
    inverse_temp: Tensor
    substitute: Tensor | None
