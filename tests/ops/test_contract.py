"""Tensor variable elimination against sums over the whole joint table, and einsum against its unrolled form."""

from __future__ import annotations

import itertools
import random
from collections import OrderedDict

import pytest
import torch
from opt_einsum import shared_intermediates
from opt_einsum.sharing import count_cached_ops
from torch import Tensor

from ember.ops.contract import (
    _partition_terms,
    contract_tensor_tree,
    contract_to_tensor,
    einsum,
    naive_ubersum,
    ubersum,
)
from ember.ops.packed import dims_of, tagged
from ember.ops.rings import LinearRing, LogRing, MapRing
from tests.ops.factor_graphs import random_graphs

LOG, MAP = "ember.ops.einsum.torch_log", "ember.ops.einsum.torch_map"


@pytest.mark.parametrize(
    ("dtype", "zeros"), [(torch.float64, 0.0), (torch.float32, 0.0), (torch.float64, 0.4)]
)
def test_sums_and_maxima_are_those_of_the_joint_table(dtype: torch.dtype, zeros: float) -> None:
    torch.manual_seed(0)
    eliminated = 0
    for graph in random_graphs(300, seed=1):
        operands = graph.operands(dtype, zeros)
        joint = graph.joint([x.double() for x in operands]).flatten()
        for backend, expected in ((LOG, joint.logsumexp(0)), (MAP, joint.max())):
            try:
                (actual,) = einsum(graph.equation, *operands, plates=graph.plates, backend=backend)
            except NotImplementedError as error:
                assert "Expected tree-structured plate nesting" in str(error)
                continue
            eliminated += 1
            assert actual.dtype == dtype and not actual.dim()
            torch.testing.assert_close(actual.double(), expected, rtol=2e-5, atol=1e-4)
        linear = [x.exp() for x in operands]
        try:
            (total,) = einsum(graph.equation, *linear, plates=graph.plates)
        except NotImplementedError:
            continue
        torch.testing.assert_close(total.double(), joint.logsumexp(0).exp(), rtol=1e-3, atol=1e-6)
    assert eliminated > 500  # hardly any of these graphs is to be refused


def test_gradients_are_those_of_the_joint_table_also_where_factors_are_zero() -> None:
    torch.manual_seed(0)
    for graph in random_graphs(100, seed=2):
        operands = [x.requires_grad_() for x in graph.operands(zeros=0.3)]
        try:
            (actual,) = einsum(graph.equation, *operands, plates=graph.plates, backend=LOG)
        except NotImplementedError:
            continue
        actual_grads = torch.autograd.grad(actual, operands)
        assert all(bool(grad.isfinite().all()) for grad in actual_grads)
        if not bool(actual.isfinite()):
            continue
        joint = graph.joint(operands).flatten()
        log_z = joint[joint.isfinite()].logsumexp(0)
        for x, grad, expected in zip(
            operands, actual_grads, torch.autograd.grad(log_z, operands, allow_unused=True), strict=True
        ):
            torch.testing.assert_close(grad[x.isfinite()], expected[x.isfinite()])
            assert bool((grad[x == -torch.inf] == 0).all())


def test_einsum_with_outputs_agrees_with_its_unrolled_form() -> None:
    rng = random.Random(0)
    torch.manual_seed(0)
    agreed = 0
    for _ in range(400):
        plates = "ij"[: rng.randint(0, 2)]
        inputs = ["".join(rng.sample("abc" + plates, rng.randint(0, 3))) for _ in range(rng.randint(1, 4))]
        letters = sorted(set("".join(inputs)))
        sizes = {d: rng.randint(1, 3) for d in letters}
        output = "".join(rng.sample(letters, min(len(letters), rng.randint(0, 2))))
        equation = ",".join(inputs) + "->" + output
        operands = [torch.randn([sizes[d] for d in dims]).double() for dims in inputs]
        try:
            (actual,) = einsum(equation, *operands, plates=plates, backend=LOG, modulo_total=True)
        except (NotImplementedError, ValueError):
            continue
        (expected,) = naive_ubersum(equation, *operands, plates=plates)
        # Up to a factor in each row of the output's plates.
        variables = [place for place, d in enumerate(output) if d not in plates]
        assert actual.shape == expected.shape
        if variables:
            actual = actual - actual.logsumexp(variables, keepdim=True)
            expected = expected - expected.logsumexp(variables, keepdim=True)
        if variables or not output:
            torch.testing.assert_close(actual, expected)
            agreed += 1
    assert agreed > 150


def test_the_unrolled_form_is_the_product_over_rows() -> None:
    x, y = torch.rand(3, 2), torch.rand(2, 3)
    (actual,) = naive_ubersum("ia,ai->", x.log(), y.log(), plates="i")
    torch.testing.assert_close(actual.exp(), (x * y.T).sum(1).prod())
    (rows,) = naive_ubersum("ia,ai->i", x.log(), y.log(), plates="i")
    # Every row of the result holds the whole product, as the rows that are not shown are summed, too.
    torch.testing.assert_close(rows.exp(), actual.exp().expand(3))


def test_several_outputs_share_their_work() -> None:
    operands = [torch.randn(2), torch.randn(2, 2), torch.randn(2, 2), torch.randn(2)]
    equation = "a,ab,bc,c->"
    with shared_intermediates() as once:
        einsum(equation, *operands, backend=LOG, cache=once)
    with shared_intermediates() as twice:
        first = einsum(equation, *operands, backend=LOG, cache=twice)
        again = einsum(equation, *operands, backend=LOG, cache=twice)
    assert first[0] is again[0]
    assert count_cached_ops(once)["einsum"] == count_cached_ops(twice)["einsum"] > 0


