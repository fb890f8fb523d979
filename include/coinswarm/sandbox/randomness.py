"""Numbers that look random and depend only on a name and an index: any moment can be asked for first."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


@lru_cache(maxsize=4096)
def key(seed: int, *names: str | int) -> np.uint64:
    """One 64-bit key for a named series."""
    text = "\x1f".join(map(str, (seed, *names)))
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))


def words(series: np.uint64 | Words, index: Ints) -> Words:
    """SplitMix64 of each index (of one series, or of one series each): 64 well-mixed bits, shape of `index`."""
    z = series + index.astype(np.uint64) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def uniform(series: np.uint64 | Words, index: Ints) -> Floats:
    """Uniform in [0, 1), shape of `index`."""
    return (words(series, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(series: np.uint64, index: Ints) -> Floats:
    """About standard normal (four 16-bit uniforms added, so never beyond 3.5), shape of `index`."""
    z = words(series, index)
    mask = np.uint64(0xFFFF)
    total = (z & mask) + ((z >> np.uint64(16)) & mask) + ((z >> np.uint64(32)) & mask) + (z >> np.uint64(48))
    return np.asarray((total.astype(np.float64) / 65536.0 - 2.0) * np.sqrt(3.0))


def wave(series: np.uint64, at: Ints, period: int) -> Floats:
    """A smooth curve of standard normals one `period` apart, at the moments `at` (same unit as `period`)."""
    slot = at // period
    share = (at - slot * period) / period
    first = int(slot.min()) if slot.size else 0
    last = int(slot.max()) + 2 if slot.size else 1
    knots = normal(series, np.arange(first, last + 1, dtype=np.int64))
    ease = share * share * (3.0 - 2.0 * share)
    left = knots[slot - first]
    return np.asarray(left + (knots[slot - first + 1] - left) * ease)
