"""One EM iteration of oneDAL, timed on demand; runs in an environment of its own (daal4py)."""

import json
import sys
import time

import daal4py
import numpy as np

rows = np.load(sys.argv[1])
settings = json.loads(sys.stdin.readline())
k, means = settings["k"], np.array(settings["means"])
d = means.shape[1]
full = settings["covariance_type"] == "full"
covariances = [np.eye(d) if full else np.ones((1, d)) for _ in range(k)]


def seconds(iterations):
    algorithm = daal4py.em_gmm(
        nComponents=k,
        maxIterations=iterations,
        accuracyThreshold=0.0,
        covarianceStorage="full" if full else "diagonal",
        regularizationFactor=1e-6,
    )
    began = time.perf_counter()
    algorithm.compute(rows, np.full((1, k), 1 / k), means, covariances)
    return time.perf_counter() - began


seconds(1)
print("ready", flush=True)
for _ in sys.stdin:
    # the difference leaves out what happens once a fit
    print((seconds(4) - seconds(1)) / 3, flush=True)
