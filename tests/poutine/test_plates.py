"""Plates: dims, sizes, what they yield, how they fail."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.poutine.plates.indep_messenger import CondIndepStackFrame, IndepMessenger
from ember.poutine.plates.subsample_messenger import SubsampleMessenger, _Subsample
from ember.poutine.runtime import _DIM_ALLOCATOR, _PYRO_STACK

NORMAL = dist.Normal(0.0, 1.0)


def drawn_shape(name="x", fn=NORMAL):
    return tuple(ember.sample(name, fn).shape)


def test_inner_plates_fill_holes_from_the_right():
    with ember.plate("a", 2, dim=-3):
        with ember.plate("b", 3) as _, ember.plate("c", 4), ember.plate("d", 5):
            assert [(f.name, f.dim) for f in poutine.get_plates()] == [
                ("a", -3),
                ("b", -1),
                ("c", -2),
                ("d", -4),
            ]
            assert drawn_shape() == (5, 2, 4, 3)
            assert _DIM_ALLOCATOR._stack == ["b", "c", "a", "d"]
    assert _DIM_ALLOCATOR._stack == []


def test_a_plate_remembers_its_dim_and_works_in_any_order():
    a, b = ember.plate("a", 2), ember.plate("b", 3)
    assert a.dim is None
    with a, b:
        assert drawn_shape() == (3, 2)
    with b, a:
        assert drawn_shape() == (3, 2)
    with b:
        assert drawn_shape() == (3, 1)
    with a:
        assert drawn_shape() == (2,)
    assert (a.dim, b.dim) == (-1, -2)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"name": "a", "dim": -1}, {"name": "b", "dim": -1}, 'at plates "b" and "a", collide at dim=-1'),
        (
            {"name": "a", "dim": -2},
            {"name": "b", "dim": -2},
            "Try moving the dim of one plate to the left, e.g. dim=-3",
        ),
        ({"name": "a"}, {"name": "a"}, "duplicate plate 'a'"),
        ({"name": "a"}, {"name": "b", "dim": 0}, "Expected dim < 0 to index from the right, actual 0"),
        ({"name": "a"}, {"name": "b", "dim": 1}, "Expected dim < 0 to index from the right, actual 1"),
    ],
)
def test_dims_that_cannot_be_had(first, second, message):
    with pytest.raises(ValueError, match=message):
        with ember.plate(size=3, **first), ember.plate(size=3, **second):
            pass
    assert _DIM_ALLOCATOR._stack == [] and _PYRO_STACK == []


def test_a_plate_remembered_at_a_taken_dim_collides():
    a = ember.plate("a", 2)
    with a:
        pass
    with ember.plate("b", 2), pytest.raises(ValueError, match="collide at dim=-1"), a:
        pass


def test_no_empty_plates():
    for make in (lambda: ember.plate("foo", 0), lambda: IndepMessenger("foo", 0)):
        with pytest.raises(ZeroDivisionError, match="size cannot be zero"), make():
            pass
    with pytest.raises(ZeroDivisionError), ember.plate("foo", 3):
        1 / 0  # noqa: B018
    assert _DIM_ALLOCATOR._stack == [] and _PYRO_STACK == []


def test_what_plates_yield():
    with ember.plate("all", 4) as i:
        assert i.tolist() == [0, 1, 2, 3]
    with ember.plate("some", 9, subsample_size=3) as i:
        assert len(set(i.tolist())) == 3 and set(i.tolist()) <= set(range(9))
    given = [1, 3, 5, 7]
    with ember.plate("given", 8, subsample=given) as i:
        assert i is given
    tensor = torch.tensor([4, 2])
    with ember.plate("tensor", 8, subsample=tensor) as i:
        assert i is tensor
        assert drawn_shape() == (2,)
    with ember.plate("sizeless") as i:
        assert i is None
    with IndepMessenger("bare", 4) as plate:
        assert isinstance(plate, IndepMessenger) and plate.indices.tolist() == [0, 1, 2, 3]
    with SubsampleMessenger("half", 6, 3) as plate:
        assert isinstance(plate, SubsampleMessenger) and len(plate.indices) == 3


def test_sequential_plates_yield_numbers():
    assert [(type(i), i) for i in ember.plate("all", 3)] == [(int, 0), (int, 1), (int, 2)]
    assert [type(i) for i in ember.plate("some", 6, 2)] == [int, int]
    assert list(ember.plate("given", 6, subsample=[5, 1])) == [5, 1]
    with pytest.raises(ValueError, match=r"expected int, float or torch.Tensor"):
        list(ember.plate("bad", 6, subsample=["a"]))


def test_sequential_plates_count_and_allocate_no_dim():
    counters = []
    for _ in ember.plate("p", 2):
        (frame,) = poutine.get_plates()
        assert frame.dim is None and not frame.vectorized
        counters.append(frame.counter)
        assert drawn_shape() == ()
    assert counters == [1, 2]
    assert poutine.get_plates() == ()


@pytest.mark.parametrize("how", ["break", "error", "abandoned"])
def test_a_loop_left_early_leaves_no_handler(how):
    plate = ember.plate("p", 3)
    if how == "break":
        for _ in plate:
            break
    elif how == "error":
        with pytest.raises(KeyError):
            for _ in plate:
                raise KeyError
    else:
        iterator = iter(plate)
        next(iterator)
        del iterator
    assert _PYRO_STACK == []


def test_a_plate_is_for_one_use():
    plate = ember.plate("p", 3)
    with plate, pytest.raises(ValueError, match="both vectorized and non-vectorized"):
        list(plate)
    with pytest.raises(ValueError, match="both vectorized and non-vectorized"):
        list(ember.plate("q", 3, dim=-1))


def test_sizeless_plates_take_any_size():
    def model():
        with ember.plate("p"):
            ember.sample("x", dist.Normal(torch.zeros(5), 1.0))
            ember.sample("y", NORMAL)

    trace = poutine.trace(model).get_trace()
    assert "p" not in trace
    assert trace.nodes["x"]["cond_indep_stack"][0].size == -1
    assert (trace.nodes["x"]["value"].shape, trace.nodes["y"]["value"].shape) == ((5,), ())
    assert trace.nodes["x"]["scale"] == 1.0


def test_indices_are_drawn_at_a_hidden_site_in_the_constructor():
    with poutine.trace() as recorder:
        plate = ember.plate("p", 10, 4)
    (site,) = recorder.trace.nodes.values()
    assert type(site["fn"]).__name__ == "_Subsample"
    assert (site["name"], site["scale"], site["cond_indep_stack"]) == ("p", 1.0, ())
    assert site["value"] is plate.indices
    assert recorder.trace.log_prob_sum() == 0.0


def test_replay_makes_the_model_use_the_guides_indices():
    def guide():
        with ember.plate("p", 100, 5) as i:
            return i

    trace = poutine.trace(guide).get_trace()
    assert torch.equal(poutine.replay(guide, trace=trace)(), trace.nodes["p"]["value"])

    def other_size():
        with ember.plate("p", 100, 4) as i:
            return i

    with pytest.raises(ValueError, match="different subsample_size in the model and guide"):
        poutine.replay(other_size, trace=trace)()


@pytest.mark.parametrize(
    "arguments",
    [{"size": 3, "subsample_size": 2, "subsample": [1]}, {"size": 3, "subsample_size": 5}],
)
def test_wrong_subsample_sizes_name_the_plate(arguments):
    with pytest.raises(ValueError, match=r"subsample_size does not match len\(subsample\).*at plate 'foo'"):
        ember.plate("foo", **arguments)


@pytest.mark.parametrize("arguments", [{"subsample_size": 2}, {"subsample": [1]}])
def test_subsampling_needs_a_size(arguments):
    with pytest.raises(AssertionError, match="'foo'"):
        ember.plate("foo", **arguments)


@pytest.mark.parametrize(("use_cuda", "device"), [(True, "cpu"), (False, "cuda")])
def test_contradicting_devices(use_cuda, device):
    with pytest.raises(ValueError, match="Incompatible arg values"):
        ember.plate("foo", 3, use_cuda=use_cuda, device=device)


def test_scales_are_exact_python_floats():
    def model():
        with ember.plate("p", 8, 2), ember.plate("q", 3, 1):
            ember.sample("x", NORMAL)
        with ember.plate("r", 4):
            ember.sample("y", NORMAL)
        for i in ember.plate("s", 6, 3):
            ember.sample(f"z{i}", NORMAL)

    sites = poutine.trace(model).get_trace().nodes
    scales = {name[0]: site["scale"] for name, site in sites.items() if name[0] in "xyz"}
    assert scales == {"x": 12.0, "y": 1.0, "z": 2.0}
    assert {type(scale) for scale in scales.values()} == {float}


@pytest.mark.parametrize(
    ("batch", "expected"),
    [((), (3,)), ((1,), (3,)), ((3,), (3,)), ((2, 1), (2, 3)), ((2, 3), (2, 3))],
)
def test_distributions_are_expanded(batch, expected):
    with ember.plate("p", 3):
        assert drawn_shape(fn=dist.Normal(torch.zeros(batch), 1.0)) == expected


def test_batch_shapes_that_do_not_fit():
    def model():
        with ember.plate("p", 3):
            ember.sample("x", dist.Normal(torch.zeros(2), 1.0))

    with pytest.raises(
        ValueError, match=r"Shape mismatch inside plate\('p'\) at site x dim -1, 3 vs 2"
    ) as caught:
        poutine.trace(model).get_trace()
    assert "Trace Shapes:" in str(caught.value)

    def inner_one():
        with ember.plate("p", 3), ember.plate("q", 1):
            return drawn_shape(fn=dist.Normal(torch.zeros(3), 1.0))

    assert inner_one() == (1, 3)


def test_expansion_keeps_an_instances_has_rsample():
    with ember.plate("p", 3), poutine.trace() as recorder:
        ember.sample("x", dist.Normal(0.0, 1.0).has_rsample_(False))
    site = recorder.trace.nodes["x"]
    assert site["fn"].batch_shape == (3,) and site["fn"].has_rsample is False


def test_plate_stack():
    with ember.plate_stack("s", [2, 3, 4]):
        assert drawn_shape(fn=dist.Normal(torch.zeros(5), 1.0).to_event(1)) == (2, 3, 4, 5)
        assert [(f.name, f.dim, f.size) for f in poutine.get_plates()] == [
            ("s_0", -1, 4),
            ("s_1", -2, 3),
            ("s_2", -3, 2),
        ]
    with ember.plate_stack("t", (2, 3), rightmost_dim=-2):
        assert drawn_shape() == (2, 3, 1)
    with ember.plate_stack("u", ()):
        assert drawn_shape() == ()
    with ember.plate_stack("outer", [4], rightmost_dim=-3), ember.plate_stack("inner", [2, 3]):
        assert drawn_shape() == (4, 2, 3)
    with pytest.raises(AssertionError), ember.plate_stack("v", [2], rightmost_dim=0):
        pass
    with pytest.raises(ValueError, match="collide"), ember.plate_stack("a", [2]), ember.plate_stack("b", [2]):
        pass


def test_block_plate():
    with ember.plate("a", 2, dim=-1), ember.plate("b", 3, dim=-2):
        with poutine.block_plate("a"):
            assert drawn_shape() == (3, 1)
        with poutine.block_plate(dim=-2):
            assert drawn_shape() == (2,)
        with poutine.block_plate("a"), poutine.block_plate("b"):
            assert drawn_shape() == ()
        with poutine.block_plate("nobody", strict=False):
            assert drawn_shape() == (3, 2)
        with (
            pytest.raises(ValueError, match="block_plate matched 0 messengers"),
            poutine.block_plate("nobody"),
        ):
            pass
        for bad in ({}, {"name": "a", "dim": -1}):
            with (
                pytest.raises(ValueError, match="Exactly one of name,dim must be specified"),
                poutine.block_plate(**bad),
            ):
                pass
        for bad in ({"dim": 0}, {"name": 3}):
            with pytest.raises(AssertionError), poutine.block_plate(**bad):
                pass
        assert drawn_shape() == (3, 2)


def test_block_plate_drops_the_subsampling_scale():
    with poutine.trace() as recorder, ember.plate("a", 8, 2):
        ember.sample("inside", NORMAL)
        with poutine.block_plate("a"):
            ember.sample("outside", NORMAL)
    nodes = recorder.trace.nodes
    assert (nodes["inside"]["scale"], nodes["outside"]["scale"]) == (4.0, 1.0)


def test_frames_compare_without_their_full_size():
    frame = CondIndepStackFrame("a", -1, 3, 0, 10)
    same = [CondIndepStackFrame("a", -1, 3, 0, 20), CondIndepStackFrame("a", -1, torch.tensor(3), 0)]
    different = [("b", -1, 3, 0), ("a", -2, 3, 0), ("a", -1, 4, 0), ("a", -1, 3, 1)]
    assert all(frame == other and hash(frame) == hash(other) for other in same)
    assert all(frame != CondIndepStackFrame(*other) for other in different)
    assert frame != ("a", -1, 3, 0, 10)
    assert (str(frame), frame.vectorized) == ("a", True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("subsample_size", [None, 2])
def test_sizes_may_be_traced_tensors(subsample_size):
    def program(data):
        with ember.plate("rows", data.shape[0], subsample_size) as i:
            assert len({poutine.get_plates()[0], poutine.get_plates()[0]}) == 1
            value = ember.sample("x", dist.Normal(torch.zeros(()), torch.ones(()), validate_args=False))
            return value * 0 + ember.subsample(data, event_dim=0) - data[i]

    with ember.validation_enabled(False):
        traced = torch.jit.trace(program, (torch.arange(4.0),), check_trace=False)  # no warning from plates
    assert traced(torch.arange(4.0)).tolist() == [0.0] * (subsample_size or 4)


def test_plates_decorate_functions_and_methods():
    @ember.plate("p", 3)
    def draw():
        return drawn_shape()

    class Model:
        @ember.plate("p", 3)
        def draw(self, more):
            return drawn_shape(), more

    assert draw() == draw() == (3,)
    assert Model().draw(4) == ((3,), 4)


def test_subsample_distribution():
    assert _Subsample(5, None)().tolist() == [0, 1, 2, 3, 4]
    assert _Subsample(3, 7)().tolist() == [0, 1, 2]
    counts = torch.zeros(5)
    for _ in range(2000):
        counts[_Subsample(5, 2)()] += 1
    # Each index is in with probability 2/5: standard error of a share is sqrt(0.24 / 2000) = 0.011.
    assert (counts / 2000 - 0.4).abs().max() < 0.05
    with pytest.raises(NotImplementedError):
        _Subsample(5, 2).sample(torch.Size([2]))


def test_nested_sequential_plates():
    def model():
        for i in ember.plate("a", 2):
            for j in ember.plate(f"b{i}", 2):
                ember.sample(f"x{i}{j}", NORMAL)

    stack = poutine.trace(model).get_trace().nodes["x11"]["cond_indep_stack"]
    assert [(frame.name, frame.counter) for frame in stack] == [("a", 2), ("b1", 2)]


def test_handlers_around_a_plate_see_its_hidden_site():
    with poutine.trace() as recorder, poutine.scale(scale=3.0), ember.plate("outer", 4, 2):
        ember.plate("inner", 3)
    assert recorder.trace.nodes["inner"]["scale"] == 6.0
    assert [f.name for f in recorder.trace.nodes["inner"]["cond_indep_stack"]] == ["outer"]
