"""Two small images on one canvas: the images of the Multi-MNIST family.

Everything is integer arithmetic on the raw words of a Philox generator, whose stream numpy guarantees, so that the same
source images give the same bytes on every machine and with every numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Pool = tuple[Array, Array]  # images (N, 28, 28) and labels (N,)

CHUNK = 4096  # images composed at a time


class Draws:
    """Uniform integers from a stream that a text names."""

    def __init__(self, name: str) -> None:
        self._bits = np.random.Philox(key=int.from_bytes(sha256(name.encode()).digest()[:16], "little"))

    def below(self, bound: int | Indices, count: int) -> Indices:
        """``count`` integers in [0, ``bound``); ``bound`` is a number or (count,), at most 2^31."""
        words = self._bits.random_raw(count) >> np.uint64(32)
        return ((words * np.asarray(bound, np.uint64)) >> np.uint64(32)).astype(np.int64)

    def order(self, count: int) -> Indices:
        """0 .. count - 1, shuffled."""
        return np.argsort(self._bits.random_raw(count), kind="stable")


def overlap(first: Pool, second: Pool, count: int, draws: Draws, differ: bool) -> tuple[Array, Array]:
    """Pairs that overlap on 36 x 36 pixels: one at the top left, one at the bottom right.

    Each is moved 0 to 4 pixels from its corner towards the middle, down or up and sideways. Where both have ink, the
    values are added and clipped at 255.

    Args:
        first: what stands at the top left.
        second: what stands at the bottom right.
        count: number of pairs.
        draws: the stream that they are drawn from.
        differ: the two are of different classes.

    Returns:
        images (count, 36, 36) and labels (count, 2).
    """
    left, right = draws.below(len(first[0]), count), draws.below(len(second[0]), count)
    same = np.flatnonzero(first[1][left] == second[1][right]) if differ else np.empty(0, np.int64)
    while len(same):
        right[same] = draws.below(len(second[0]), len(same))
        same = same[first[1][left[same]] == second[1][right[same]]]
    moves = draws.below(5, 4 * count).reshape(count, 4)
    corners = np.array([0, 0, 4, 4]) + moves  # y, x of the first, y, x of the second
    images = _compose((36, 36), (first[0], second[0]), (left, right), corners)
    return images, np.stack([first[1][left], second[1][right]], 1)


def side_by_side(
    pool: Pool, pairs: Sequence[tuple[int, int]], each: int, draws: Draws, size: int = 64
) -> tuple[Array, Array]:
    """For each pair of classes, ``each`` images (size, size) with one of them somewhere in each half.

    The offsets are those of the published generator of MultiDigitMNIST, which leave out the largest one.

    Returns:
        images (len(pairs) * each, size, size) and labels (len(pairs) * each, 2), the classes of ``pool``.
    """
    labels = np.repeat(np.array(pairs, np.uint8), each, axis=0)
    count = len(labels)
    members = [np.flatnonzero(pool[1] == c) for c in range(int(pool[1].max()) + 1)]
    sizes, starts = np.array([len(m) for m in members]), np.cumsum([0, *map(len, members)])
    flat = np.concatenate(members)
    chosen = [flat[starts[ids] + draws.below(sizes[ids], count)] for ids in labels.T]
    y, x = draws.below(size - 28, 2 * count).reshape(2, count), draws.below(size // 2 - 28, 2 * count).reshape(2, count)
    corners = np.stack([y[0], x[0], y[1], x[1] + size // 2], 1)
    return _compose((size, size), (pool[0], pool[0]), (chosen[0], chosen[1]), corners), labels


def _compose(
    size: tuple[int, int], sources: tuple[Array, Array], chosen: tuple[Indices, Indices], corners: Indices
) -> Array:
    """(N, *size): from each source the chosen images (N,), with their corners (N, 4) y, x, y, x; added, clipped."""
    images = np.zeros((len(corners), *size), np.uint8)
    for start in range(0, len(corners), CHUNK):
        part = slice(start, start + CHUNK)
        sums = np.zeros((len(images[part]), *size), np.uint16)
        for k, (source, picks) in enumerate(zip(sources, chosen, strict=True)):
            for place, at in _by_corner(corners[part, 2 * k : 2 * k + 2]):
                y, x = place
                sums[at, y : y + 28, x : x + 28] += source[picks[part][at]]
        images[part] = np.minimum(sums, 255)
    return images


def _by_corner(corners: Indices) -> Iterator[tuple[tuple[int, int], Indices]]:
    """Each corner that occurs among (N, 2), with the places where it does."""
    places, which = np.unique(corners, axis=0, return_inverse=True)
    for k, (y, x) in enumerate(places.tolist()):
        yield (y, x), np.flatnonzero(which.reshape(-1) == k)
