"""From the chances of insertions and deletions to the matrices of a hidden Markov model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ember.distributions.typed_torch import broadcast_shapes, broadcast_tensors


def mg2k(m: int, g: int, M: int) -> int:
    """The number of a state: letter ``m`` of a sequence of ``M`` is copied (g = 0), or something is put before it (g = 1).

    >>> mg2k(1, 0, 3), mg2k(1, 1, 3)
    (1, 4)
    """
    return m + M * g


class Profile(nn.Module):
    """A profile hidden Markov model: walks along a sequence of ``M`` letters, that copy, skip and insert.

    There are ``2 M + 1`` states, numbered by :func:`mg2k`. At letter m, having come from a copy (j = 0), an insertion
    (j = 1) or a skipped letter (j = 2), something is inserted with probability ``r[m, j]``, else the letter is skipped
    with probability ``u[m, j]``, else copied. After the last letter all is insertion.

    Args:
        M: how many letters the latent sequence has.
        epsilon: transitions that cannot be have the logit ``-1 / epsilon``.

    Raises:
        ValueError: if M is less than 1.

    References:
        R. Durbin, S. Eddy, A. Krogh, G. Mitchison (1998), "Biological sequence analysis", chapter 5.
        E. N. Weinstein, D. S. Marks (2021), equation S40.

    >>> chances = torch.tensor([0.9, 0.1]).log().expand(2, 3, 2)  # no, yes
    >>> letters, inserted = torch.zeros(2, 4).log_softmax(-1), torch.zeros(3, 4).log_softmax(-1)
    >>> initial, transition, observation = Profile(2)(letters, inserted, chances, chances)
    >>> initial.exp()  # copy letters 0 and 1, or insert before the first, the second, at the end
    tensor([0.8100, 0.0729, 0.1000, 0.0090, 0.0081])
    >>> transition.shape, observation.shape
    (torch.Size([5, 5]), torch.Size([5, 4]))
    """

    def __init__(self, M: int, epsilon: float = 1e-32) -> None:
        super().__init__()
        if M < 1:
            raise ValueError(f"Profile needs a latent sequence of one letter or more, got M={M}")
        self.M = M
        self.K = 2 * M + 1
        self.epsilon = epsilon

    def forward(
        self,
        precursor_seq_logits: Tensor,
        insert_seq_logits: Tensor,
        insert_logits: Tensor,
        delete_logits: Tensor,
        substitute_logits: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The initial, transition and observation logits of a hidden Markov model.

        Args:
            precursor_seq_logits: what each letter of the latent sequence is, ``(..., M, D)``.
            insert_seq_logits: what is inserted before each letter and at the end, ``(..., M + 1, D)``.
            insert_logits: of ``1 - r`` and ``r``, ``(..., M, 3, 2)``.
            delete_logits: of ``1 - u`` and ``u``, ``(..., M, 3, 2)``.
            substitute_logits: what is seen for each letter, ``(..., D, B)``; the letter itself if None.

        All are normalised along the last dim, and broadcast over batch dims.

        Raises:
            ValueError: if a shape does not fit ``M``.
        """
        self._check(precursor_seq_logits, insert_seq_logits, insert_logits, delete_logits)
        after_copy = self._onward(0, insert_logits, delete_logits)
        after_insertion = self._onward(1, insert_logits, delete_logits)
        transitions = torch.cat([after_copy[..., 1:, :], after_insertion], dim=-2)
        observed = _joined(precursor_seq_logits, insert_seq_logits)
        if substitute_logits is not None:
            observed = torch.logsumexp(observed.unsqueeze(-1) + substitute_logits.unsqueeze(-3), dim=-2)
        return after_copy[..., 0, :], transitions, observed

    def _onward(self, came_from: int, insert_logits: Tensor, delete_logits: Tensor) -> Tensor:
        """The next state, by how many letters are done: ``(..., M + 1, K)``."""
        M = self.M
        insert_logits, delete_logits = broadcast_tensors(insert_logits, delete_logits)
        stays, inserts = insert_logits.unbind(-1)
        copies, skips = delete_logits.unbind(-1)
        # What happens at the letter which is next, by letters done; after the last letter, the one thing left is to insert.
        end = torch.zeros_like(stays[..., :1, 0])
        insert_now = torch.cat([inserts[..., came_from], end], -1)
        nothing = torch.full_like(end, -1 / self.epsilon)
        copy_now = torch.cat([(stays + copies)[..., came_from], nothing], -1)
        skip_now = torch.cat([(stays + skips)[..., came_from], nothing], -1)
        # And what happens at later letters, where the one before has been skipped.
        over = self._skipped((stays + skips)[..., 2])
        copy_later = skip_now.unsqueeze(-1) + over[..., :M] + (stays + copies)[..., None, :, 2]
        insert_later = skip_now.unsqueeze(-1) + over + torch.cat([inserts[..., 2], end], -1).unsqueeze(-2)
        now = torch.eye(M + 1, dtype=torch.bool, device=stays.device)
        later = torch.ones_like(now).triu(1)
        impossible = nothing[..., None]
        to_copy = torch.where(later[:, :M], copy_later, impossible)
        to_copy = torch.where(now[:, :M], copy_now.unsqueeze(-1), to_copy)
        to_insertion = torch.where(later, insert_later, impossible)
        to_insertion = torch.where(now, insert_now.unsqueeze(-1), to_insertion)
        return torch.cat([to_copy, to_insertion], -1)

    def _skipped(self, skip: Tensor) -> Tensor:
        """The log probability of skipping all letters between the one after ``i`` and ``j``: ``(..., M + 1, M + 1)``."""
        M = self.M
        between = torch.ones(M + 1, M, dtype=torch.bool, device=skip.device).triu(1)
        until = torch.where(between, skip.unsqueeze(-2), 0.0).cumsum(-1)
        return torch.cat([torch.zeros_like(until[..., :1]), until], -1)

    def _check(self, letters: Tensor, inserted: Tensor, insert: Tensor, delete: Tensor) -> None:
        M, alphabet = self.M, letters.shape[-1]
        for name, tensor, shape in (
            ("precursor_seq_logits", letters, (M, alphabet)),
            ("insert_seq_logits", inserted, (M + 1, alphabet)),
            ("insert_logits", insert, (M, 3, 2)),
            ("delete_logits", delete, (M, 3, 2)),
        ):
            if tuple(tensor.shape[-len(shape) :]) != shape:
                raise ValueError(f"{name} must end in {shape} for M={M}, got {tuple(tensor.shape)}")


def _joined(letters: Tensor, inserted: Tensor) -> Tensor:
    batch = broadcast_shapes(letters.shape[:-2], inserted.shape[:-2])
    return torch.cat([part.expand(batch + part.shape[-2:]) for part in (letters, inserted)], dim=-2)
