"""Distributions of one observation in each component: one file each."""

from typing import Any

from fastem.families.beta import Beta
from fastem.families.binomial import Bernoulli, Binomial, BinomialOfTrials
from fastem.families.categorical import Categorical
from fastem.families.components import Components
from fastem.families.constant import Constant
from fastem.families.counts.dirichlet_multinomial import DirichletMultinomial
from fastem.families.counts.exposed_negative_binomial import ExposedNegativeBinomial
from fastem.families.counts.negative_binomial import NegativeBinomial
from fastem.families.gaussian.diagonal import GaussianDiag, GaussianSpherical
from fastem.families.gaussian.family import GaussianFamily
from fastem.families.gaussian.prior import GaussianPrior
from fastem.families.gaussian.triangular import GaussianFull, GaussianTied
from fastem.families.multinomial import Multinomial
from fastem.families.noise import Noise
from fastem.families.poisson import ExposedPoisson, Poisson
from fastem.families.positive.exponential import CensoredExponential, Exponential
from fastem.families.positive.gamma import CensoredGamma, Gamma
from fastem.families.positive.log_normal import CensoredLogNormal, LogNormal
from fastem.families.positive.weibull import CensoredWeibull, Weibull
from fastem.families.product import Product
from fastem.families.regression.linear import LinearRegression
from fastem.families.regression.logistic import LogisticRegression
from fastem.families.regression.poisson import PoissonRegression
from fastem.families.student_t.diag import StudentTDiag
from fastem.families.student_t.family import StudentFamily
from fastem.families.student_t.full import StudentTFull
from fastem.families.von_mises_fisher import VonMisesFisher

__all__ = [
    "GAUSSIANS", "STUDENTS", "Bernoulli", "Beta", "Binomial", "BinomialOfTrials", "Categorical",
    "CensoredExponential", "CensoredGamma", "CensoredLogNormal", "CensoredWeibull", "Components", "Constant",
    "DirichletMultinomial", "Exponential", "ExposedNegativeBinomial", "ExposedPoisson", "Gamma", "Gaussian",
    "GaussianDiag", "GaussianFull", "GaussianPrior", "GaussianSpherical", "GaussianTied", "LinearRegression",
    "LogNormal", "LogisticRegression", "Multinomial", "NegativeBinomial", "Noise", "Poisson", "PoissonRegression",
    "Product", "StudentT", "StudentTDiag", "StudentTFull", "VonMisesFisher", "Weibull",
]  # fmt: skip

GAUSSIANS: dict[str, type[GaussianFamily]] = {
    "full": GaussianFull,
    "tied": GaussianTied,
    "diag": GaussianDiag,
    "spherical": GaussianSpherical,
}

STUDENTS: dict[str, type[StudentFamily]] = {"full": StudentTFull, "diag": StudentTDiag}


def Gaussian(  # it makes a family, as a class does
    covariance_type: str = "full", reg_covar: Any = 0.0, prior: GaussianPrior | None = None, floor: Any = None
) -> GaussianFamily:
    """Gaussians, with one of four structures of the covariance.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        Each component its own matrix, one matrix for all, variances of each column, or one
        variance a component.
    reg_covar : float or array-like of shape (d,), default=0
        Added to the diagonal of the covariances, as scikit-learn does.
    prior : GaussianPrior, optional
        A normal-inverse-Wishart prior: the fit then maximizes the posterior density.
    floor : float or array-like of shape (d,), optional
        Least standard deviation of a component in each column. It bounds the likelihood where a
        component sits on equal values, and changes no other. Default: an eighth of the distance
        between neighbouring numbers of the data's dtype at the component's mean.

    Returns
    -------
    family : GaussianFull, GaussianTied, GaussianDiag or GaussianSpherical

    Examples
    --------
    >>> from fastem.families import Gaussian
    >>> Gaussian("diag")
    GaussianDiag()
    """
    if covariance_type not in GAUSSIANS:
        raise ValueError(f"covariance_type must be one of {', '.join(GAUSSIANS)}, not {covariance_type!r}.")
    return GAUSSIANS[covariance_type](reg_covar, prior, floor)


def StudentT(  # it makes a family, as a class does
    covariance_type: str = "full",
    dofs: float | None = None,
    shared_dofs: bool = False,
    reg_covar: Any = 0.0,
    floor: Any = None,
) -> StudentFamily:
    """Multivariate t distributions.

    Parameters
    ----------
    covariance_type : {'full', 'diag'}, default='full'
        Scale matrices, or a scale of each column.
    dofs : float, optional
        Degrees of freedom of all components; default: estimated.
    shared_dofs : bool, default=False
        Whether estimated degrees of freedom are the same in all components.
    reg_covar : float or array-like of shape (d,), default=0
        Added to the diagonal of the scale matrices.
    floor : float or array-like of shape (d,), optional
        Least scale of a component in each column; default as for `Gaussian`.

    Returns
    -------
    family : StudentTFull or StudentTDiag

    Examples
    --------
    >>> from fastem.families import StudentT
    >>> StudentT("diag", dofs=4)
    StudentTDiag(dofs=4)
    """
    if covariance_type not in STUDENTS:
        raise ValueError(f"covariance_type must be one of {', '.join(STUDENTS)}, not {covariance_type!r}.")
    return STUDENTS[covariance_type](dofs, shared_dofs, reg_covar, floor)
