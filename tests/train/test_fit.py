"""Fits over batches of data: the hand-written loop bit for bit, batches of every kind, and what is refused."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ember
import ember.distributions as dist
from ember.errors import ModelError
from ember.train import Callback
from tests.train.regression import (
    DIMS,
    ROWS,
    body,
    data,
    final,
    guide,
    new_svi,
    of_all,
    of_batch,
    without_plate,
)

MODES = {"eager": False, "compiled": True}
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def by_hand(mode: Any, epochs: int, batch_size: int) -> tuple[list[float], list[Any]]:
    x, y = data()
    svi = new_svi(of_all, compile=mode)
    losses = []
    for _ in range(epochs):
        order = torch.randperm(ROWS)
        for start in range(0, ROWS, batch_size):
            rows = order[start : start + batch_size]
            losses.append(svi.step(x[rows], y[rows]))
    return losses, final(svi)


@modes
@pytest.mark.parametrize("batch_size", [10, 16])
@pytest.mark.parametrize("model", [of_batch, of_all], ids=["plate of the batch", "plate of all"])
def test_tensors_give_the_loop_by_hand_bit_for_bit(mode: Any, batch_size: int, model: Any) -> None:
    losses, parameters = by_hand(mode, 4, batch_size)
    svi = new_svi(model, compile=mode)
    result = svi.fit(data(), epochs=4, batch_size=batch_size, progress=False)
    assert result.losses.tolist() == losses and final(svi) == parameters
    assert (result.epochs, result.num_steps, result.interrupted) == (4, len(losses), False)


@modes
def test_a_loader_gives_the_loop_by_hand_bit_for_bit(mode: Any) -> None:
    def loader() -> DataLoader:
        return DataLoader(TensorDataset(*data()), batch_size=16, shuffle=True)

    svi = new_svi(of_all, compile=mode)
    batches = loader()
    losses = [svi.step(*batch) for _ in range(4) for batch in batches]
    parameters = final(svi)
    svi = new_svi(of_batch, compile=mode)
    result = svi.fit(loader(), epochs=4, progress=False)
    assert result.losses.tolist() == losses and final(svi) == parameters


def test_many_steps_are_one_native_call() -> None:
    svi = new_svi(compile=True)
    svi.fit(data(), epochs=40, batch_size=10, progress=False)
    report = ember.capture.explain(svi)
    assert report.eager_calls == 1 and len(report.captures) == 1 and report.captures[0].backend == "native"


def test_whole_data_are_steps_without_end() -> None:
    svi = new_svi(compile=True)
    expected = svi.run(30, *data(), progress=False).losses
    result = new_svi(compile=True).fit(data(), steps=30, progress=False)
    assert torch.equal(result.losses, expected) and result.epochs == 30


def test_whole_data_have_no_epochs() -> None:
    seen: list[int] = []

    class Noting(Callback):
        def after_epoch(self, training: Any) -> None:
            seen.append(training.epoch)

    result = new_svi().fit(data(), epochs=30, callbacks=[Noting()], progress=False)
    assert result.num_steps == 30 and seen == []
    new_svi().fit(data(), epochs=2, batch_size=10, callbacks=[Noting()], progress=False)
    assert seen == [1, 2]


@modes
def test_stable_fits_leave_out_steps_that_are_not_finite(mode: Any) -> None:
    x, y = data()
    bad = torch.where(torch.arange(ROWS) == 7, torch.nan, y)
    with ember.validation_enabled(False):
        svi = new_svi(compile=mode)
        result = svi.fit((x, bad), epochs=3, batch_size=10, stable=True, progress=False)
    assert int(result.losses.isfinite().sum()) == 12 and result.num_steps == 15
    assert all(value.isfinite().all() for value in result.params.values())


def test_batches_are_moved_to_the_device() -> None:
    """Stands in for an accelerator: tensors of `meta` have no values, so that a step on them cannot work."""
    seen: list[torch.device] = []

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        seen.append(x.device)
        raise RuntimeError("seen")

    with pytest.raises(RuntimeError, match="seen"):
        new_svi(model, lambda x, y: None).fit(data(), epochs=1, batch_size=10, device="meta", progress=False)
    assert {device.type for device in seen} == {"meta"}


@dataclass(frozen=True)
class Batch:
    x: torch.Tensor
    y: torch.Tensor
    weight: float = 1.0


def on_batch(batch: Batch) -> None:
    body(batch.x, batch.y, ember.plate("data", len(batch.x)))


def guide_on_batch(batch: Batch) -> None:
    guide(batch.x, batch.y)


@modes
def test_batches_of_every_kind_are_the_same(mode: Any) -> None:
    x, y = data()
    expected = new_svi(compile=mode).fit((x, y), epochs=2, batch_size=16, progress=False).losses
    options: dict[str, Any] = {"epochs": 2, "progress": False}
    as_dict = new_svi(compile=mode).fit({"y": y, "x": x}, batch_size=16, **options)
    as_data = new_svi(on_batch, guide_on_batch, compile=mode).fit(Batch(x, y), batch_size=16, **options)
    assert torch.equal(as_dict.losses, expected) and torch.equal(as_data.losses, expected)
    listed = [{"x": x[i : i + 16], "y": y[i : i + 16]} for i in range(0, ROWS, 16)]
    in_order = new_svi(compile=mode).fit((x, y), batch_size=16, shuffle=False, **options)
    assert torch.equal(new_svi(compile=mode).fit(listed, **options).losses, in_order.losses)


def test_numbers_and_scalars_stay_as_they_are() -> None:
    def model(x: torch.Tensor, y: torch.Tensor, noise: torch.Tensor) -> None:
        w = ember.sample("w", dist.Normal(torch.zeros(DIMS), 1.0).to_event(1))
        with ember.plate("data", len(x)):
            ember.sample("y", dist.Normal(x @ w, noise), obs=y)

    svi = new_svi(model, lambda x, y, noise: guide(x, y))
    result = svi.fit((*data(), torch.tensor(0.3)), epochs=2, batch_size=16, progress=False)
    expected = new_svi().fit(data(), epochs=2, batch_size=16, progress=False)
    assert torch.equal(result.losses, expected.losses)


def test_the_posterior_is_that_of_all_data() -> None:
    """Conjugate: precision of w is I + X'X / 0.09."""
    x, y = data()
    svi = new_svi(compile=True, optim=ember.optim.ClippedAdam({"lr": 0.03, "lrd": 0.1 ** (1 / 3000)}))
    svi.fit((x, y), steps=6000, batch_size=16, progress=False)
    mean = torch.linalg.solve(torch.eye(DIMS) + x.T @ x / 0.09, x.T @ y / 0.09)
    sd = 1 / (1 + (x * x).sum(0) / 0.09).sqrt()
    # Of a mean-field guide; noise of the last steps about a tenth of a standard deviation.
    assert ((ember.param("loc") - mean).abs() < 0.5 * sd).all()
    torch.testing.assert_close(ember.param("scale").detach(), sd, rtol=0.15, atol=0.0)


