"""Fits by several processes, each of which sees a part of each batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import distributed as group

from ember.errors import ModelError
from ember.infer.step.training.batches import Shard
from ember.infer.step.training.callback import Fitted, State


class DataParallel:
    """Lets the processes of ``torch.distributed`` fit together, each on a part of each batch.

    Give all processes the same data and batch size. One all-reduce in each step averages the gradients by
    rows, so that the step is the one that a single process would take on the whole batch. At the beginning
    all take the parameters, buffers, optimizer and random states of the first process. With a loader, give
    each process its own, over a :class:`torch.utils.data.DistributedSampler`. Running statistics of networks
    (batch normalisation) are those of each process's own rows.

    Args:
        noise: "different" lets each process draw its own noise, which latent variables of rows need. "same"
            gives the numbers of one process, for a model whose latent variables are all global.

    Raises:
        ModelError: if ``noise`` is another word, or there is no process group. During a fit: if the processes
            have gradients of different shapes, or sparse ones.

    A script that ``torchrun --nproc-per-node 2 script.py`` starts:

        torch.distributed.init_process_group("gloo")
        svi = ember.infer.SVI(model, guide, optim, loss)
        result = svi.fit(data, epochs=10, batch_size=100, parallel=DataParallel())
    """

    def __init__(self, noise: str = "different") -> None:
        if noise not in ("different", "same"):
            raise ModelError(f'noise must be "different" or "same", got {noise!r}')
        if not (group.is_available() and group.is_initialized()):
            raise ModelError(
                "there is no process group: start the script by `torchrun --nproc-per-node 2 script.py`, and call "
                'torch.distributed.init_process_group("gloo") first'
            )
        self.rank = group.get_rank()
        self.world = group.get_world_size()
        self._noise = noise
        self._share = 1.0
        self._same_noise = True
        self._checked = False
        self._losses: list[Any] = []
        seed = self._of_first(torch.initial_seed() % 2**31)
        self._shard = Shard(self.rank, self.world, seed)

    def _of_first(self, value: Any) -> Any:
        box = [value]
        group.broadcast_object_list(box, src=0)
        return box[0]

    def shard(self) -> Shard:
        """Return the part of each batch that this process sees."""
        return self._shard

    def begin(self, fitted: Fitted) -> None:
        """Give all processes the first one's state."""
        for tensor in fitted.tensors():
            group.broadcast(tensor.detach(), src=0)
        state = self._of_first(fitted.get_state())
        fitted.set_state(state)
        fitted.optim.exchange_by(self._averaged)
        self._same_noise, self._checked, self._losses = True, False, []

    def close(self, fitted: Fitted) -> None:
        """End the exchange: later steps are this process's own."""
        fitted.optim.exchange_by(None)

    def before_steps(self, step: int, share: float) -> None:
        """Let each process draw its own noise, after the first step: parameters come into being in that one.

        Args:
            step: the number of steps taken.
            share: which part of the rows of a step this process sees.
        """
        self._share = share
        if step and self._same_noise and self._noise == "different":
            self._same_noise = False
            if self.rank:
                torch.manual_seed(self._shard.seed + 7919 * self.rank)

    def _averaged(self, loss: Any, grads: list[Tensor | None]) -> Any:
        """Gradients and loss, averaged over the processes by their rows: one all-reduce for each kind of tensor."""
        dense = [grad for grad in grads if grad is not None]
        if not self._checked:
            self._check(dense)
        values = loss if isinstance(loss, (tuple, list)) else (loss,)
        by_kind: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for grad in dense:
            by_kind.setdefault((grad.device, grad.dtype), []).append(grad)
        found: list[float] = [float(value) for value in values]
        for number, ((device, dtype), some) in enumerate(by_kind.items()):
            own = torch.tensor(found if number == 0 else [], dtype=dtype, device=device)
            flat = torch.cat([own, *[grad.reshape(-1) for grad in some]]).mul_(self._share)
            group.all_reduce(flat)
            start = len(own)
            if number == 0:
                found = flat[:start].tolist()
            for grad in some:
                grad.copy_(flat[start : start + grad.numel()].view_as(grad))
                start += grad.numel()
        mean = tuple(found) if isinstance(loss, (tuple, list)) else found[0]
        self._losses.append(mean)
        return mean

    def _check(self, grads: list[Tensor]) -> None:
        """Once: the processes have gradients of the same shapes."""
        self._checked = True
        if any(grad.is_sparse for grad in grads):
            raise ModelError(
                "sparse gradients are not averaged over processes: use sparse=False in embeddings"
            )
        mine = [tuple(grad.shape) for grad in grads]
        others: list[Any] = [None] * self.world
        group.all_gather_object(others, mine)
        if any(other != mine for other in others):
            raise ModelError(f"the processes have gradients of different shapes: {others}")

    def save(self, write: Callable[[State], None], own: State) -> None:
        """Let the first process write; the others wait.

        Args:
            write: called in the first process, with what all processes have for themselves.
            own: what this process has for itself, such as its random state.
        """
        states: list[Any] = [None] * self.world
        group.all_gather_object(states, own)
        if self.rank == 0:
            write({"own": states, "seed": self._shard.seed, "same": self._same_noise})
        group.barrier()

    def take_up(self, extra: State) -> State:
        """Go on with the order and the noise that there were.

        Args:
            extra: what :meth:`save` has written.

        Raises:
            ModelError: if there were more or fewer processes.
        """
        if len(extra["own"]) != self.world:
            raise ModelError(
                f"the file is of a fit by {len(extra['own'])} processes, and there are {self.world} now"
            )
        self._same_noise, self._shard.seed = extra["same"], extra["seed"]
        own: State = extra["own"][self.rank]
        return own

    def settle(self, losses: list[Any]) -> None:
        """Put the losses of all together in the place of this process's own."""
        count = min(len(self._losses), len(losses))
        losses[len(losses) - count :] = self._losses[len(self._losses) - count :]
        self._losses.clear()

    def agreed(self, value: float) -> float:
        """Return the first process's value."""
        return float(self._of_first(value))


__all__ = ["DataParallel"]
