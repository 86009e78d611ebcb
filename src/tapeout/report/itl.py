"""What is said of the gaps between tokens beside their percentiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapeout.report import formats as f
from tapeout.serving.summary import RARE

if TYPE_CHECKING:
    from tapeout.serving.summary import Summary


def itl_words(summary: Summary) -> str:
    """One sentence without its full stop."""
    itl, mean = summary.itl, f.seconds(summary.itl_mean_s)
    if itl is None:
        return f"mean gap between tokens (ITL) {mean}; the run did not count the gaps"
    since_s = summary.window.start_s
    after = f" from {f.number(since_s)} s to the end of the run" if since_s > 0.0 else ""
    rare = f", {RARE} {f.seconds(itl.values_s[RARE])}" if RARE in itl.values_s else ""
    return (
        f"ITL: {itl.count:,} gaps{after}, all requests together{rare};"
        f" over tokens, those of one step 0 apart, the mean is {mean}"
    )
