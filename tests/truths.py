"""Plain NumPy and SciPy meanings of what the kernels compute."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


def matrices(covariances, covariance_type, k, d):
    """Covariance matrices (K, d, d) of any structure."""
    if covariance_type == "full":
        return np.asarray(covariances)
    if covariance_type == "tied":
        return np.broadcast_to(covariances, (k, d, d))
    return np.reshape(covariances, (k, -1))[:, :, None] * np.eye(d)


def random_covariances(covariance_type, k, d, rng):
    a = rng.normal(size=(k, d, d)) / np.sqrt(d)
    full = a @ a.swapaxes(1, 2) + 0.3 * np.eye(d)
    return {
        "full": full,
        "tied": full[0],
        "diag": np.diagonal(full, axis1=1, axis2=2).copy(),
        "spherical": full[:, 0, 0].copy(),
    }[covariance_type]


def log_joint(X, weights, means, covariances, covariance_type):
    """log(pi_k f_k(x_i)), shape (n, K)."""
    X = np.asarray(X, dtype=np.float64)
    k, d = means.shape
    columns = [
        multivariate_normal(mean, matrix, allow_singular=False).logpdf(X).reshape(len(X))
        for mean, matrix in zip(means, matrices(covariances, covariance_type, k, d), strict=True)
    ]
    with np.errstate(divide="ignore"):
        return np.stack(columns, axis=1) + np.log(weights)


def e_step(X, weights, means, covariances, covariance_type):
    """Log-densities (n,) and responsibilities (n, K)."""
    joint = log_joint(X, weights, means, covariances, covariance_type)
    log_prob = logsumexp(joint, axis=1)
    return log_prob, np.exp(joint - log_prob[:, None])


def m_step(X, resp, covariance_type, reg_covar, sample_weight=None):
    """Weights, means, covariances from responsibilities."""
    X = np.asarray(X, dtype=np.float64)
    if sample_weight is not None:
        resp = resp * np.asarray(sample_weight)[:, None]
    counts = resp.sum(axis=0)
    means = (resp.T @ X) / counts[:, None]
    d = X.shape[1]
    scatter = np.stack([((X - m).T * r) @ (X - m) for m, r in zip(means, resp.T, strict=True)])
    if covariance_type == "full":
        covariances = scatter / counts[:, None, None] + reg_covar * np.eye(d)
    elif covariance_type == "tied":
        covariances = scatter.sum(axis=0) / counts.sum() + reg_covar * np.eye(d)
    elif covariance_type == "diag":
        covariances = np.diagonal(scatter, axis1=1, axis2=2) / counts[:, None] + reg_covar
    else:
        covariances = np.trace(scatter, axis1=1, axis2=2) / counts / d + reg_covar
    return counts / counts.sum(), means, covariances


def incomplete_step(X, weights, means, covariances, covariance_type, sample_weight):
    """Log-likelihood, and new weights, means, covariances, of rows with missing cells, one row at a time."""
    k, d = means.shape
    full = matrices(covariances, covariance_type, k, d)
    log_likelihood, counts = 0.0, np.zeros(k)
    first, second = np.zeros((k, d)), np.zeros((k, d, d))
    for row, weight in zip(np.asarray(X, dtype=np.float64), sample_weight, strict=True):
        o = ~np.isnan(row)
        if not o.any():
            continue
        laws = [multivariate_normal(m[o], c[np.ix_(o, o)]) for m, c in zip(means, full, strict=True)]
        joint = np.log(weights) + [law.logpdf(row[o]) for law in laws]
        log_likelihood += weight * logsumexp(joint)
        resp = weight * np.exp(joint - logsumexp(joint))
        counts += resp
        for j, (mean, covariance) in enumerate(zip(means, full, strict=True)):
            slopes = np.linalg.solve(covariance[np.ix_(o, o)], covariance[np.ix_(o, ~o)])
            filled, spread = row.copy(), np.zeros((d, d))
            filled[~o] = mean[~o] + (row[o] - mean[o]) @ slopes
            spread[np.ix_(~o, ~o)] = covariance[np.ix_(~o, ~o)] - covariance[np.ix_(~o, o)] @ slopes
            first[j] += resp[j] * filled
            second[j] += resp[j] * (np.outer(filled, filled) + spread)
    new = first / counts[:, None]
    scatter = second - counts[:, None, None] * new[:, :, None] * new[:, None, :]
    if covariance_type == "tied":
        return log_likelihood, counts / counts.sum(), new, scatter.sum(axis=0) / counts.sum() + 1e-6 * np.eye(d)
    return log_likelihood, counts / counts.sum(), new, scatter / counts[:, None, None] + 1e-6 * np.eye(d)
