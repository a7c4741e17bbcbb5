"""Ways to approximate a density of unconstrained coordinates, one a file, each usable alone."""

from ember.infer.vi.density import Counted as Counted
from ember.infer.vi.density import FunctionDensity as FunctionDensity
from ember.infer.vi.density import LogDensity as LogDensity
from ember.infer.vi.laplace import laplace as laplace
from ember.infer.vi.locate import Newton as Newton
from ember.infer.vi.locate import newton as newton
from ember.infer.vi.natural_gradient import NaturalGradient as NaturalGradient
from ember.infer.vi.natural_gradient import natural_gradient as natural_gradient
