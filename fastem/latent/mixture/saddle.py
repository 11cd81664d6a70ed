"""Saddle points: components that share the same rows, where EM stands still although the likelihood could rise.

Components that are alike get the same statistics, so an M-step leaves them alike. They are told by
their responsibilities, which are proportional; whether the point is a saddle, by parting their rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastem.engine.contract import DegenerateError, Shape
from fastem.engine.data import Data, accumulate
from fastem.engine.loop import Fit, StopReason, run
from fastem.kernels.threads import openmp_after_fork
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.deaths import reseeds
from fastem.latent.mixture.kernels import Output
from fastem.latent.mixture.model import MixtureModel
from fastem.latent.mixture.start import features, random_parts
from fastem.sources import ArraySource

__all__ = ["Saddles", "way_up"]

_ROWS = 20_000
_ITERATIONS = 20
_ALIKE = 0.95  # cosine of the angle between responsibilities
# Smallest gain of a row's mean log-likelihood that tells a saddle from rounding.
_LEAST_GAIN = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-5}


@dataclass
class Saddles:
    """Where the fits of a model may have to be led on from."""

    model: MixtureModel[Any]
    data: Data
    shape: Shape
    tol: float

    def escape(self, fit: Fit) -> MixtureParams | None:
        """Parameters from which a fit at a saddle point goes on, as often as there are components."""
        return self._way_up(fit) if len(fit.saddles) < self.model.n_components else None

    def mark(self, fit: Fit) -> None:
        """Say so where a fit ended at a saddle point."""
        if fit.converged and self._way_up(fit) is not None:
            fit.reason = StopReason.SADDLE

    def _way_up(self, fit: Fit) -> MixtureParams | None:
        return way_up(self.model, self.data, self.shape, fit, self.tol)


def way_up(model: MixtureModel[Any], data: Data, shape: Shape, fit: Fit, tol: float) -> MixtureParams | None:
    """Parameters with a larger likelihood, if components of a converged fit are alike and better parted; or None.

    Rows of components that are alike are dealt out to them by k-means, and a few iterations follow,
    on a sample of the rows if there are many. All rows must agree that it leads up.
    """
    n_components = model.n_components - model.family.n_noise
    if n_components < 2:
        return None
    sample = _sample(data)
    resp = _responsibilities(model, sample, shape, fit.params)
    groups = _alike(resp[:, :n_components], sample.weights)
    if not groups:
        return None
    least = max(tol, _LEAST_GAIN[shape.dtype] * max(1.0, abs(fit.objective)))
    try:
        onward = _parted(model, sample, shape, fit.params, resp, groups)
        if onward is None:
            return None
        stats = accumulate(model, onward, data, shape)
    except DegenerateError:
        return None
    return onward if model.objective(stats, onward) > fit.objective + least else None


def _sample(data: Data) -> Data:
    rows = data.sample_rows(_ROWS)
    return data.part(ArraySource(data.source.take(rows)), rows)


def _responsibilities(model: MixtureModel[Any], data: Data, shape: Shape, params: MixtureParams) -> np.ndarray:
    """Responsibilities (n, K) of rows in memory, among the components that they may belong to."""
    rows = data.source.read(0, data.source.n_rows)
    if len(data.weights):
        sound = data.weights > 0
        rows[~sound] = rows[np.argmax(sound)]
    resp = np.empty((len(rows), model.n_components), shape.dtype)
    out = Output(np.empty(0), resp, np.empty(0, np.int64))
    model.infer(params, shape, data.has_missing).add(rows, out, data.launches)
    if data.allowed is not None:
        resp *= data.allowed.masks()
        totals = resp.sum(axis=1, keepdims=True)
        resp = np.where(totals > 0, resp / np.where(totals > 0, totals, 1), data.allowed.masks()).astype(shape.dtype)
        resp /= resp.sum(axis=1, keepdims=True)
    return resp


def _alike(resp: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Groups of components with proportional responsibilities."""
    weighted = resp if not len(weights) else resp * weights[:, None]
    products = (weighted.T @ resp).astype(np.float64)
    lengths = np.sqrt(np.diagonal(products))
    near = products > _ALIKE * np.outer(lengths, lengths)
    near &= (lengths > 0)[:, None] & (lengths > 0)
    groups, left = [], list(np.flatnonzero(lengths > 0))
    while left:
        group = np.array([k for k in left if near[left[0], k]])
        left = [k for k in left if k not in group]
        if len(group) > 1:
            groups.append(group)
    return groups


def _parted(
    model: MixtureModel[Any],
    data: Data,
    shape: Shape,
    params: MixtureParams,
    resp: np.ndarray,
    groups: list[np.ndarray],
) -> MixtureParams | None:
    """Parameters after the rows of each group were dealt out to its components, and a few iterations."""
    rng = np.random.RandomState(0)
    X = features(model, data)
    weights = data.weights if len(data.weights) else np.ones(len(X))
    dealt = resp.copy()
    for group in groups:
        shares = resp[:, group].sum(axis=1)
        parts = _parts(model, X, shares * weights, len(group), data.source.n_features, rng)
        if parts is None:
            return None
        dealt[:, group] = shares[:, None] * parts
    if data.allowed is not None:
        dealt = _within(dealt, resp, data.allowed.masks())
    stats = data.accumulate(model, params, params, shape, dealt)
    centre = model.recentre(stats, params, shape)
    if centre is not None:
        stats = data.accumulate(model, params, centre, shape, dealt)
    begun = model.maximize(stats, params if centre is None else centre, reseeds(0))
    trial = Fit(begun.params, memory=begun.memory, events=[*begun.events])
    run(model, trial, data, shape, tol=0.0, max_iter=_ITERATIONS)
    return None if trial.events else trial.params


def _parts(
    model: MixtureModel[Any],
    X: np.ndarray,
    weights: np.ndarray,
    n_parts: int,
    n_columns: int,
    rng: np.random.RandomState,
) -> np.ndarray | None:
    """Shares (n, parts) of rows in the parts of a group; None if its rows are too few or all the same."""
    some = np.flatnonzero(weights > 1e-3 * weights.max(initial=0))
    if X.shape[1] == 0:
        return random_parts(len(X), n_parts, rng)
    if len(np.unique(X[some], axis=0)) < n_parts:
        return None
    scale = X[some].std(axis=0, dtype=np.float64)
    scaled = (X - X[some].mean(axis=0, dtype=np.float64)) / np.where(scale > 0, scale, 1)
    from sklearn.cluster import KMeans

    kmeans = KMeans(n_clusters=n_parts, n_init=1, random_state=rng)
    with openmp_after_fork():
        labels = kmeans.fit(scaled[some], sample_weight=weights[some]).predict(scaled)
    return np.eye(n_parts)[labels]


def _within(dealt: np.ndarray, resp: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Dealt responsibilities among the allowed components; those before where nothing is left."""
    inside = dealt * masks
    totals = inside.sum(axis=1, keepdims=True)
    return np.where(totals > 0, inside / np.where(totals > 0, totals, 1), resp).astype(resp.dtype)
