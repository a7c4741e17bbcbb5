"""From the chances of insertions and deletions to the matrices of a hidden Markov model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

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

    between: Tensor
    later: Tensor
    copied: Tensor
    inserted: Tensor

    def __init__(self, M: int, epsilon: float = 1e-32) -> None:
        super().__init__()
        if M < 1:
            raise ValueError(f"Profile needs a latent sequence of one letter or more, got M={M}")
        self.M = M
        self.K = 2 * M + 1
        self.epsilon = epsilon
        done = torch.arange(M + 1)
        letter = torch.cat([done[:M], done])
        is_copy = torch.arange(self.K) < M
        self._mask("between", done[:M] > done[:, None])
        self._mask("later", (letter > done[:, None]).unsqueeze(-2))
        self._mask("copied", ((letter == done[:, None]) & is_copy).unsqueeze(-2))
        self._mask("inserted", ((letter == done[:, None]) & ~is_copy).unsqueeze(-2))

    def _mask(self, name: str, mask: Tensor) -> None:
        self.register_buffer(name, mask, persistent=False)

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
        onward = self._onward(insert_logits, delete_logits)
        after_copy, after_insertion = onward.unbind(-2)
        transitions = torch.cat([after_copy[..., 1:, :], after_insertion], dim=-2)
        observed = _joined(precursor_seq_logits, insert_seq_logits)
        if substitute_logits is not None:
            observed = torch.logsumexp(observed.unsqueeze(-1) + substitute_logits.unsqueeze(-3), dim=-2)
        return after_copy[..., 0, :], transitions, observed

    def _onward(self, insert_logits: Tensor, delete_logits: Tensor) -> Tensor:
        """The next state, by how many letters are done, after a copy or an insertion: ``(..., M + 1, 2, K)``."""
        insert_logits, delete_logits = broadcast_tensors(insert_logits, delete_logits)
        stay, insert = insert_logits.unbind(-1)
        copy, skip = delete_logits.unbind(-1)
        copy, skip = stay + copy, stay + skip
        impossible = -1 / self.epsilon
        # What happens at the letter that is next. After the last letter, the one thing left is to insert.
        insert_now, copy_now, skip_now = (
            pad(what[..., :2], (0, 0, 0, 1), value=end).unsqueeze(-1)
            for what, end in ((insert, 0.0), (copy, impossible), (skip, impossible))
        )
        # What happens at later letters, all between having been skipped.
        over = pad(torch.where(self.between, skip[..., None, :, 2], 0.0).cumsum(-1), (1, 0))
        to_copy = over[..., : self.M] + copy[..., None, :, 2]
        to_insertion = over + pad(insert[..., 2], (0, 1)).unsqueeze(-2)
        onward = skip_now + torch.cat([to_copy, to_insertion], -1).unsqueeze(-2)
        onward = torch.where(self.later, onward, impossible)
        onward = torch.where(self.copied, copy_now, onward)
        return torch.where(self.inserted, insert_now, onward)

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
