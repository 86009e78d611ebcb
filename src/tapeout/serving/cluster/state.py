"""Names of the places in the arrays of a cluster."""

from __future__ import annotations

from typing import NamedTuple

from tapeout.serving.engine.state import F64, I64

# Places of the settings
(
    ROUTER, RANDOM_SEED, AGE, MOST, RETRIES, BACKOFF, SCALED, INTERVAL, LEAST, STARTUP, STABLE,
    DETECTION, CAUSING, SEEN_BEAT, NEXT_ROUND, LOW_SINCE, SUFFICED, KEPT, KEPT_LAST,
) = range(19)  # fmt: skip
SETTINGS = 19

# Places of the real settings
LOAD_TOKENS, TTFT_PS, TPOT_PS, TARGET = range(4)

# Places of a replica
(
    STATUS, UP_AT, PAID_FROM, PAID, STARTS, FAILURES, KNOWN, SINCE_SENT, LOST_AT, BARRED,
    SEEN_KEYS, SEEN_OWED, SEEN_END,
) = range(13)  # fmt: skip
REPLICA_PLACES = 13
OFF, STARTING, ON, DRAINING, LOST, DOWN = range(6)  # status

# Places of a kind
WEIGHT, USD_PER_TOKEN, PREFILL_PS = range(3)


class Fleet(NamedTuple):
    """What the router and the control of a cluster need."""

    settings: I64
    real: F64
    replica: I64  # (place, replica)
    kind: F64  # (place, kind)
    failures: I64  # (3, event): time, replica, until
