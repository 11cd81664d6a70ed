"""Where EM starts: responsibilities of rows, and parameters from them.

On rows that fit in `EXACT_ROWS` the responsibilities are scikit-learn's, to the bit, from the
same random state. On more rows they are those of a sample, and several starts are compared by a
few iterations on that sample before one is run on all rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.em import Data, Fit, accumulate, run
from fastem.family import DegenerateError
from fastem.latent.labels import DeathPolicy, Mixture, MixtureModel, Shape, Statistics
from fastem.sources import ArraySource

__all__ = ["EXACT_ROWS", "METHODS", "from_responsibilities", "responsibilities", "sample_size", "screen"]

EXACT_ROWS = 50_000
SCREENING_ITERATIONS = 10

Rows = np.ndarray
Start = Callable[[Rows, int, np.random.RandomState, np.ndarray | None], np.ndarray]


def sample_size(n_components: int) -> int:
    """Rows that a start on large data looks at."""
    return max(EXACT_ROWS, 100 * n_components)


def _kmeans(X: Rows, n_components: int, rng: np.random.RandomState, sample_weight: np.ndarray | None) -> np.ndarray:
    from sklearn.cluster import KMeans

    kmeans = KMeans(n_clusters=n_components, n_init=1, random_state=rng)
    return _one_hot(kmeans.fit(X, sample_weight=sample_weight).labels_, n_components, X.dtype)


def _kmeans_plusplus(
    X: Rows, n_components: int, rng: np.random.RandomState, sample_weight: np.ndarray | None
) -> np.ndarray:
    from sklearn.cluster import kmeans_plusplus

    _, rows = kmeans_plusplus(X, n_components, random_state=rng, sample_weight=sample_weight)
    return _one_each(rows, X)


def _random(X: Rows, n_components: int, rng: np.random.RandomState, sample_weight: np.ndarray | None) -> np.ndarray:
    resp = rng.uniform(size=(len(X), n_components)).astype(X.dtype)
    return resp / resp.sum(axis=1, keepdims=True)


def _random_from_data(
    X: Rows, n_components: int, rng: np.random.RandomState, sample_weight: np.ndarray | None
) -> np.ndarray:
    rows = len(X) if sample_weight is None else np.flatnonzero(sample_weight)
    return _one_each(rng.choice(rows, size=n_components, replace=False), X)


METHODS: dict[str, Start] = {
    "kmeans": _kmeans,
    "k-means++": _kmeans_plusplus,
    "random": _random,
    "random_from_data": _random_from_data,
}


def _one_hot(labels: np.ndarray, n_components: int, dtype: Any) -> np.ndarray:
    resp = np.zeros((len(labels), n_components), dtype=dtype)
    resp[np.arange(len(labels)), labels] = 1
    return resp


def _one_each(rows: np.ndarray, X: Rows) -> np.ndarray:
    resp = np.zeros((len(X), len(rows)), dtype=X.dtype)
    resp[rows, np.arange(len(rows))] = 1
    return resp


def responsibilities(
    method: Any, X: Rows, n_components: int, rng: np.random.RandomState, sample_weight: np.ndarray | None
) -> np.ndarray:
    """Responsibilities (n, K) of rows by a method's name, or by a callable or array of the user's.

    A callable gets ``(X, n_components, random_state)`` and returns responsibilities (n, K) or
    labels (n,).

    Raises
    ------
    ValueError
        If what the user gave is not made of responsibilities.
    """
    if isinstance(method, str):
        return METHODS[method](X, n_components, rng, sample_weight)
    resp = np.asarray(method(X, n_components, rng) if callable(method) else method)
    if resp.ndim == 1 and resp.shape == (len(X),) and resp.dtype.kind in "iu":
        if resp.min() < 0 or resp.max() >= n_components:
            raise ValueError(f"init_params gave labels outside 0..{n_components - 1}.")
        return _one_hot(resp, n_components, X.dtype)
    if resp.shape != (len(X), n_components):
        raise ValueError(
            f"init_params must give responsibilities of shape {(len(X), n_components)} or integer labels "
            f"of shape {(len(X),)}, not {resp.shape}."
        )
    resp = resp.astype(X.dtype)
    if not np.isfinite(resp).all() or (resp < 0).any() or not np.allclose(resp.sum(axis=1), 1, atol=1e-3):
        raise ValueError("init_params must give responsibilities that are not negative and sum to 1 in each row.")
    return resp


def from_responsibilities(
    model: MixtureModel, data: Data, resp: np.ndarray, policy: DeathPolicy, shape: Shape
) -> Mixture:
    """Parameters after one M-step from given responsibilities."""
    location = data.source.take(data.source.sample_rows(1000)).mean(axis=0, dtype=np.float64)
    about = model.about(location)
    stats = _accumulate_given(model, data, resp, about, shape)
    centre = model.recentre(stats, about, shape)
    if centre is not None:
        about = centre
        stats = _accumulate_given(model, data, resp, about, shape)
    params: Mixture = model.maximize(stats, about, policy).params
    return params


def _accumulate_given(model: MixtureModel, data: Data, resp: np.ndarray, about: Mixture, shape: Shape) -> Statistics:
    walk = model.accumulate(about, about, shape)
    for first, rows, weights in data.blocks():
        given = np.ascontiguousarray(resp[first : first + len(rows)], dtype=shape.dtype)
        given.flags.writeable = False
        walk.add(first, rows, weights, data.pace, given)
    return walk.finish()


def screen(
    model: MixtureModel,
    X: Rows,
    sample_weight: np.ndarray | None,
    method: Any,
    n_candidates: int,
    n_best: int,
    rng: np.random.RandomState,
    shape: Shape,
) -> list[Mixture]:
    """The best of several starts, compared after a few iterations on the rows X.

    Every second k-means start sees standardised columns: on raw ones, a column of large scale
    decides alone.
    """
    data = Data(ArraySource(X), sample_weight)
    scale = X.std(axis=0, dtype=np.float64)
    scaled = ((X - X.mean(axis=0, dtype=np.float64)) / np.where(scale > 0, scale, 1)).astype(X.dtype)
    found = []
    failure = DegenerateError("no start was tried")
    for i in range(n_candidates):
        policy = DeathPolicy(model.n_components)
        seen = scaled if i % 2 and method in ("kmeans", "k-means++") else X
        resp = responsibilities(method, seen, model.n_components, rng, sample_weight)
        try:
            params = from_responsibilities(model, data, resp, policy, shape)
            fit = run(model, Fit(params), data, shape, policy=policy, tol=0.0, max_iter=SCREENING_ITERATIONS)
        except DegenerateError as error:
            failure = error
            continue
        final = model.objective(accumulate(model, fit.params, data, shape))
        found.append((final, i, fit.params))
    if not found:
        raise failure
    found.sort(key=lambda candidate: (-candidate[0], candidate[1]))
    return [params for _, _, params in found[:n_best]]
