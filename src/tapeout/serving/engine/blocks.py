"""The cache blocks of a rank: who holds them, which are free, what they contain."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

UNKNOWN = -1  # identity of a block whose content nobody can find


class BlockPool:
    """Blocks of one rank, as vLLM V1 keeps them.

    A free block may still have an identity: whoever looks for it takes it out of the queue again.
    The queue is in order of release, so what was freed longest ago is overwritten first.

    Parameters
    ----------
    size : int
        Usable blocks.
    """

    __slots__ = ("_blocks_of", "_free", "_holders", "_identity", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(size))
        self._holders = [0] * size
        self._identity = [UNKNOWN] * size
        # A dict keeps the order of registration: the first key is the block that is found.
        self._blocks_of: dict[int, dict[int, None]] = {}

    @property
    def free(self) -> int:
        """Blocks that nobody holds, with an identity or without."""
        return len(self._free)

    @property
    def held(self) -> int:
        """Blocks that somebody holds."""
        return self.size - len(self._free)

    def find(self, identity: int) -> int | None:
        """Block with this content, the one registered first; None where there is none."""
        blocks = self._blocks_of.get(identity)
        return next(iter(blocks)) if blocks else None

    def is_held(self, block: int) -> bool:
        """Whether somebody holds the block."""
        return self._holders[block] > 0

    def hold(self, blocks: Iterable[int]) -> None:
        """Share blocks that were found; those that nobody held leave the queue."""
        for block in blocks:
            if not self._holders[block]:
                del self._free[block]
            self._holders[block] += 1

    def take(self, count: int) -> list[int]:
        """Blocks from the front of the queue; what was in them is forgotten.

        `count` may be at most `free`.
        """
        taken = []
        for _ in range(count):
            block, _none = self._free.popitem(last=False)
            self.forget(block)
            self._holders[block] = 1
            taken.append(block)
        return taken

    def release(self, blocks: list[int]) -> None:
        """Give up the blocks of a request, its last one first, so that tails are lost first."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if not self._holders[block]:
                self._free[block] = None

    def register(self, block: int, identity: int) -> None:
        """Give a full block its identity."""
        self._identity[block] = identity
        self._blocks_of.setdefault(identity, {})[block] = None

    def forget(self, block: int) -> None:
        """Take the identity of a block away; other blocks with the same one keep it."""
        identity = self._identity[block]
        if identity == UNKNOWN:
            return
        self._identity[block] = UNKNOWN
        same = self._blocks_of[identity]
        del same[block]
        if not same:
            del self._blocks_of[identity]
