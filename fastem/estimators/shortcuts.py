"""Mixtures of one family, by its name."""

import inspect
from collections.abc import Callable
from typing import Any

from fastem.estimators.mixture import Mixture
from fastem.families import Bernoulli, Categorical, Poisson, StudentT
from fastem.families.family import Family
from fastem.storage.registry import storable

__all__ = ["BernoulliMixture", "LatentClass", "PoissonMixture", "StudentTMixture"]


def _with_settings_of(family: Callable[..., Family[Any, Any]]) -> Callable[[type], type]:
    """Give a class the constructor of `Mixture`, with a family's own settings in place of `family`."""

    def decorate(cls: type) -> type:
        keyword = inspect.Parameter.KEYWORD_ONLY
        own = [p.replace(kind=keyword) for p in inspect.signature(family).parameters.values()]
        mine, _, n_components, *common = inspect.signature(Mixture.__init__).parameters.values()
        signature = inspect.Signature([mine, n_components, *own, *common])

        def __init__(self: Any, *args: Any, **settings: Any) -> None:
            given = signature.bind(self, *args, **settings)
            given.apply_defaults()
            for name, value in list(given.arguments.items())[1:]:
                setattr(self, name, value)

        __init__.__signature__ = signature  # type: ignore[attr-defined]  # scikit-learn reads it
        names = [p.name for p in own]
        cls.__init__ = __init__  # type: ignore[misc]
        cls.family = property(lambda self: family(**{name: getattr(self, name) for name in names}))  # type: ignore[attr-defined]
        return cls

    return decorate


@storable
@_with_settings_of(Poisson)
class PoissonMixture(Mixture):
    """Mixture of Poisson distributions: `Mixture` of `fastem.families.Poisson`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import PoissonMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.poisson(2, (300, 2)), rng.poisson(9, (700, 2))])
    >>> np.sort(PoissonMixture(2, random_state=0).fit(X).weights_).round(1).tolist()
    [0.3, 0.7]
    """


@storable
@_with_settings_of(Bernoulli)
class BernoulliMixture(Mixture):
    """Mixture of products of Bernoulli distributions: `Mixture` of `fastem.families.Bernoulli`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import BernoulliMixture
    >>> X = np.repeat([[1, 1, 0], [0, 0, 1]], 50, axis=0)
    >>> BernoulliMixture(2, random_state=0).fit(X).weights_.tolist()
    [0.5, 0.5]
    """


@storable
@_with_settings_of(Categorical)
class LatentClass(Mixture):
    """Latent class analysis: `Mixture` of `fastem.families.Categorical`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import LatentClass
    >>> X = np.repeat([[0, 2, 1], [1, 0, 1]], 50, axis=0)
    >>> LatentClass(2, random_state=0).fit(X).weights_.tolist()
    [0.5, 0.5]
    """


@storable
@_with_settings_of(StudentT)
class StudentTMixture(Mixture):
    """Mixture of multivariate t distributions: `Mixture` of `fastem.families.StudentT`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import StudentTMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.standard_t(3, (300, 2)) - 9, rng.standard_t(3, (700, 2)) + 9])
    >>> np.sort(StudentTMixture(2, random_state=0).fit(X).weights_).round(1).tolist()
    [0.3, 0.7]
    """
