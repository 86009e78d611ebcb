"""A deployment written for real engines, clusters and load generators."""

from tapeout.serving.export.command import Command, Speculation, Wanted
from tapeout.serving.export.kubernetes import Cluster, manifest
from tapeout.serving.export.load_test import GENERATORS, LoadTest, load_test
from tapeout.serving.export.sglang import sglang_command
from tapeout.serving.export.vllm import vllm_command
from tapeout.serving.export.yaml import to_yaml

__all__ = [
    "GENERATORS",
    "Cluster",
    "Command",
    "LoadTest",
    "Speculation",
    "Wanted",
    "load_test",
    "manifest",
    "sglang_command",
    "to_yaml",
    "vllm_command",
]
