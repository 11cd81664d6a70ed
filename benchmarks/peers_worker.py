"""One EM iteration of a peer, timed on demand; runs in an environment of its own.

Peers that can be told to iterate once are timed doing that, from the parameters they were given
on; of the others it is the difference of a fit of three iterations and one of a single one, which
leaves out what happens once a fit.
"""

import json
import sys
import time
import warnings

import numpy as np

# Tensors of so many rows stay in the caches: several times as fast as all rows at once.
BATCH = 20_000


def pomegranate(rows, settings):
    """`summarize` of batches, its way for data out of memory. The M-step of its t is that of normals."""
    import torch
    from pomegranate.gmm import GeneralMixtureModel

    kind = getattr(torch, settings["dtype"])
    torch.set_default_dtype(kind)
    components = [_distribution(settings, k, kind) for k in range(settings["k"])]
    mixture = GeneralMixtureModel(components, check_data=False)
    cells = torch.tensor(np.nan_to_num(rows), dtype=torch.int64 if settings["case"] == "Categorical" else kind)
    if np.isnan(rows).any():
        cells = torch.masked.MaskedTensor(cells, mask=torch.tensor(~np.isnan(rows)))

    def iterate():
        for first in range(0, len(rows), BATCH):
            mixture.summarize(cells[first : first + BATCH])
        mixture.from_summaries()
        assert np.isfinite(mixture.priors.numpy()).all()

    return _clock(iterate)


def _distribution(settings, k, kind):
    import torch
    from pomegranate import distributions

    values = {name: torch.tensor(value[k], dtype=kind) for name, value in settings["values"].items()}
    diagonal = {"covariance_type": "diag", "check_data": False}
    case = settings["case"]
    if case == "Poisson":
        return distributions.Poisson(values["rates"], check_data=False)
    if case == "Bernoulli":
        return distributions.Bernoulli(values["probabilities"], check_data=False)
    if case == "Categorical":
        return distributions.Categorical(values["probabilities"].reshape(-1, settings["levels"]), check_data=False)
    if case == "StudentT diag":
        return distributions.StudentT(int(values["dofs"]), values["means"], values["scales"], **diagonal)
    return distributions.Normal(values["means"], values["covariances"], **diagonal)


def stepmix(rows, settings):
    """Categorical columns are one-hot already, which is faster than its codes."""
    from stepmix.stepmix import StepMix

    kind = {"Bernoulli": "binary", "Categorical": "categorical", "Gaussian diag": "continuous_nan"}[settings["case"]]
    of_kind = None
    if kind == "categorical":
        levels, d = settings["levels"], rows.shape[1]
        of_kind = {"integer_codes": False, "max_n_outcomes": levels, "total_outcomes": levels * d}
        rows = np.eye(levels)[rows.astype(int)].reshape(len(rows), -1)

    def fit(iterations, some):
        mixture = StepMix(
            settings["k"],
            measurement=kind,
            measurement_params=of_kind,
            max_iter=iterations,
            abs_tol=0.0,
            rel_tol=0.0,
            init_params="random",
            random_state=1,
            progress_bar=0,
        ).fit(some)
        assert mixture.n_iter_ == iterations

    return _difference(fit, rows)


def smm(rows, settings):
    """Scale matrices and degrees of freedom of each component, both estimated."""
    vars(np).setdefault("infty", np.inf)  # it is older than NumPy 2
    from smm import SMM

    class Counted(SMM):
        """Its tolerance is that of the degrees of freedom too: they keep the usual one."""

        def _maximisation_step(self, *args):
            kept = self.tol, self.n_iter
            self.tol, self.n_iter = 1e-6, 1000
            super()._maximisation_step(*args)
            self.tol, self.n_iter = kept
            self.done += 1

    values = {name: np.array(value) for name, value in settings["values"].items()}

    def fit(iterations, some):
        mixture = Counted(settings["k"], covariance_type="full", tol=-1.0, n_iter=iterations, n_init=1, init_params="")
        mixture.done = 0
        mixture.weights_ = np.full(settings["k"], 1 / settings["k"])
        mixture.means_, mixture.covars_ = values["means"].copy(), values["scales"].copy()
        mixture.degrees_ = values["dofs"].copy()
        mixture.fit(some)
        assert mixture.done == iterations

    return _difference(fit, rows)


def loop(rows, settings):
    """No package on PyPI fits mixtures of regressions: weighted normal equations, as one would write them."""
    from scipy.special import logsumexp

    design, response = np.column_stack([np.ones(len(rows)), rows[:, :-1]]), np.ascontiguousarray(rows[:, -1])
    values = {name: np.array(value) for name, value in settings["values"].items()}
    coefs = np.vstack([values["intercepts"], values["coefs"].T])
    sds, weights = np.sqrt(values["variances"]), np.full(settings["k"], 1 / settings["k"])

    def iterate():
        nonlocal sds, weights
        residuals = response[:, None] - design @ coefs
        log_densities = np.log(weights) - np.log(sds) - 0.5 * np.log(2 * np.pi) - 0.5 * (residuals / sds) ** 2
        resp = np.exp(log_densities - logsumexp(log_densities, axis=1, keepdims=True))
        counts = resp.sum(axis=0)
        weights = counts / len(rows)
        for k in range(settings["k"]):
            weighted = design * resp[:, k, None]
            coefs[:, k] = np.linalg.solve(weighted.T @ design, weighted.T @ response)
        sds = np.sqrt((resp * (response[:, None] - design @ coefs) ** 2).sum(axis=0) / counts)
        assert np.isfinite(coefs).all()

    return _clock(iterate)


def astroml(rows, settings):
    """Extreme deconvolution: a missing cell is a 0 with an error of variance 1e6, so only nearly missing."""
    from astroML.density_estimation import XDGMM

    def fit(iterations, some):
        errors = np.zeros((len(some), some.shape[1], some.shape[1]))
        errors[:, np.arange(some.shape[1]), np.arange(some.shape[1])] = np.where(np.isnan(some), 1e6, 0.0)
        mixture = XDGMM(settings["k"], max_iter=iterations, tol=-np.inf, random_state=1)
        mixture.fit(np.nan_to_num(some), errors)

    return _difference(fit, rows, long=2)


def _clock(iterate):
    iterate()

    def measure():
        began = time.perf_counter()
        iterate()
        return time.perf_counter() - began

    return measure


def _difference(fit, rows, long=3):
    fit(1, rows[:2000])

    def seconds(iterations):
        began = time.perf_counter()
        fit(iterations, rows)
        return time.perf_counter() - began

    return lambda: (seconds(long) - seconds(1)) / (long - 1)


PEERS = {"pomegranate": pomegranate, "stepmix": stepmix, "smm": smm, "loop in NumPy": loop, "astroML": astroml}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")  # that few iterations do not converge
    told = json.loads(sys.stdin.readline())
    answer = PEERS[told["peer"]](np.load(sys.argv[1]), told)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(answer(), flush=True)
