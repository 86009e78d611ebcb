"""One random stream per cause, so that changing one cause leaves the others alone."""

from __future__ import annotations

from zlib import crc32

import numpy as np


def stream(seed: int, cause: str, *keys: int) -> np.random.Generator:
    """Return the stream of a cause.

    Parameters
    ----------
    seed : int
        At least 0; of the whole trace.
    cause : str
        "arrivals", "input lengths", "think times" ...
    *keys : int
        Whose: number of a client, of a session class.

    Examples
    --------
    >>> first, again = stream(7, "arrivals").random(), stream(7, "arrivals").random()
    >>> bool(first == again), bool(first == stream(7, "lengths").random())
    (True, False)
    """
    sequence = np.random.SeedSequence([seed, crc32(cause.encode())], spawn_key=keys)
    return np.random.Generator(np.random.PCG64(sequence))