def test_partition_is_as_fine_as_the_shared_dims_allow() -> None:
    for inputs in itertools.product(["", "a", "b", "ab", "bc"], repeat=3):
        for dims in (set(), {"a"}, {"a", "b"}, {"a", "b", "c"}):
            terms = [tagged(torch.zeros((2,) * len(letters)), letters) for letters in inputs]
            parts = _partition_terms(LogRing(), terms, dims)
            found = {id(term): number for number, (group, _) in enumerate(parts) for term in group}
            assert len(found) == 3 == sum(len(group) for group, _ in parts)
            reached = [{number} for number in range(3)]
            for _ in range(2):
                for x, y in itertools.permutations(range(3), 2):
                    if any(dims & set(inputs[k]) & set(inputs[y]) for k in reached[x]):
                        reached[x] |= reached[y]
            for x, y in itertools.permutations(range(3), 2):
                assert (found[id(terms[x])] == found[id(terms[y])]) == (y in reached[x])


def _tree(**terms: Tensor) -> OrderedDict[frozenset[str], list[Tensor]]:
    tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    for dims, term in terms.items():
        tree.setdefault(frozenset("ij").intersection(dims), []).append(tagged(term, dims))
    return tree


def test_a_tree_is_contracted_component_by_component() -> None:
    x, y, z = torch.rand(2, 3), torch.rand(3), torch.rand(2, 4)
    tree = _tree(ia=x.log(), a=y.log(), ib=z.log())
    contracted = contract_tensor_tree(tree, {"a", "b"})
    assert set(contracted) == {frozenset(), frozenset("i")}
    (shared,), (local,) = contracted[frozenset()], contracted[frozenset("i")]
    torch.testing.assert_close(shared.exp(), (x.prod(0) * y).sum())
    torch.testing.assert_close(local.exp(), z.sum(1))
    assert list(tree) == [frozenset("i"), frozenset()] and len(tree[frozenset("i")]) == 2  # unchanged


def test_plates_can_be_kept_and_are_repeated() -> None:
    x = torch.rand(2, 3)
    ring = LogRing(dim_to_size={"i": 2, "j": 5})
    kept = contract_to_tensor(_tree(ia=x.log()), {"a"}, target_ordinal=frozenset("ij"), ring=ring)
    assert dims_of(kept) == "ji"
    torch.testing.assert_close(kept.exp(), x.sum(1).expand(5, 2))
    total = contract_to_tensor(_tree(ia=x.log()), {"a"})
    torch.testing.assert_close(total.exp(), x.sum(1).prod())


def test_a_factor_that_is_given_twice_counts_twice() -> None:
    x = tagged(torch.tensor([1.0, 2.0]).log(), "a")
    tree = OrderedDict({frozenset[str](): [x, x]})
    torch.testing.assert_close(contract_to_tensor(tree, {"a"}).exp(), torch.tensor(5.0))


def test_crossed_plates_are_refused() -> None:
    operands = torch.randn(2, 2), torch.randn(2, 2), torch.randn(2, 2, 2, 2)
    with pytest.raises(NotImplementedError, match=r"Expected tree-structured plate nesting.*\[i, j\]"):
        einsum("ai,bj,aibj->", *operands, plates="ij", backend=LOG)


def test_a_variable_is_not_kept_without_its_plates() -> None:
    for function in (ubersum_quietly, naive_ubersum):
        with pytest.raises(ValueError, match="It is nonsensical to preserve a plated dim without preserving"):
            function("ia->a", torch.randn(2, 3), plates="i", **_modulo(function))


def ubersum_quietly(*args: object, **kwargs: object) -> object:
    with pytest.warns(DeprecationWarning, match="'ubersum' is deprecated"):
        return ubersum(*args, **kwargs)  # type: ignore[arg-type]


def _modulo(function: object) -> dict[str, bool]:
    return {"modulo_total": True} if function is ubersum_quietly else {}


def test_ubersum_takes_the_old_name_of_plates() -> None:
    x = torch.randn(2, 3)
    with pytest.warns(DeprecationWarning) as caught:
        (actual,) = ubersum("ia->", x, batch_dims="i")
    assert any("'batch_dims' is deprecated" in str(w.message) for w in caught)
    torch.testing.assert_close(actual, x.logsumexp(1).sum())


@pytest.mark.parametrize(
    ("equation", "options", "error", "words"),
    [
        ("ab,bc->", {}, ValueError, "Dimension size mismatch at dim 'b': 4 vs 3"),
        ("...,bc->", {}, NotImplementedError, "ellipsis"),
        ("ab,cd->a", {}, NotImplementedError, "Try setting modulo_total=True"),
        ("ab,cd->", {"backend": "jax"}, NotImplementedError, "Only the following pyro backends"),
    ],
)
def test_bad_equations_say_why(
    equation: str, options: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        einsum(equation, torch.ones(2, 3), torch.ones(4, 5), **options)  # type: ignore[arg-type]


def test_a_ring_of_maxima_and_one_of_numbers_invert_zero_to_something_finite() -> None:
    for ring, zero in ((MapRing(), -torch.inf), (LinearRing(), 0.0)):
        term = tagged(torch.tensor([zero, 1.0]), "a")
        inverse = ring.inv(term)
        assert bool(inverse.isfinite().all())
        product = ring.sumproduct([term, inverse], ())
        assert product[0] == zero and product[1] == (0.0 if zero else 1.0)


def test_a_dim_of_size_zero_is_a_sum_of_nothing_or_a_product_of_nothing() -> None:
    nothing = torch.zeros(0, 3)
    assert einsum("ab->", nothing, backend=LOG)[0] == -torch.inf
    assert einsum("ib->", nothing, plates="i", backend=LOG)[0] == 0
