"""Profiles against a walk along the letters that tries every step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.contrib.mue.statearrangers import Profile, mg2k


def chances(*shape: int) -> Tensor:
    torch.manual_seed(len(shape) + shape[-1])
    return torch.randn(*shape, 3, 2, dtype=torch.float64).log_softmax(-1)


def walked(M: int, done: int, came_from: int, insert: Tensor, delete: Tensor) -> Tensor:
    """The next state, by walking on from ``done`` letters: insert, or skip and go on, or copy."""
    probs = torch.zeros(2 * M + 1, dtype=insert.dtype)
    here, kind = torch.ones((), dtype=insert.dtype), came_from
    for letter in range(done, M):
        stay, put = insert[letter, kind].exp()
        copy, skip = delete[letter, kind].exp()
        probs[mg2k(letter, 1, M)] += here * put
        probs[mg2k(letter, 0, M)] += here * stay * copy
        here, kind = here * stay * skip, 2
    probs[mg2k(M, 1, M)] += here
    return probs


@pytest.mark.parametrize("M", [1, 2, 5])
def test_transitions_are_walks(M: int) -> None:
    insert, delete = chances(M), chances(M) * 1.5
    delete = delete.log_softmax(-1)
    letters = torch.zeros(M, 2, dtype=torch.float64).log_softmax(-1)
    inserted = torch.zeros(M + 1, 2, dtype=torch.float64).log_softmax(-1)
    initial, transition, _ = Profile(M)(letters, inserted, insert, delete)
    torch.testing.assert_close(initial.exp(), walked(M, 0, 0, insert, delete))
    for m in range(M):
        torch.testing.assert_close(transition[m].exp(), walked(M, m + 1, 0, insert, delete))
    for m in range(M + 1):
        torch.testing.assert_close(transition[mg2k(m, 1, M)].exp(), walked(M, m, 1, insert, delete))
    torch.testing.assert_close(initial.exp().sum(), torch.ones((), dtype=torch.float64))


def test_batches_of_any_argument_give_each_row() -> None:
    M = 3
    insert, delete = chances(4, M), chances(M)
    torch.manual_seed(0)
    letters, inserted = torch.randn(M, 5).log_softmax(-1), torch.randn(4, M + 1, 5).log_softmax(-1)
    substitute = torch.randn(5, 7).log_softmax(-1)
    batch = Profile(M)(letters, inserted, insert, delete, substitute)
    for row in range(4):
        alone = Profile(M)(letters, inserted[row], insert[row], delete, substitute)
        for together, one in zip(batch, alone, strict=True):
            torch.testing.assert_close(together[row], one)
    seen = batch[2].exp()
    torch.testing.assert_close(seen[1, 0], letters[0].exp() @ substitute.exp())
    torch.testing.assert_close(seen[1, M + 2], inserted[1, 2].exp() @ substitute.exp())


def test_what_cannot_happen_has_no_gradient_and_no_nan() -> None:
    never = torch.tensor([1.0, 0.0]).log().expand(3, 3, 2).clone().requires_grad_()
    seldom = torch.tensor([0.9, 0.1]).log().expand(3, 3, 2)
    letters, inserted = torch.zeros(3, 2).log_softmax(-1), torch.zeros(4, 2).log_softmax(-1)
    initial, transition, _ = Profile(3)(letters, inserted, never, seldom)
    assert not initial.isnan().any() and not transition.isnan().any()
    torch.testing.assert_close(initial.exp()[:3], torch.tensor([0.9, 0.09, 0.009]))
    transition[0, 1].backward()
    assert never.grad is not None and not never.grad.isnan().any()


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="one letter or more, got M=0"):
        Profile(0)
    good = torch.zeros(2, 3, 2)
    with pytest.raises(ValueError, match=r"insert_logits must end in \(2, 3, 2\) for M=2, got \(3, 3, 2\)"):
        Profile(2)(torch.zeros(2, 4), torch.zeros(3, 4), torch.zeros(3, 3, 2), good)
    with pytest.raises(ValueError, match=r"insert_seq_logits must end in \(3, 4\)"):
        Profile(2)(torch.zeros(2, 4), torch.zeros(2, 4), good, good)
