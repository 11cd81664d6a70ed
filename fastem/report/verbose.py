"""What `verbose` prints, in scikit-learn's words."""

import time

from fastem.engine.loop import Fit, Iteration

__all__ = ["VerboseLines"]


class VerboseLines:
    """Callback of all runs, each of which begins and ends; it prints nothing unless `verbose` is set."""

    def __init__(self, verbose: int, interval: int):
        self.verbose = verbose
        self.interval = interval
        self.began = self.before = time.perf_counter()

    def begin(self, init: int) -> None:
        self.began = self.before = time.perf_counter()
        if self.verbose:
            print(f"Initialization {init}")

    def __call__(self, iteration: Iteration) -> None:
        if not self.verbose or iteration.n_iter % self.interval:
            return
        line = f"  Iteration {iteration.n_iter}"
        if self.verbose >= 2:
            now = time.perf_counter()
            line += f"\t time lapse {now - self.before:.5f}s\t ll change {iteration.change:.5f}"
            self.before = now
        print(line)

    def end(self, fit: Fit) -> None:
        if not self.verbose:
            return
        line = f"Initialization {'converged' if fit.converged else 'did not converge'}."
        if self.verbose >= 2:
            line += f" time lapse {time.perf_counter() - self.began:.5f}s\t lower bound {fit.objective:.5f}."
        print(line)
