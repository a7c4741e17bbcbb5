"""Sylvester flows: planar flows along many directions at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ember.distributions import constraints
from ember.distributions.transforms.householder import Householder
from ember.distributions.transforms.remembering import OneWayTransform


class Sylvester(OneWayTransform, Householder):
    """``y = x + tanh(x S Q' + b) Q R`` for rows ``x``, with ``Q`` a product of reflections, ``R`` and ``S`` upper triangular.

    The order of the factors is that of Pyro. It is not that of the paper, which has
    ``tanh(x Q S' + b) R' Q'``, so that triangles give the determinant; Pyro takes it from them all the same,
    and is off where ``tanh`` bends. Here it is computed as it is, in a time that grows with the cube of
    ``input_dim``.

    The inverse has no closed form: only the last image can be mapped back. So it suits guides, and not the
    density of observed values.

    Args:
        input_dim: the length of the vectors.
        count_transforms: how many reflections make ``Q``.

    Shapes:
        x, y: ``(..., input_dim)``.

    Raises:
        KeyError: when another value than the last image is mapped back.
        ValueError: if there is no reflection.

    References:
        R. van den Berg, L. Hasenclever, J. M. Tomczak, M. Welling (2018), "Sylvester Normalizing Flows for
        Variational Inference".

    >>> import torch
    >>> from ember.distributions.transforms import Sylvester
    >>> flow = Sylvester(3, count_transforms=2)
    >>> x = torch.randn(5, 3)
    >>> flow.log_abs_det_jacobian(x, flow(x)).shape
    torch.Size([5])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    triangular_mask: Tensor

    def __init__(self, input_dim: int, count_transforms: int = 1) -> None:
        super().__init__(input_dim, count_transforms)
        self.R_dense = nn.Parameter(torch.empty(input_dim, input_dim))
        self.S_dense = nn.Parameter(torch.empty(input_dim, input_dim))
        self.R_diag = nn.Parameter(torch.empty(input_dim))
        self.S_diag = nn.Parameter(torch.empty(input_dim))
        self.b = nn.Parameter(torch.empty(input_dim))
        self.register_buffer("triangular_mask", torch.triu(torch.ones(input_dim, input_dim), diagonal=1))
        self.reset_parameters2()

    def reset_parameters2(self) -> None:
        """Draw all parameters but the reflections uniformly within 0.01 of zero."""
        with torch.no_grad():
            for parameter in (self.b, self.R_diag, self.S_diag, self.R_dense, self.S_dense):
                parameter.uniform_(-0.01, 0.01)

    def dtanh_dx(self, x: Tensor) -> Tensor:
        """Return the derivative of ``tanh`` at ``x``."""
        return 1 - torch.tanh(x).square()

    def R(self) -> Tensor:
        """Return the outer triangular matrix, whose diagonal is between -1 and 1."""
        return self.R_dense * self.triangular_mask + torch.diag(torch.tanh(self.R_diag))

    def S(self) -> Tensor:
        """Return the inner triangular matrix, whose diagonal is between -1 and 1."""
        return self.S_dense * self.triangular_mask + torch.diag(torch.tanh(self.S_diag))

    def Q(self, x: Tensor) -> Tensor:
        """Return the orthogonal matrix, of the dtype and on the device of ``x``."""
        columns: Tensor = torch.eye(self.input_dim, dtype=x.dtype, device=x.device)
        for u in self.u().unbind(-2):
            columns = columns - 2 * torch.outer(columns @ u, u)
        return columns

    def _call(self, x: Tensor) -> Tensor:
        Q, R, S = self.Q(x), self.R(), self.S()
        bent = torch.tanh(x @ (S @ Q.mT) + self.b)
        y = x + bent @ (Q @ R)
        # Sylvester's identity: the determinants of I + A B and of I + B A are the same.
        inner = (Q @ R @ S @ Q.mT).mT * (1 - bent.square()).unsqueeze(-1)
        eye = torch.eye(self.input_dim, dtype=x.dtype, device=x.device)
        self.remember(x, y, torch.linalg.slogdet(eye + inner).logabsdet)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``log |det(I + diag(tanh') (Q R S Q')')|``."""
        found: Tensor | None = self.recalled(x, y)
        return self.log_abs_det_jacobian(x, self._call(x)) if found is None else found


def sylvester(input_dim: int, count_transforms: int | None = None) -> Sylvester:
    """Make a :class:`Sylvester` flow, by default of ``input_dim // 2 + 1`` reflections.

    >>> import torch
    >>> from ember.distributions.transforms import sylvester
    >>> sylvester(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    if count_transforms is None:
        count_transforms = input_dim // 2 + 1
    return Sylvester(input_dim, count_transforms=count_transforms)
