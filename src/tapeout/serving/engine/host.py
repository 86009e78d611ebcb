"""A tier of cache blocks in host memory: what it holds, and the copies both ways."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tapeout.serving.engine.types import Rules


@dataclass(slots=True)
class HostBlock:
    """Content of a block in host memory.

    Attributes
    ----------
    ready_ps : int
        End of the copy that fills it.
    loading_ps : int
        End of the last copy that reads it.
    """

    ready_ps: int
    loading_ps: int = 0

    @property
    def until_ps(self) -> int:
        """Until then it is neither read by another request nor overwritten."""
        return max(self.ready_ps, self.loading_ps)


class HostTier:
    """Blocks of one rank in host memory, least recently used first, as vLLM's CPU manager has them.

    One queue of copies a direction, first come, first served; both run at the same time.

    Attributes
    ----------
    now_ps : int
        Time of the decision under way.
    stall_ps : int
        The step that it decides on does not begin before.
    loaded, stored : int
        Blocks copied to the device, and from it.
    load_ps : int
        From asking for a copy to its end, summed over the copies to the device.
    """

    __slots__ = (
        "_blocks", "_free_ps", "_leaving_ps", "_rules", "load_ps", "loaded", "now_ps", "stall_ps",
        "stored",
    )  # fmt: skip

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._blocks: OrderedDict[int, HostBlock] = OrderedDict()
        self._free_ps = {"load": 0, "store": 0}  # when the queue of a direction is empty
        self._leaving_ps: dict[int, int] = {}  # device block: end of the copy that reads it
        self.now_ps = 0
        self.stall_ps = 0
        self.loaded = 0
        self.stored = 0
        self.load_ps = 0

    @property
    def held(self) -> int:
        """Blocks that have a content, or will once a copy has ended."""
        return len(self._blocks)

    def begin(self, now_ps: int) -> None:
        """Begin a decision."""
        self.now_ps = now_ps
        self.stall_ps = 0

    def overwrite(self, device_blocks: Iterable[int]) -> None:
        """Let the step wait for copies that still read device blocks that are taken."""
        for block in device_blocks:
            self.stall_ps = max(self.stall_ps, self._leaving_ps.pop(block, 0))

    def find(self, identities: Iterable[int]) -> tuple[int, int]:
        """Leading blocks that are here, and from when on all of them can be read."""
        count, until_ps = 0, 0
        for identity in identities:
            block = self._blocks.get(identity)
            if block is None:
                break
            count += 1
            until_ps = max(until_ps, block.until_ps)
        return count, until_ps

    def touch(self, identities: Sequence[int]) -> None:
        """Make blocks the most recently used ones, the first one last."""
        for identity in reversed(identities):
            if identity in self._blocks:
                self._blocks.move_to_end(identity)

    def load(self, identities: Sequence[int]) -> int:
        """Copy blocks that are here to the device; returns when that ends."""
        begin_ps = max(self.now_ps, self.stall_ps)
        end_ps = self._copy("load", begin_ps, len(identities) * self._rules.load_ps)
        for identity in identities:
            self._blocks[identity].loading_ps = end_ps
        self.loaded += len(identities)
        self.load_ps += end_ps - self.now_ps
        return end_ps

    def store(self, blocks: Sequence[tuple[int, int]], ready_ps: int) -> int | None:
        """Copy blocks that are not here yet from the device.

        Parameters
        ----------
        blocks : sequence of (device block, identity)
        ready_ps : int
            When their keys exist.

        Returns
        -------
        end_ps : int or None
            End of the copy, 0 where all blocks are here; None where there is no room.
        """
        new: dict[int, int] = {}
        for block, identity in blocks:
            if identity not in self._blocks:
                new.setdefault(identity, block)
        if not new:
            return 0
        if not self._make_room(len(new), {identity for _, identity in blocks}):
            return None
        end_ps = self._copy("store", ready_ps, len(new) * self._rules.store_ps)
        for identity, block in new.items():
            self._blocks[identity] = HostBlock(ready_ps=end_ps)
            self._leaving_ps[block] = end_ps
        self.stored += len(new)
        return end_ps

    def _make_room(self, count: int, kept: set[int]) -> bool:
        """Forget the least recently used blocks that no copy reads or fills; all or none."""
        short = count - (self._rules.host_blocks - len(self._blocks))
        if short <= 0:
            return True
        victims = []
        for identity, block in self._blocks.items():
            if block.until_ps <= self.now_ps and identity not in kept:
                victims.append(identity)
                if len(victims) == short:
                    break
        if len(victims) < short:
            return False
        for identity in victims:
            del self._blocks[identity]
        return True

    def _copy(self, direction: str, begin_ps: int, blocks_ps: int) -> int:
        """Put a copy into the queue of its direction; returns when it ends."""
        start_ps = max(begin_ps, self._free_ps[direction])
        self._free_ps[direction] = start_ps + self._rules.copy_latency_ps + blocks_ps
        return self._free_ps[direction]
