"""Layers and operators of models, with their gradients: in C as in torch, or refused by name and place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ember.capture.native.values.unsupported import UnsupportedError
from tests.capture.native.programs import QUICK, Compiled, assert_same, flags

F = nn.functional
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(4, 3), (5, 4)),
    "large linear": (lambda: nn.Linear(64, 50), (32, 64)),
    "bilinear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (5, 3, 4)),
    "layer norm": (lambda: nn.LayerNorm(4), (5, 4)),
    "batch norm": (lambda: nn.BatchNorm1d(4), (5, 4)),
    "batch norm of images": (lambda: nn.BatchNorm2d(3), (2, 3, 4, 4)),
    "batch norm as evaluated": (lambda: nn.BatchNorm1d(4).eval(), (5, 4)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (3, 4, 5)),
    "convolution": (lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 6)),
    "convolution of sequences": (lambda: nn.Conv1d(3, 4, 3, stride=2), (2, 3, 9)),
    "transposed convolution": (lambda: nn.ConvTranspose2d(3, 4, 3), (2, 3, 4, 4)),
    "pooling": (lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.MaxPool2d(2), nn.AvgPool2d(2)), (2, 3, 10, 10)),
    "gru": (lambda: nn.GRU(4, 3, batch_first=True), (2, 5, 4)),
    "lstm": (lambda: nn.LSTM(4, 3, num_layers=2), (5, 2, 4)),
    "rnn": (lambda: nn.RNN(4, 3), (5, 2, 4)),
    "gru cell": (lambda: nn.GRUCell(4, 3), (5, 4)),
    "lstm cell": (lambda: nn.LSTMCell(4, 3), (5, 4)),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), (2, 5, 4)),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 2)), (5, 4)),
    "activations": (
        lambda: nn.Sequential(
            nn.ELU(), nn.SELU(), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.GELU(), nn.Hardtanh()
        ),
        (5, 4),
    ),
    "more activations": (
        lambda: nn.Sequential(
            nn.PReLU(), nn.LeakyReLU(), nn.LogSigmoid(), nn.Softsign(), nn.Tanhshrink(), nn.CELU()
        ),
        (5, 4),
    ),
    "softmax": (lambda: nn.Sequential(nn.Softmax(-1), nn.LogSoftmax(0)), (5, 4)),
}


def largest(x: Tensor) -> Tensor:
    """By aminmax, which has no derivative in torch 2.9."""
    return x.aminmax().max if torch.__version__ >= (2, 13) else x.detach().aminmax().max


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "cross entropy": lambda x: F.cross_entropy(x, torch.tensor([0, 2, 1, 3, 3])),
    "binary cross entropy": lambda x: F.binary_cross_entropy_with_logits(x, (x > 0).double()),
    "smooth losses": lambda x: (
        F.smooth_l1_loss(x, x.flip(0)) + F.huber_loss(x, x * 2) + F.mse_loss(x, x.exp())
    ),
    "divergence": lambda x: F.kl_div(F.log_softmax(x, -1), F.softmax(x.flip(1), -1), reduction="batchmean"),
    "embedding": lambda x: F.embedding(torch.tensor([[0, 2], [4, 4]]), x, padding_idx=2).sum(0),
    "norms": lambda x: x.norm() + x.norm(dim=0).sum() + x.norm(p=1, dim=1) @ x[:, 0] + F.normalize(x).sum(),
    "moments": lambda x: x.var(0) + x.std(0) + x.var(unbiased=False) + torch.var_mean(x, 1)[0].sum(),
    "log sums": lambda x: x.logsumexp(0) + x.logcumsumexp(0) + torch.logaddexp(x, x.flip(0)),
    "cumulative": lambda x: x.cumsum(0) + x.exp().cumprod(1) + x.cummax(0).values,
    "order": lambda x: (
        x.sort(0).values * x.topk(2, 1).values.sum() + x.median() + x.kthvalue(2, 1).values.sum()
    ),
    "maxima": lambda x: (
        x.max(0).values + x.min(1).values.sum() + x.amax() + x.max() + x.argmax(0) + largest(x)
    ),
    "contractions": lambda x: torch.einsum("ij,kj->ik", x, x) + torch.einsum("ij,ij->i", x, x),
    "outer": lambda x: (
        torch.outer(x[0], x[:, 0])
        + torch.kron(x[:2, :2], x[:2, :2])[:4, :1]
        + torch.cross(x[0, :3], x[1, :3], 0).sum()
    ),
    "triangles": lambda x: (x[:4].tril() + torch.diag(x[0].exp())).logdet() + torch.diag_embed(x).sum((1, 2)),
    "decompositions": lambda x: (
        torch.linalg.cholesky(x.t() @ x + torch.eye(4)) + torch.linalg.inv(x[:4] + 9 * torch.eye(4))
    ),
    "solutions": lambda x: (
        torch.linalg.solve(x[:4] + 9 * torch.eye(4), x[1:].t()[:, :4]) + torch.linalg.slogdet(x[:4])[1]
    ),
    "singular values": lambda x: (
        torch.linalg.svdvals(x) + torch.linalg.eigvalsh(x.t() @ x) + torch.linalg.det(x[:4])
    ),
    "repeats": lambda x: x.repeat(2, 3) + x.tile(2, 3) + x.repeat_interleave(2, 0).repeat_interleave(3, 1),
    "gathers": lambda x: (
        x.gather(1, torch.tensor([[0], [3], [1], [1], [2]]))
        + x[[4, 0, 1], [1, 1, 0]].sum()
        + x.take(torch.tensor(3))
    ),
    "choices": lambda x: (
        torch.where(x > 0, x, x.exp()) + x.masked_fill(x > 1, 0.5) + x.clamp(min=0) * x.clamp(max=x.mean())
    ),
    "movements": lambda x: (
        x.roll(1, 0) + x.flip(1) + F.pad(x, (1, 1))[:, :4] + x.unfold(0, 2, 1).sum((0, 2)) + x.rot90(2)
    ),
    "special": lambda x: (
        x.exp().lgamma()
        + x.exp().digamma()
        + x.erf()
        + torch.special.erfinv(x.tanh() * 0.9)
        + torch.special.i0e(x)
    ),
    "more special": lambda x: (
        torch.xlogy(x.exp(), x.exp())
        + torch.special.ndtri(x.sigmoid())
        + torch.special.log_ndtr(x)
        + x.sinc()
    ),
    "rounded": lambda x: (
        x.round() + x.floor() + x.frac() + (x / 0.3).trunc() + x.remainder(0.7) + torch.fmod(x, 0.7)
    ),
    "counts": lambda x: x.sum(0) + F.one_hot(torch.tensor([1, 3]), 4).sum(0),
    "bisection": lambda x: (
        x * torch.searchsorted(torch.tensor([-1.0, 0.0, 1.0]), x.detach().contiguous())
        + torch.bucketize(x.detach(), torch.tensor([0.0]))
    ),
    "distances": lambda x: (
        torch.cdist(x, x[:3] * 2).sum(1)
        + F.cosine_similarity(x, x.flip(0))
        + F.pairwise_distance(x, x.flip(1))
    ),
    "grids": lambda x: (
        torch.stack(torch.meshgrid(x[0], x[:, 0], indexing="ij")).sum(0)
        + torch.linspace(0, 1, 5)
        + torch.cartesian_prod(x[0], x[1]).sum()
    ),
    "complex": lambda x: torch.fft.rfft(x).abs(),
    "interpolation": lambda x: F.interpolate(x[None, None], scale_factor=2, mode="bilinear").sum((0, 1)),
    "reductions of truth": lambda x: (
        (x > 0).all(0) * x
        + (x > 1).any()
        + (x > 0).sum(0)
        + torch.count_nonzero(x, 0)
        + x.nansum(0)
        + x.nan_to_num()
    ),
}
# Operators that go to another backend.
REFUSED: dict[str, str] = {"complex": "complex"}


def agree(name: str, function: Callable[[list[Tensor]], list[Tensor]], inputs: list[Tensor]) -> None:
    with flags(*QUICK):
        try:
            compiled = Compiled(function, inputs)
        except UnsupportedError as error:
            assert name in REFUSED, str(error)
            assert REFUSED[name] in str(error)
            return
    for steps in (1, 2):
        expected = compiled.expected(inputs, steps)
        assert_same(compiled.outcome(inputs, steps), expected, [], (1e-9, 1e-10))
    assert name not in REFUSED


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, float64):
    make, shape = LAYERS[name]
    layer = make()
    parameters = [p.detach().clone() for p in layer.parameters()]
    buffers = [b.clone() for b in layer.buffers()]
    names = [key for key, _ in layer.named_parameters()]
    others = [key for key, _ in layer.named_buffers()]
    x = torch.randn(shape)

    def step(flat: list[Tensor]) -> list[Tensor]:
        leaves = [t.detach().requires_grad_() for t in flat[: len(names) + 1]]
        given = dict(zip(names, leaves[1:], strict=True)) | dict(
            zip(others, flat[len(names) + 1 :], strict=True)
        )
        with torch.enable_grad():
            out = torch.func.functional_call(layer, given, (leaves[0],))
            out = out[0] if isinstance(out, tuple) else out
            return [out.detach(), *torch.autograd.grad((out * out.sin()).sum(), leaves)]

    agree(name, step, [x, *parameters, *buffers])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, float64):
    def step(flat: list[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            x = flat[0].detach().requires_grad_()
            out = FUNCTIONS[name](x)
            return [out.detach(), *torch.autograd.grad((out * out.sin()).sum(), [x])]

    agree(name, step, [torch.randn(5, 4, generator=torch.Generator().manual_seed(5))])
