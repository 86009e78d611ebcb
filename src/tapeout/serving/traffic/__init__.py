"""Requests over time: traces read from files, and generated ones."""

from tapeout.serving.traffic.arrivals import Rates, renewal
from tapeout.serving.traffic.generate import ClientPlan, Sessions, generate
from tapeout.serving.traffic.lengths import Fixed, Histogram, LogNormal, Mixture, histogram
from tapeout.serving.traffic.making import make_trace, make_trace_with_notes
from tapeout.serving.traffic.means import spec_of_means
from tapeout.serving.traffic.prefixes import expand, full_blocks
from tapeout.serving.traffic.readers import (
    FORMATS,
    ReadOptions,
    ReadReport,
    read_chunks,
    read_clients,
    read_trace,
)
from tapeout.serving.traffic.scaling import (
    convert_tokens,
    fits,
    mean_rate_rps,
    merge,
    scale_time,
    take,
    thin,
    time_window,
)
from tapeout.serving.traffic.servegen import (
    ClientStatistics,
    assign_shards,
    generate_clients,
    summary,
)
from tapeout.serving.traffic.spec import TrafficSpec, read_spec
from tapeout.serving.traffic.statistics import (
    TraceStatistics,
    prefix_statistics,
    trace_statistics,
)
from tapeout.serving.traffic.streams import stream
from tapeout.serving.traffic.trace import Prefixes, Trace
from tapeout.serving.traffic.writing import write_trace

__all__ = [
    "FORMATS",
    "ClientPlan",
    "ClientStatistics",
    "Fixed",
    "Histogram",
    "LogNormal",
    "Mixture",
    "Prefixes",
    "Rates",
    "ReadOptions",
    "ReadReport",
    "Sessions",
    "Trace",
    "TraceStatistics",
    "TrafficSpec",
    "assign_shards",
    "convert_tokens",
    "expand",
    "fits",
    "full_blocks",
    "generate",
    "generate_clients",
    "histogram",
    "make_trace",
    "make_trace_with_notes",
    "mean_rate_rps",
    "merge",
    "prefix_statistics",
    "read_chunks",
    "read_clients",
    "read_spec",
    "read_trace",
    "renewal",
    "scale_time",
    "spec_of_means",
    "stream",
    "summary",
    "take",
    "thin",
    "time_window",
    "trace_statistics",
    "write_trace",
]
