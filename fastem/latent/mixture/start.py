"""Where EM starts: responsibilities of rows, and parameters from them.

On rows that fit in `EXACT_ROWS` the responsibilities of `SKLEARN_METHODS` are scikit-learn's, to
the bit, from the same random state. On more rows they are those of a sample, and several starts are
compared by a few iterations on that sample before one is run on all rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.engine.contract import DegenerateError, Shape
from fastem.engine.data import Data, accumulate
from fastem.engine.loop import Fit, run
from fastem.engine.partial_labels import PartialLabels
from fastem.engine.validation import has_missing, with_weight
from fastem.kernels.threads import openmp_after_fork
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.deaths import reseeds
from fastem.latent.mixture.model import MixtureModel
from fastem.sources import large_rows

__all__ = [
    "EXACT_ROWS", "METHODS", "SKLEARN_METHODS", "Start", "features", "from_responsibilities", "random_parts",
    "responsibilities", "sample_size", "screen",
]  # fmt: skip

EXACT_ROWS = 50_000
SCREENING_ITERATIONS = 10
NOISE_SHARE = 0.1
# Clusters with a smaller part of the mean number of rows of a cluster are noise, where there is noise.
_STRAY_SHARE = 0.02
_STRAY_ROUNDS = 20
_STEPS = 30

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


SKLEARN_METHODS: dict[str, Start] = {
    "kmeans": _kmeans,
    "k-means++": _kmeans_plusplus,
    "random": _random,
    "random_from_data": _random_from_data,
}


def _nearest_of(choose: Start) -> Start:
    """A start that gives all rows to the nearest of the rows that `choose` gives to components, one each.

    Components of one row have no spread. Of equal rows only one is chosen, while there are others.
    """

    def start(X: Rows, n_components: int, rng: np.random.RandomState, sample_weight: np.ndarray | None) -> np.ndarray:
        _, distinct = np.unique(X, axis=0, return_index=True)
        distinct.sort()
        if sample_weight is not None:
            distinct = distinct[sample_weight[distinct] > 0]
        if len(distinct) < n_components:
            distinct = np.arange(len(X)) if sample_weight is None else np.flatnonzero(sample_weight)
        chosen = X[distinct][choose(X[distinct], n_components, rng, None).argmax(axis=0)].astype(np.float64)
        scale = X.std(axis=0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1)
        distances = np.stack([np.square((X - row) / scale).sum(axis=1) for row in chosen], axis=1)
        return _one_hot(distances.argmin(axis=1), n_components, X.dtype)

    return start


METHODS: dict[str, Start] = SKLEARN_METHODS | {
    "k-means++": _nearest_of(_kmeans_plusplus),
    "random_from_data": _nearest_of(_random_from_data),
}


def _led_by_labels(
    X: Rows, n_components: int, rng: np.random.RandomState, sample_weight: np.ndarray | None, allowed: PartialLabels
) -> np.ndarray:
    """Each row to the nearest of the components that it may belong to.

    Components begin at the mean of the rows that are known to be theirs, those without any at
    rows far from all others; k-means goes on from there.
    """
    from sklearn.cluster import KMeans, kmeans_plusplus

    masks = allowed.masks()[:, :n_components].astype(np.float64)
    masks[masks.sum(axis=1) == 0] = 1
    shares = masks / masks.sum(axis=1, keepdims=True)
    known = allowed.are_known
    owned = shares * known[:, None] * (1 if sample_weight is None else sample_weight[:, None])
    totals = owned.sum(axis=0)
    distinct = np.unique(masks[known], axis=0)
    # several components may share their rows: then drawn rows tell them apart
    alike = (distinct[:, :, None] == distinct[:, None, :]).all(axis=0).sum(axis=1) > 1
    if known.all() and not alike.any():
        return shares.astype(X.dtype)
    if X.shape[1] == 0:
        return _one_hot((masks * rng.uniform(size=masks.shape)).argmax(axis=1), n_components, X.dtype)
    led = (totals > 0) & ~alike
    centres, _ = kmeans_plusplus(X, n_components, random_state=rng, sample_weight=sample_weight)
    centres[led] = (owned.T @ X)[led] / totals[led, None]
    moved = KMeans(n_clusters=n_components, init=centres, n_init=1).fit(X, sample_weight=sample_weight)
    distances = np.where(masks > 0, moved.transform(X), np.inf)
    return _one_hot(distances.argmin(axis=1), n_components, X.dtype)


def _random_subsets(n_rows: int, n_components: int, n_columns: int, rng: np.random.RandomState) -> np.ndarray:
    """Each component on few rows of its own, so that components differ from the beginning."""
    size = max(1, min(5 * (n_columns + 1), n_rows // n_components))
    rows = rng.permutation(n_rows)[: size * n_components]
    resp = np.zeros((n_rows, n_components))
    resp[rows, np.arange(len(rows)) % n_components] = 1
    return resp


def random_parts(n_rows: int, n_parts: int, rng: np.random.RandomState) -> np.ndarray:
    """Shares (n, parts) of rows that are dealt out at random, uneven enough to tell the parts apart."""
    shares = rng.uniform(size=(n_rows, n_parts)) ** 4
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _one_hot(labels: np.ndarray, n_components: int, dtype: Any) -> np.ndarray:
    resp = np.zeros((len(labels), n_components), dtype=dtype)
    resp[np.arange(len(labels)), labels] = 1
    return resp


def _one_each(rows: np.ndarray, X: Rows) -> np.ndarray:
    resp = np.zeros((len(X), len(rows)), dtype=X.dtype)
    resp[rows, np.arange(len(rows))] = 1
    return resp


def features(model: MixtureModel[Any], data: Data) -> np.ndarray:
    """What a start sees of the rows, which are in memory.

    Missing cells hold their column's mean, rows without weight are like the first one that has some.
    """
    rows = data.source.read(0, data.source.n_rows)
    if has_missing(model.family, *with_weight(rows, data.weights, data.first_row)):
        data.look(model.family)
    if len(data.weights) and not np.all(data.weights):
        sound = data.weights > 0
        rows = np.where(sound[:, None], rows, rows[np.argmax(sound)])
    if model.family.starts_blind:
        return np.empty((len(rows), 0), rows.dtype)
    if len(large_rows(rows)):
        rows = rows.astype(np.float64)
    seen = model.family.start_features(rows)
    missing = np.isnan(seen)
    if not missing.any():
        return seen
    counts = np.maximum((~missing).sum(axis=0), 1)
    means = np.where(missing, 0, seen).sum(axis=0, dtype=np.float64) / counts
    return np.where(missing, means, seen).astype(seen.dtype)


def responsibilities(
    method: Any,
    X: Rows,
    model: MixtureModel[Any],
    rng: np.random.RandomState,
    data: Data,
    methods: dict[str, Start] = METHODS,
) -> np.ndarray:
    """Responsibilities (n, K) of rows by the name of one of `methods`, or by a callable or array of the user's.

    A callable gets ``(X, n_components, random_state)`` and returns responsibilities (n, K) or
    labels (n,). X are the features of the rows of `data`; rows of which the components are known
    get their share in those, and lead the others.

    Raises
    ------
    ValueError
        If what the user gave is not made of responsibilities.
    """
    n_noise = model.family.n_noise
    n_components = model.n_components - n_noise
    with openmp_after_fork():
        if not n_noise:
            return _of_own(method, X, n_components, rng, data, methods)
        resp = _without_strays(method, X, n_components, rng, data, methods)
    strays = resp.sum(axis=1, keepdims=True) == 0
    noise = np.where(strays, 1 / n_noise, NOISE_SHARE).astype(resp.dtype)
    return np.hstack([resp * (1 - NOISE_SHARE * n_noise), np.repeat(noise, n_noise, axis=1)])


def _without_strays(
    method: Any, X: Rows, n_components: int, rng: np.random.RandomState, data: Data, methods: dict[str, Start]
) -> np.ndarray:
    """Responsibilities of the components that have parameters, none for rows that only the noise can hold.

    Clusters of too few rows are such: the others are clustered again without them.
    """
    resp = _of_own(method, X, n_components, rng, data, methods)
    if not isinstance(method, str) or data.allowed is not None or X.shape[1] == 0:
        return resp
    weights = data.weights if len(data.weights) else None
    least = max(X.shape[1] + 2, _STRAY_SHARE * len(X) / n_components)
    kept = np.arange(len(X)) if weights is None else np.flatnonzero(weights)
    for _ in range(_STRAY_ROUNDS):
        labels = resp[kept].argmax(axis=1)
        few = np.bincount(labels, minlength=n_components)[labels] < least
        if not few.any() or len(kept) - few.sum() < max(len(X) / 2, n_components * least):
            break
        kept = kept[~few]
        resp = np.zeros_like(resp)
        resp[kept] = methods[method](X[kept], n_components, rng, None if weights is None else weights[kept])
    return resp


def _of_own(
    method: Any, X: Rows, n_components: int, rng: np.random.RandomState, data: Data, methods: dict[str, Start]
) -> np.ndarray:
    """Responsibilities of the components that have parameters."""
    weights = data.weights if len(data.weights) else None
    if data.allowed is not None and isinstance(method, str):
        return _led_by_labels(X, n_components, rng, weights, data.allowed)
    if isinstance(method, str) and X.shape[1] == 0:
        return _random_subsets(len(X), n_components, data.source.n_features, rng).astype(X.dtype)
    if isinstance(method, str):
        return methods[method](X, n_components, rng, weights)
    resp = method(X, n_components, rng) if callable(method) else method
    if np.ma.is_masked(resp):
        raise ValueError("init_params gave masked responsibilities or labels: give a value for each of them.")
    resp = np.asarray(resp)
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
    model: MixtureModel[Any],
    data: Data,
    resp: np.ndarray,
    shape: Shape,
    override: Callable[[MixtureParams], MixtureParams],
) -> Fit:
    """A fit that begins at the largest likelihood under given responsibilities, with what the user gave in its place.

    One M-step leads there, or several where one goes only part of the way; `override` puts in what the user gave.
    """
    memory = reseeds(model.n_components)
    events: list[Any] = []
    about = model.alike(data.source.take(data.sample_rows(1000)))
    about = override(about) if model.frozen else about
    for step in range(_STEPS if model.family.takes_steps else 1):
        stats = data.accumulate(model, about, about, shape, resp)
        centre = model.recentre(stats, about, shape)
        if centre is not None:
            about = centre
            stats = data.accumulate(model, about, about, shape, resp)
        before, begun = about, model.maximize(stats, about, memory)
        about, memory = begun.params, begun.memory
        events += begun.events
        if step and _is_near(about.components, before.components):
            break
    return Fit(override(about), memory=memory, events=events)


def _is_near(params: Any, before: Any) -> bool:
    """Whether parameters are the same as before to half their digits."""
    if isinstance(params, tuple):
        return all(_is_near(a, b) for a, b in zip(params, before, strict=True))
    scale = np.maximum(np.abs(params).max(initial=0), np.abs(before).max(initial=0))
    return bool(np.isfinite(scale) and np.all(np.abs(params - before) <= 1e-8 * scale))


def screen(
    model: MixtureModel[Any],
    data: Data,
    method: Any,
    n_candidates: int,
    n_best: int,
    rng: np.random.RandomState,
    shape: Shape,
    override: Callable[[MixtureParams], MixtureParams],
    methods: dict[str, Start] = METHODS,
) -> list[MixtureParams]:
    """The best of several starts, compared after a few iterations on data in memory.

    Every second k-means start sees standardised columns: on raw ones, a column of large scale
    decides alone.
    """
    X = features(model, data)
    scale = X.std(axis=0, dtype=np.float64)
    scaled = ((X - X.mean(axis=0, dtype=np.float64)) / np.where(scale > 0, scale, 1)).astype(X.dtype)
    found = []
    failure = DegenerateError("no start was tried")
    for i in range(n_candidates):
        seen = scaled if i % 2 and method in ("kmeans", "k-means++") else X
        resp = responsibilities(method, seen, model, rng, data, methods)
        try:
            begun = from_responsibilities(model, data, resp, shape, override)
            fit = run(model, begun, data, shape, tol=0.0, max_iter=SCREENING_ITERATIONS)
        except DegenerateError as error:
            failure = error
            continue
        final = model.objective(accumulate(model, fit.params, data, shape), fit.params)
        found.append((final, i, fit.params))
    if not found:
        raise failure
    found.sort(key=lambda candidate: (-candidate[0], candidate[1]))
    return [params for _, _, params in found[:n_best]]
