"""Number formats: bytes of an element, of its scales, and the format the arithmetic runs in.

Scale sizes: one 4-byte scale per 128 x 128 block (fp8 block scaling of DeepSeek-V3), one byte per
32 elements (OCP microscaling, mxfp4 and mxfp8), one byte per 16 (nvfp4), a 2-byte scale per 32
elements (group-quantised int4). "fp4" without a family is charged like nvfp4, the larger one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapeout.errors import UnknownNameError

if TYPE_CHECKING:
    from tapeout.workload.architecture import ModelArchitecture

from tapeout.workload.types import TensorFormats

FORMAT_BYTES: dict[str, float] = {
    "fp32": 4.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "mxfp8": 1.0,
    "int8": 1.0,
    "fp4": 0.5,
    "mxfp4": 0.5,
    "nvfp4": 0.5,
    "int4": 0.5,
}
"""Bytes of one element without scales."""

SCALE_BYTES: dict[str, float] = {
    "fp8": 4.0 / (128 * 128),
    "mxfp8": 1.0 / 32,
    "fp4": 1.0 / 16,
    "mxfp4": 1.0 / 32,
    "nvfp4": 1.0 / 16,
    "int4": 2.0 / 32,
}
"""Bytes of scales per weight element; formats that are absent have none (int8: one a row)."""

_ARITHMETIC = {"mxfp8": "fp8", "mxfp4": "fp4", "nvfp4": "fp4"}
_BLOCK_SCALED_KV = ("mxfp8", "fp4", "mxfp4", "nvfp4", "int4")


def element_bytes(number_format: str) -> float:
    """Bytes of one element without scales.

    Raises
    ------
    UnknownNameError
        The format is not in `FORMAT_BYTES`.
    """
    size = FORMAT_BYTES.get(number_format)
    if size is None:
        raise UnknownNameError("number format", number_format, FORMAT_BYTES)
    return size


def weight_element_bytes(number_format: str) -> float:
    """Bytes of one weight with its share of the scales (mxfp4: 4.25 bit, nvfp4: 4.5 bit).

    Raises
    ------
    UnknownNameError
        The format is not in `FORMAT_BYTES`.

    Examples
    --------
    >>> weight_element_bytes("mxfp4") * 8
    4.25
    """
    return element_bytes(number_format) + SCALE_BYTES.get(number_format, 0.0)


def kv_element_bytes(number_format: str) -> float:
    """Bytes of one cached element; fp8 and int8 caches carry one scale a tensor, so none here.

    Raises
    ------
    UnknownNameError
        The format is not in `FORMAT_BYTES`.
    """
    scaled = number_format in _BLOCK_SCALED_KV
    return weight_element_bytes(number_format) if scaled else element_bytes(number_format)


def arithmetic_format(stored: str, activation: str) -> str:
    """Name the format a matrix unit works in: the wider of what it is fed.

    Examples
    --------
    >>> arithmetic_format("int4", "bf16"), arithmetic_format("mxfp4", "fp4")
    ('bf16', 'fp4')
    """
    wider = stored if element_bytes(stored) > element_bytes(activation) else activation
    return _ARITHMETIC.get(wider, wider)


def expert_format(formats: TensorFormats) -> str:
    """Return the format of the routed experts."""
    return formats.expert or formats.weight


def checkpoint_formats(
    architecture: ModelArchitecture, *, kv: str | None = None, activation: str | None = None
) -> TensorFormats:
    """Return the formats a model is published in, from its `quantization_config`.

    Parameters
    ----------
    architecture : ModelArchitecture
    kv : str, optional
        Format of the cache; a checkpoint does not fix it. Default: fp8 for fp8 checkpoints,
        else bf16.
    activation : str, optional
        What the matrix units are fed; same default. Tensors kept in a wider format run in that
        format all the same.

    Returns
    -------
    TensorFormats
        For gpt-oss bf16 everywhere with mxfp4 experts, for DeepSeek-V3 fp8 matrices.
    """
    native = architecture.native
    default = "fp8" if native.weight == "fp8" else "bf16"
    return TensorFormats(
        weight=native.weight,
        activation=activation or default,
        kv=kv or default,
        expert=None if native.expert == native.weight else native.expert,
    )
