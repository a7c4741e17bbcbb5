"""The hidden Markov model with missing rows, against a sum over all paths."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

import ember
from ember.contrib.mue import missingdatahmm
from ember.contrib.mue.missingdatahmm import MissingDataDiscreteHMM
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam

STATES, LETTERS, TIME = 3, 2, 4


def model(*batch: int, dtype: torch.dtype = torch.float64) -> MissingDataDiscreteHMM:
    torch.manual_seed(7)
    shapes = (STATES,), (STATES, STATES), (STATES, LETTERS)
    return MissingDataDiscreteHMM(*(torch.randn(*batch, *shape, dtype=dtype) for shape in shapes))


def rows(letters: list[int | None]) -> Tensor:
    return torch.stack(
        [torch.zeros(LETTERS) if k is None else one_hot(torch.tensor(k), LETTERS) for k in letters]
    ).double()


def joint(hmm: MissingDataDiscreteHMM, x: Tensor) -> dict[tuple[int, ...], Tensor]:
    """The probability of each path of states together with the rows."""
    initial, move, letters = (
        t.exp() for t in (hmm.initial_logits, hmm.transition_logits, hmm.observation_logits)
    )
    found = {}
    for path in itertools.product(range(STATES), repeat=len(x)):
        p = initial[path[0]]
        for old, new in itertools.pairwise(path):
            p = p * move[old, new]
        for state, row in zip(path, x, strict=True):
            p = p * (letters[state] @ row if row.sum() else 1.0)
        found[path] = p
    return found


CASES = [[0, 1, 1, 0], [0, None, None, 1], [None] * 4, [1], [None], [1, 0]]


@pytest.mark.parametrize("letters", CASES)
def test_density_filter_smoother_and_best_path_are_sums_over_paths(letters: list[int | None]) -> None:
    hmm, x = model(), rows(letters)
    paths = joint(hmm, x)
    torch.testing.assert_close(hmm.log_prob(x).exp(), torch.stack([*paths.values()]).sum())
    total = sum(paths.values())
    smooth = torch.zeros(len(x), STATES, dtype=torch.float64)
    for path, p in paths.items():
        smooth[range(len(x)), path] += p / total
    torch.testing.assert_close(hmm.smooth(x)[0].exp(), smooth)
    for now in range(len(x)):
        early = joint(hmm, x[: now + 1])
        last = torch.zeros(STATES, dtype=torch.float64)
        for path, p in early.items():
            last[path[-1]] += p
        torch.testing.assert_close(hmm.filter(x)[0, now].exp(), last / last.sum())
    assert tuple(hmm.map_states(x)[0].tolist()) == max(paths, key=lambda path: paths[path].item())


def test_all_sequences_of_a_length_sum_to_one() -> None:
    hmm = model()
    every = torch.stack([rows(list(x)) for x in itertools.product(range(LETTERS), repeat=TIME)])
    torch.testing.assert_close(hmm.log_prob(every).logsumexp(0), torch.zeros((), dtype=torch.float64))


def test_many_states_are_summed_one_time_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    initial, move, letters = (torch.randn(2, *shape).double() for shape in ((40,), (40, 40), (40, LETTERS)))
    move[:, :, 3] = -torch.inf
    x = torch.stack([rows([0, 1, None, 1, 0, 0]), rows([1, 1, 1, None, None, None])])

    def found() -> tuple[Tensor, Tensor]:
        logits = letters.clone().requires_grad_()
        value = MissingDataDiscreteHMM(initial, move, logits).log_prob(x)
        return value, torch.autograd.grad(value.sum(), logits)[0]

    sequential = found()
    monkeypatch.setattr(missingdatahmm, "_MOST_IN_PARALLEL", 40)
    for one, other in zip(sequential, found(), strict=True):
        torch.testing.assert_close(one, other)


def test_drawn_paths_have_their_probabilities() -> None:
    hmm, x, draws = model(), rows([0, None, 1]), 20_000
    paths = joint(hmm, x)
    total = sum(paths.values())
    drawn = hmm.sample_states(x.expand(draws, -1, -1))
    assert drawn.shape == (draws, 3)
    for path, p in paths.items():
        share = (drawn == torch.tensor(path)).all(-1).double().mean()
        q = p / total
        assert abs(share - q) < 4.5 * (q * (1 - q) / draws).sqrt()


@pytest.mark.parametrize("batch", [(), (1,)])
def test_drawn_sequences_are_independent_and_have_their_probabilities(batch: tuple[int, ...]) -> None:
    hmm, draws = model(*batch), 20_000
    x = hmm.sample(torch.Size([draws, 3]))
    assert x.shape == (draws, 3, LETTERS) and (x.sum(-1) == 1).all()
    for letters in itertools.product(range(LETTERS), repeat=3):
        share = (x.argmax(-1) == torch.tensor(letters)).all(-1).double().mean()
        p = model().log_prob(rows(list(letters))).exp()
        assert (abs(share - p) < 4.5 * (p * (1 - p) / draws).sqrt()).all()


def test_batches_give_each_row() -> None:
    hmm, x = model(5), torch.stack([rows(case) for case in CASES[:3]])[[0, 1, 2, 0, 1]]
    for name in ("log_prob", "filter", "smooth", "map_states"):
        together = getattr(hmm, name)(x)
        for k in range(5):
            parts = hmm.initial_logits[k], hmm.transition_logits[k], hmm.observation_logits[k]
            alone = getattr(MissingDataDiscreteHMM(*parts), name)(x[k])
            torch.testing.assert_close(together[k], alone if name == "log_prob" else alone[0])


def test_rows_given_states() -> None:
    hmm = model(2)
    states = torch.tensor([[0, 2, 1], [1, 1, 0]])
    given = hmm.given_states(states)
    assert given.batch_shape == (2, 3)
    torch.testing.assert_close(given.logits[1, 2], hmm.observation_logits[1, 0])
    assert hmm.sample_given_states(states).shape == (2, 3, LETTERS)


def test_letters_that_cannot_be_seen_are_no_nan() -> None:
    sure = torch.eye(2).log()
    hmm = MissingDataDiscreteHMM(torch.zeros(2), torch.zeros(2, 2), sure)
    torch.testing.assert_close(hmm.log_prob(torch.eye(2)).exp(), torch.tensor(0.25))
    x = hmm.sample(torch.Size([4]))
    assert torch.equal(x.argmax(-1), hmm.map_states(x))


def test_double_rows_are_taken_by_single_logits() -> None:
    assert model(dtype=torch.float32).log_prob(rows([0, 1])).dtype == torch.float32


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="observation_logits to have at least two dims"):
        MissingDataDiscreteHMM(torch.zeros(2), torch.zeros(2, 2), torch.zeros(2))
    with pytest.raises(AssertionError, match="rows have 3 letters, and the observation logits 2"):
        model().log_prob(torch.zeros(4, 3))
    for shape in ((0, 2), (2,)):
        with pytest.raises(AssertionError, match="with one row or more; got"):
            model().filter(torch.zeros(shape))


def test_steps_are_native() -> None:
    x = torch.stack([rows(case) for case in CASES[:3]])

    def program() -> None:
        initial = ember.param("initial", torch.zeros(STATES, dtype=torch.float64))
        move = ember.param("move", torch.eye(STATES, dtype=torch.float64))
        letters = ember.param("letters", torch.arange(6.0).reshape(STATES, LETTERS).double().sin())
        with ember.plate("sequences", len(x)):
            ember.sample("x", MissingDataDiscreteHMM(initial, move, letters), obs=x)

    def losses(**how: object) -> torch.Tensor:
        ember.clear_param_store()
        svi = SVI(program, lambda: None, Adam({"lr": 0.05}), Trace_ELBO(), **how)  # type: ignore[arg-type]
        return torch.tensor([svi.step() for _ in range(5)])

    torch.testing.assert_close(losses(compile=True, backend="native"), losses(compile=False))
