"""What can be fitted over batches of data, judged, saved, and taken up again."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ember.errors import CaptureError, Reason, SaveFileError
from ember.infer.density.judging.guide_rows import Pair
from ember.infer.density.judging.guide_verdict import GuideVerdict, judge_guide
from ember.infer.objectives.losses.policy import BadLoss, Skip, active_policy
from ember.infer.step.compile_mode import CompileMode, effective_mode
from ember.infer.step.function import Args, Kwargs
from ember.infer.step.loop import Run
from ember.infer.step.programs import Programs
from ember.infer.step.request import Request
from ember.infer.step.training.batches import Device
from ember.infer.step.training.callback import Callback, Parallel, State
from ember.infer.step.training.fit import TrainResult, run_fit
from ember.infer.step.training.saved import Holder, read_file, write_file
from ember.infer.step.training.setup import Machinery, Source, fit_over
from ember.infer.step.training.steps import BatchRequests, Steps
from ember.optim import PyroOptim
from ember.params.fits import FittedPrograms
from ember.params.param_store import ParamStoreDict
from ember.rng import as_plain_data, fork_rng, get_rng_state, set_rng_state


class Trainable(ABC):
    """Takes data in batches, is judged, and keeps its state in files: a part of SVI."""

    optim: PyroOptim
    model: Callable[..., Any]
    guide: Callable[..., Any]
    compile: CompileMode
    programs: Programs

    @abstractmethod
    def request(self, kind: str, policy: BadLoss, args: Args, kwargs: Kwargs) -> Request:
        """What a call asks for."""

    @abstractmethod
    def evaluated(self, mode: CompileMode, args: Args, kwargs: Kwargs) -> Any:
        """The loss."""

    @abstractmethod
    def evaluate_loss(self, *args: object, **kwargs: object) -> Any:
        """The loss, captured or not."""

    @abstractmethod
    def refused(self, error: CaptureError, eager_for: frozenset[Reason]) -> None:
        """Go on eagerly, where that is allowed, or raise."""

    @abstractmethod
    def store(self) -> ParamStoreDict:
        """Where the parameters are."""

    def verdict(self, *args: object, draws: int = 4096, **kwargs: object) -> GuideVerdict:
        """Judge whether the guide can be used as the posterior, without training.

        Draws of the guide are weighed by the model. They are taken one by one, so that the model need not
        broadcast, and in native code where the programs can be captured. Plates that take a part of their
        rows take all of them here: give all data. Parameters of the model count as they are.

        Args:
            args: passed on to model and guide.
            draws: how many draws; 4,096 tell means to 0.02 standard deviations.
            kwargs: passed on to model and guide.

        Returns:
            A verdict, true only where it is ``ok``: means and standard deviations of the guide itself are
                within 0.1 standard deviations and 10 % of the corrected ones, given that no mode was missed.
                ``verdict.corrected`` has the moments of the weighed draws. It is ``unverified``, with the
                reason, where the log density of all data is not known.

        References:
            Y. Yao, A. Vehtari, D. Simpson and A. Gelman (2018), "Yes, but did it work?: Evaluating
            variational inference".

        >>> import torch, ember
        >>> from ember import distributions as dist
        >>> def model():
        ...     z = ember.sample("z", dist.Normal(0.0, 1.0))
        ...     ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(2.0))
        >>> def guide():  # the posterior is Normal(1, 0.71)
        ...     ember.sample("z", dist.Normal(1.5, 0.71))
        >>> _ = torch.manual_seed(0)
        >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({}), ember.infer.Trace_ELBO())
        >>> found = svi.verdict()
        >>> found.status, round(found.mean_off.item(), 1), round(found.corrected.mean.item(), 1)
        ('not converged', 0.7, 1.0)
        """
        with fork_rng():  # a guide that was not set up yet draws where it starts
            return judge_guide(Pair(self.model, self.guide, args, kwargs, self.store()), draws)

    def fit(
        self,
        data: object,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        size: int | None = None,
        plate: str | Sequence[str] | None = None,
        validation: object = None,
        validate_every: int | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        stable: bool = False,
        device: Device = None,
        resume: str | os.PathLike[str] | None = None,
        parallel: Parallel | None = None,
    ) -> TrainResult:
        """Fit over batches of data, each weighed so that it stands for all of them.

        Args:
            data: a tensor, or a tuple, mapping or dataclass of tensors with one row an observation, along
                dim 0; batches of them are taken in native code. Or an iterable of batches, such as a
                :class:`torch.utils.data.DataLoader`. A tuple, or a list that a loader yields, is passed to
                model and guide as positional arguments, a mapping as keyword arguments.
            epochs: the number of passes over the data. Give this or ``steps``. Where each step sees all rows,
                an epoch is a step.
            steps: the number of steps.
            batch_size: rows of a step, for tensors; all if None.
            shuffle: draw a new order for each epoch, for tensors.
            drop_last: leave out a last, smaller batch, for tensors.
            size: the number of all rows, where a loader does not say it.
            plate: the name or names of the plates of the rows; by default the plate whose size is that of the
                batch. ``()`` leaves the scale to the program. Spell it as in the model: a plate of another
                name is not scaled.
            validation: data of either kind that are not trained on. ``validation`` of the result has their
                loss, as if they were all data.
            validate_every: steps from one validation to the next. None validates after each epoch, or after
                each hundredth of the steps where each sees all rows.
            callbacks: objects of :mod:`ember.train`.
            progress: show a progress bar.
            stable: leave out updates whose loss or gradients are not finite, and count them, instead of
                raising.
            device: where batches are moved.
            resume: a file that :class:`ember.train.Checkpoint` wrote, to go on from; ignored if there is no
                such file.
            parallel: :class:`ember.train.DataParallel`, where several processes fit together.

        Returns:
            Losses, and how the fit went. Ctrl-C ends a fit early, with what there is.

        Raises:
            ModelError: if data and options do not fit together, or it cannot be told how to scale a batch.
            ValueError: if there are no batches in an epoch, as in the second one of a generator.
            NonFiniteLossError: if a loss or a gradient is NaN or infinite, unless ``stable``, a callback or
                the setting ``nonfinite_loss`` says otherwise.
            CaptureError: under ``compile=True``, if the step cannot be captured.
            SaveFileError: if the file ``resume`` is damaged or foreign, does not fit, or was written by
                :meth:`save`.

        >>> import torch, ember
        >>> from ember import distributions as dist
        >>> def model(x):
        ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
        ...     with ember.plate("data", len(x)):
        ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
        >>> guide = ember.infer.autoguide.AutoNormal(model)
        >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.Trace_ELBO())
        >>> result = svi.fit(torch.arange(100) / 10, epochs=60, batch_size=20, progress=False)
        >>> abs(guide.median()["loc"].item() - 4.95) < 0.5
        True
        """
        source = Source(data, batch_size, shuffle, drop_last, size, device, plate, parallel)
        mode, policy = effective_mode(self.compile, "auto"), Skip() if stable else active_policy()
        requests = BatchRequests(lambda args, kwargs: self.request("step", policy, args, kwargs))
        steps_of = Steps(requests, self.programs, self.refused, mode)
        machinery = Machinery(
            self, requests, Run(steps_of), lambda args, kwargs: self.evaluated(mode, args, kwargs)
        )
        made = fit_over(
            source,
            machinery,
            epochs=epochs,
            steps=steps,
            validation=validation,
            validate_every=validate_every,
            callbacks=callbacks,
            progress=progress,
        )
        result = run_fit(made, self._resumed(resume))
        return replace(result, fitted_programs=replace(self.fitted_programs, params=result.params))

    @property
    def fitted_programs(self) -> FittedPrograms:
        """Model and guide, with the store of their parameters."""
        return FittedPrograms(self.model, self.guide, self.store())

    def fitted_params(self) -> dict[str, Tensor]:
        """Return constrained values of the parameters that have been stepped, by name, as copies."""
        store = self.store()
        with store.active():
            names = self.optim.stepped_names()
        return {name: store[name].detach().clone() for name in store if name in names}

    def tensors(self) -> list[Tensor]:
        """Return parameters and buffers of the modules that model, guide and loss can reach."""
        return self._holder().tensors()

    def get_state(self) -> State:
        """Return parameters, buffers of modules, optimizer and random states as plain data, in copies.

        Parameters are all of the store: give an SVI a store of its own to keep them apart from others.
        """
        return self._holder().read()

    def own_state(self) -> State:
        """Return what processes that fit together do not share: random states, and kinds of calls."""
        return {"random": as_plain_data(get_rng_state()), "calls": sorted(self.programs.seen)}

    def set_own_state(self, state: State) -> None:
        """Go on from a state of :meth:`own_state`."""
        set_rng_state(state["random"])
        self.programs.begin(state["calls"])

    def set_state(self, state: State) -> None:
        """Go back to a state of :meth:`get_state`.

        Args:
            state: the state. Where its ``"random"`` is None, random numbers go on.

        Raises:
            SaveFileError: if it does not fit; nothing has changed then.
        """
        self._holder().write(state, "the state")

    def save(self, path: str | os.PathLike[str], fit: State | None = None) -> None:
        """Write the whole state to a file, from which :meth:`load` goes on bit for bit, in a new process too.

        The file holds parameters, buffers, the states of the optimizer and its scheduler, random states
        (torch, NumPy, Python), and which kinds of calls there have been. It is at any time the old file or
        the whole new one, ends in a checksum, and loads without unpickling.

        Args:
            path: the file.
            fit: what a fit over batches goes on from, beside that; see :class:`ember.train.Checkpoint`.

        >>> import tempfile, torch, ember
        >>> from ember import distributions as dist
        >>> def model(): ember.sample("z", dist.Normal(0.0, 1.0))
        >>> def guide(): ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(3.0)), 1.0))
        >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.1}), ember.infer.Trace_ELBO())
        >>> loss = svi.step()
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     svi.save(file.name)
        ...     losses = [svi.step(), svi.step()]
        ...     svi.load(file.name)
        ...     losses == [svi.step(), svi.step()]
        True
        """
        write_file(path, self.get_state(), fit)

    def load(self, path: str | os.PathLike[str], map_location: Any = None) -> None:
        """Go on from a file that :meth:`save` wrote.

        Args:
            path: the file.
            map_location: the device of the tensors, as in :func:`torch.load`.

        Raises:
            FileNotFoundError: if there is no such file.
            SaveFileError: if the file is damaged or foreign, or does not fit; nothing has changed then.
        """
        self._take_up(read_file(path, map_location)[0], path)

    def _take_up(self, state: State, path: str | os.PathLike[str]) -> None:
        self._holder().write(state, os.fspath(path))
        self.programs.begin(state["calls"])

    def _holder(self) -> Holder:
        setup = self.request("step", active_policy(), (), {}).setup
        return Holder(setup.store, self.optim, self.programs, setup.roots)

    def _resumed(self, path: str | os.PathLike[str] | None) -> State | None:
        """Go on from a file, if there is one; returns where the fit over batches was."""
        if path is None or not os.path.exists(path):
            self.programs.begin()
            return None
        state, fit = read_file(path)
        if fit is None:
            raise SaveFileError(
                f"{os.fspath(path)!r} was written by svi.save(...), and does not say how far a fit had come: svi.load(...) it, "
                "and call fit without resume; ember.train.Checkpoint writes files to resume from"
            )
        self._take_up(state, path)
        return fit
