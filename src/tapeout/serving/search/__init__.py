"""Looking for the largest load within limits, and for the cheapest deployment."""

from tapeout.serving.search.capacity import SimulatedOptions, simulated_capacity
from tapeout.serving.search.deployments import (
    Candidate,
    HowSearched,
    Space,
    cheapest,
    pareto,
    search_deployments,
)
from tapeout.serving.search.max_load import MaxLoad, SearchOptions, max_load, search_rate
from tapeout.serving.search.prices import Price, catalogue_price, parse_price
from tapeout.serving.search.probes import Verdict
from tapeout.serving.search.sizing import Sizing, replicas_for
from tapeout.serving.search.streams import DrawnStream, Stream, TraceStream, stream_of_means

__all__ = [
    "Candidate",
    "DrawnStream",
    "HowSearched",
    "MaxLoad",
    "Price",
    "SearchOptions",
    "SimulatedOptions",
    "Sizing",
    "Space",
    "Stream",
    "TraceStream",
    "Verdict",
    "catalogue_price",
    "cheapest",
    "max_load",
    "pareto",
    "parse_price",
    "replicas_for",
    "search_deployments",
    "search_rate",
    "simulated_capacity",
    "stream_of_means",
]
