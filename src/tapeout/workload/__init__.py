"""What is asked: model architectures, the operators of a step, traffic and demand."""

from tapeout.workload.architecture import Layer, ModelArchitecture, NativeFormats
from tapeout.workload.formats import (
    FORMAT_BYTES,
    SCALE_BYTES,
    arithmetic_format,
    checkpoint_formats,
    element_bytes,
    kv_element_bytes,
    weight_element_bytes,
)
from tapeout.workload.memory import (
    WeightBytes,
    kv_bytes,
    kv_bytes_per_token,
    state_bytes_per_sequence,
    weight_bytes,
)
from tapeout.workload.operators import operators
from tapeout.workload.parameters import ParameterCount, count_parameters
from tapeout.workload.registry import (
    architecture_from_config,
    load_model,
    model_aliases,
    model_names,
)
from tapeout.workload.types import Demand, OperatorTable, StepMix, TensorFormats, Traffic

__all__ = [
    "FORMAT_BYTES",
    "SCALE_BYTES",
    "Demand",
    "Layer",
    "ModelArchitecture",
    "NativeFormats",
    "OperatorTable",
    "ParameterCount",
    "StepMix",
    "TensorFormats",
    "Traffic",
    "WeightBytes",
    "architecture_from_config",
    "arithmetic_format",
    "checkpoint_formats",
    "count_parameters",
    "element_bytes",
    "kv_bytes",
    "kv_bytes_per_token",
    "kv_element_bytes",
    "load_model",
    "model_aliases",
    "model_names",
    "operators",
    "state_bytes_per_sequence",
    "weight_bytes",
    "weight_element_bytes",
]