def test_latent_variables_of_rows_are_scaled_in_model_and_guide() -> None:
    x = data()[1]

    def model(x: torch.Tensor) -> None:
        loc = ember.sample("loc", dist.Normal(0.0, 1.0))
        with ember.plate("data", len(x)):
            z = ember.sample("z", dist.Normal(loc, 1.0))
            ember.sample("x", dist.Normal(z, 1.0), obs=x)

    def of_rows(x: torch.Tensor) -> None:
        ember.sample("loc", dist.Delta(ember.param("at", torch.tensor(0.3))))
        with ember.plate("data", len(x)):
            ember.sample("z", dist.Normal(x / 2, 0.7))

    found = new_svi(model, of_rows).fit(x, steps=1, batch_size=10, shuffle=False, progress=False).losses
    ember.set_rng_seed(0)
    z = dist.Normal(x[:10] / 2, 0.7).sample()
    local = dist.Normal(0.3, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(x[:10])
    local = local - dist.Normal(x[:10] / 2, 0.7).log_prob(z)
    expected = -(dist.Normal(0.0, 1.0).log_prob(torch.tensor(0.3)) + 5 * local.sum())
    torch.testing.assert_close(found[0].float(), expected)


# Validation


@pytest.mark.parametrize("model", [of_batch, of_all], ids=["plate of the batch", "plate of all"])
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_validation_data_count_once_each(model: Any, mode: str) -> None:
    others = data(26, seed=8)
    svi = new_svi(
        model, lambda x, y: ember.sample("w", dist.Delta(ember.param("at", torch.ones(3)), event_dim=1))
    )
    svi.compile = MODES[mode]
    result = svi.fit(data(), epochs=3, batch_size=16, validation=others, progress=False)
    w = ember.param("at").detach()
    expected = (
        -dist.Normal(0.0, 1.0).log_prob(w).sum() - dist.Normal(others[0] @ w, 0.3).log_prob(others[1]).sum()
    )
    assert [step for step, _ in result.validation] == [4, 8, 12]
    assert result.validation[-1][1] == pytest.approx(expected.item(), rel=1e-5)


def test_validation_leaves_the_training_alone() -> None:
    expected = new_svi().fit(data(), epochs=3, batch_size=16, progress=False).losses
    result = new_svi().fit(
        data(), epochs=3, batch_size=16, validation=data(26, 8), validate_every=2, progress=False
    )
    assert torch.equal(result.losses, expected) and len(result.validation) == 6


def test_validation_noise_is_the_same_each_time() -> None:
    still = ember.optim.SGD({"lr": 0.0})
    result = new_svi(optim=still).fit(data(), epochs=3, batch_size=16, validation=data(26, 8), progress=False)
    assert len({loss for _, loss in result.validation}) == 1


# What cannot be told is refused


def refused(match: str, fit_data: Any = None, model: Any = of_batch, **options: Any) -> None:
    svi = new_svi(model)
    with pytest.raises(ModelError, match=match):
        svi.fit(data() if fit_data is None else fit_data, progress=False, **{"epochs": 1, **options})
    store = ember.get_param_store()
    assert all(not leaf.abs().sum() for _, leaf in store.named_parameters()), "a parameter has moved"


def test_rows_in_no_plate() -> None:
    refused(
        "'y' observes a value of shape .10,., with as many rows as the batch",
        model=without_plate,
        batch_size=10,
    )


def test_the_scale_may_be_left_to_the_program() -> None:
    result = new_svi(without_plate).fit(data(), epochs=1, batch_size=10, plate=(), progress=False)
    assert result.num_steps == 5


def test_two_plates_as_long_as_the_batch() -> None:
    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        with ember.plate("groups", 10, dim=-2):
            ember.sample("g", dist.Normal(0.0, 1.0), obs=torch.zeros(10, 1))
        of_batch(x, y)

    refused(r"plates \['data', 'groups'\]", model=model, batch_size=10)
    result = new_svi(model).fit(data(), epochs=1, batch_size=10, plate="data", progress=False)
    same = new_svi(model).fit(data(), epochs=1, batch_size=10, plate=["data"], progress=False)
    assert torch.equal(result.losses, same.losses)


def test_rows_outside_of_a_plate_of_the_same_length() -> None:
    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        w = ember.sample("w", dist.Normal(torch.zeros(DIMS), 1.0).to_event(1))
        with ember.plate("groups", 10):
            ember.sample("y", dist.Normal((x @ w)[:, None], 0.3), obs=y[:, None].expand(-1, 10))

    refused("only the plate 'groups' holds rows", model=model, batch_size=10)


def test_a_plate_with_another_size_than_the_data() -> None:
    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        body(x, y, ember.plate("data", 60, subsample_size=len(x)))

    refused("scales to 60 rows, but the data have 50", model=model, batch_size=10)
    assert new_svi(model).fit([data()], epochs=1, size=60, progress=False).num_steps == 1


def test_a_named_plate_of_another_length() -> None:
    refused(
        "plate 'data' has 10 rows, but the batch has 16",
        model=lambda x, y: of_batch(x[:10], y[:10]),
        batch_size=16,
        plate="data",
    )


@pytest.mark.parametrize("compile", [False, True])
def test_a_named_plate_that_is_not_there(compile: bool) -> None:
    svi = new_svi(compile=compile)
    with pytest.raises(ModelError, match=r"no plate 'dat', .*There are the plates \['data'\]"):
        svi.fit(data(), epochs=1, batch_size=10, plate="dat", progress=False)


def test_a_size_that_nobody_knows() -> None:
    def once() -> Any:
        yield data(10)
        yield data(10)

    refused("how many rows there are in all", fit_data=once())
    refused("how many rows there are in all", fit_data=[(data(10)[0], data(9)[1]), data(10)])


def test_data_and_options() -> None:
    refused("all of the same length", fit_data=(torch.zeros(3), torch.zeros(4)))
    refused("all of the same length", fit_data=(1.0, "a"))
    refused("batch_size must be >= 1", batch_size=0)
    refused("one of epochs and steps", epochs=2, steps=3)
    refused("one of epochs and steps", epochs=None)
    refused("whole number", epochs=-1)
    refused("for tensors in memory", fit_data=[data()], batch_size=10)
    refused("tensors or an iterable", fit_data=3)
    refused("validate_every", validation=data(), validate_every=0)
    refused("subclasses of ember.train.Callback", callbacks=[print])


def test_a_generator_serves_one_epoch() -> None:
    svi = new_svi()
    with pytest.raises(ValueError, match="serves one epoch"):
        svi.fit((data(10, seed) for seed in range(5)), epochs=2, size=50, progress=False)


# Ctrl-C


class Interrupting(Callback):
    every = 1

    def after_steps(self, training: Any) -> None:
        if training.step == 7:
            signal.raise_signal(signal.SIGINT)


@modes
def test_ctrl_c_returns_what_there_is(mode: Any) -> None:
    svi = new_svi(compile=mode)
    result = svi.fit(data(), epochs=10, batch_size=10, callbacks=[Interrupting()], progress=False)
    assert result.interrupted and result.num_steps == 7 and len(result.losses) == 7
    expected = new_svi(compile=mode).fit(data(), steps=7, batch_size=10, progress=False)
    assert torch.equal(result.losses, expected.losses)
    assert all(torch.equal(result.params[name], expected.params[name]) for name in ("loc", "scale"))


# Parameters that belong to a fit


def test_results_keep_their_parameters() -> None:
    svi = new_svi()
    first = svi.fit(data(), epochs=1, batch_size=10, progress=False).params
    second = svi.fit(data(), epochs=1, batch_size=10, progress=False).params
    assert set(first) == {"loc", "scale"} and (second["scale"] > 0).all()
    assert not torch.equal(first["loc"], second["loc"]) and not first["loc"].requires_grad


def test_two_models_without_clearing_a_store() -> None:
    alone = new_svi(param_store="own").fit(data(), epochs=3, batch_size=10, progress=False)
    ember.set_rng_seed(1)
    narrow = new_svi(param_store="own")
    wide = new_svi(lambda x, y: of_batch(x / 2, y), param_store="own")
    ember.set_rng_seed(0)
    found = narrow.fit(data(), epochs=3, batch_size=10, progress=False)
    other = wide.fit(data(), epochs=3, batch_size=10, progress=False)
    assert torch.equal(found.params["loc"], alone.params["loc"])
    assert not torch.equal(other.params["loc"], alone.params["loc"])
    assert not len(ember.get_param_store())
    with pytest.raises(ValueError, match="param_store must be"):
        new_svi(param_store="mine")
