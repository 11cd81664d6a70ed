"""Distributions of one observation in each component: one file each."""

from fastem.families.gaussian_diag import GaussianDiag
from fastem.families.gaussian_full import GaussianFull
from fastem.families.gaussian_spherical import GaussianSpherical
from fastem.families.gaussian_tied import GaussianTied

__all__ = ["GaussianDiag", "GaussianFull", "GaussianSpherical", "GaussianTied"]
