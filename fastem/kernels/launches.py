"""How much work one launch of a kernel gets: launches cannot be interrupted, so they are short."""

from collections.abc import Callable, Iterator
from time import perf_counter

__all__ = ["Launches"]

SECONDS_PER_LAUNCH = 0.08


class Launches:
    """Tiles that kernels work through in about SECONDS_PER_LAUNCH, learned from the launches before."""

    def __init__(self) -> None:
        self.tiles = 64
        self.after_launch: Callable[[float], None] | None = None  # gets the tiles of the launch

    def by_rows(self, n_tiles: int) -> Iterator[tuple[int, int]]:
        """First tile and end of launches over all tiles of a block."""
        first = 0
        while first < n_tiles:
            end = min(first + self.tiles, n_tiles)
            began = perf_counter()
            yield first, end
            self._learn(end - first, perf_counter() - began)
            first = end

    def by_lanes(self, n_tiles: int, n_lanes: int, n_workers: int) -> Iterator[tuple[int, int, int, int]]:
        """First tile and end, first lane and end of launches over all tiles and lanes of a block.

        As many tiles as possible are walked through by few lanes at a time: the sums of a lane
        then stay in the caches.
        """
        first = 0
        while first < n_tiles:
            end = min(first + self.tiles * max(1, n_lanes // n_workers), n_tiles)
            lane = 0
            while lane < n_lanes:
                share = self.tiles * n_lanes // (end - first)
                last = min(lane + max(share - share % n_workers, n_workers), n_lanes)
                began = perf_counter()
                yield first, end, lane, last
                self._learn((end - first) * (last - lane) / n_lanes, perf_counter() - began)
                lane = last
            first = end

    def _learn(self, tiles: float, seconds: float) -> None:
        """Change the size of a launch by at most a factor of 8."""
        if self.after_launch is not None:
            self.after_launch(tiles)
        wanted = tiles * SECONDS_PER_LAUNCH / max(seconds, 1e-9)
        self.tiles = max(1, int(min(max(wanted, self.tiles / 8), self.tiles * 8)))
