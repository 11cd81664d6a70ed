"""EM on growing samples of the rows, before EM on all of them."""

from typing import Any, NamedTuple

from fastem.engine.contract import DegenerateError, Shape
from fastem.engine.data import Data
from fastem.engine.loop import Fit, run
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.deaths import reseeds
from fastem.latent.mixture.model import MixtureModel
from fastem.sources import ArraySource

__all__ = ["Growing"]

LARGEST_SAMPLE = 128 * 2**20  # bytes


class GrowingState(NamedTuple):
    """Parameters."""

    params: MixtureParams


class Growing:
    """EM on samples of the rows, each larger than the one before.

    Parameters
    ----------
    model : MixtureModel[Any]
    data : Data
    shape : Shape
    tol, max_iter : float, int
        When EM on a sample ends.
    """

    FACTOR = 4
    SMALLEST = 50_000  # rows

    def __init__(self, model: MixtureModel[Any], data: Data, shape: Shape, tol: float, max_iter: int):
        self.model, self.data, self.shape = model, data, shape
        self.tol, self.max_iter = tol, max_iter
        source = data.source
        most = min(source.n_rows // self.FACTOR, LARGEST_SAMPLE // (source.n_features * source.dtype.itemsize))
        self.sizes = []
        size = self.SMALLEST
        while size <= most:
            self.sizes.append(size)
            size *= self.FACTOR
        self.n_stages = len(self.sizes)

    def begin(self, params: MixtureParams) -> GrowingState:
        return GrowingState(params)

    def advance(self, state: GrowingState, stage: int) -> GrowingState:
        rows = self.data.sample_rows(self.sizes[stage], least=self.sizes[stage] // 2)
        sample = self.data.part(ArraySource(self.data.source.take(rows)), rows)
        fit = Fit(state.params, memory=reseeds(self.model.n_components))
        try:
            run(self.model, fit, sample, self.shape, tol=self.tol, max_iter=self.max_iter)
        except DegenerateError:  # too few rows for a component; all rows may do
            return state
        return GrowingState(fit.params)
