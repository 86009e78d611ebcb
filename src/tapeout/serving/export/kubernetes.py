"""A Kubernetes Deployment and Service that run the replicas of a deployment.

The fields follow vLLM's page on Kubernetes [1]_: health probes on /health, shared memory as a
volume in memory. Device resources are those of the vendors' plugins [2]_ [3]_ [4]_; they stand in
the limits, which Kubernetes takes as the requests too [2]_. Images are public tags of one version,
never "latest".

References
----------
.. [1] https://docs.vllm.ai/en/stable/deployment/k8s/
.. [2] https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/
.. [3] https://instinct.docs.amd.com/projects/k8s-device-plugin/en/latest/
.. [4] https://awsdocs-neuron.readthedocs-hosted.com/en/latest/deploy/includes/k8s-neuron-device-plugin.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tapeout.chip.spec import vendor_of
from tapeout.errors import InfeasibleError
from tapeout.serving.export.command import Command
from tapeout.serving.types import Deployment

RESOURCES = {
    "NVIDIA": "nvidia.com/gpu",
    "AMD": "amd.com/gpu",
    "Google": "google.com/tpu",
    "AWS": "aws.amazon.com/neuron",  # a whole device with all its cores
}
IMAGES = {
    ("vllm", "NVIDIA"): "vllm/vllm-openai:v0.19.0",
    ("vllm", "AMD"): "vllm/vllm-openai-rocm:v0.20.1",
    ("sglang", "NVIDIA"): "lmsysorg/sglang:v0.5.18",
}
# Chips of one host, by the beginning of the catalogue name; the first that fits. Assumptions about
# how the chip is usually sold: trays of four (NVL72, TPU hosts), instances trn1.32xlarge,
# trn2.48xlarge (16) and inf2.48xlarge (12), boards of eight (HGX, OAM).
HOSTS = (
    ("NVIDIA GB200", 4),
    ("NVIDIA GB300", 4),
    ("NVIDIA Vera Rubin", 4),
    ("NVIDIA GH200", 1),
    ("Google TPU", 4),
    ("AWS Trainium", 16),
    ("AWS Inferentia2", 12),
    ("", 8),
)
SHARED_MEMORY = "8Gi"  # that of vLLM's example for AMD; it gives 2Gi for one NVIDIA GPU
START_PERIOD_S = 10
START_FAILURES = 360  # assumption: weights are fetched and graphs captured within an hour
DNS_LABEL = 63
CACHE = "/cache"  # where Hugging Face libraries keep what they fetch (HF_HOME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the cluster must be told.

    Attributes
    ----------
    name : str
        Of the objects; "": made from the checkpoint.
    image : str
        "": the one pinned for engine and vendor.
    resource : str
        Of the device plugin; "": that of the chip's vendor.
    chips_per_host : int, optional
        None: as the chip is usually sold.
    token_secret : str
        Secret with a key `token`, read as HF_TOKEN; "": none.
    cache_claim : str
        PersistentVolumeClaim for the downloaded weights; "": an empty folder a pod.
    """

    name: str = ""
    image: str = ""
    resource: str = ""
    chips_per_host: int | None = None
    token_secret: str = ""
    cache_claim: str = ""


def manifest(
    deployment: Deployment, command: Command, cluster: Cluster, *, engine: str, port: int
) -> tuple[tuple[dict[str, object], dict[str, object]], tuple[str, ...]]:
    """Return the Deployment and the Service, and what to mind.

    Parameters
    ----------
    command : Command
        Of one replica.
    engine : str
        "vllm" or "sglang"; decides the image.
    port : int
        On which the command listens.

    Raises
    ------
    InfeasibleError
        A replica needs more than one host, or no resource or image is known.
    """
    chip = deployment.placement.system.chip.name
    vendor = vendor_of(chip)
    hosts = cluster.chips_per_host or _chips_per_host(chip)
    chips = deployment.placement.chips
    if chips > hosts:
        raise InfeasibleError(
            f"a replica of {chips} chips does not fit a host of {hosts}; pods of a Deployment run "
            "on one host each. Several hosts need a LeaderWorkerSet and a launch script of the "
            "engine's version, which is not written here; choose a smaller placement, or "
            "--chips-per-host if yours has more"
        )
    resource = cluster.resource or RESOURCES.get(vendor, "")
    if not resource:
        raise InfeasibleError(
            f"no device plugin is known for {chip}; name its resource with --resource"
        )
    image = cluster.image or IMAGES.get((engine, vendor), "")
    if not image:
        raise InfeasibleError(
            f"no pinned image of {engine} is known for {vendor}; name one with --image"
        )
    name = cluster.name or _label(command.model)
    _check_label(name)
    container = _container(command, image, {resource: chips}, port, cluster)
    return (
        (_deployment(name, deployment.replicas, container, cluster), _service(name, port)),
        tuple(_notes(cluster, vendor, hosts)),
    )


def _chips_per_host(chip: str) -> int:
    return next(count for start, count in HOSTS if chip.startswith(start))


def _label(model: str) -> str:
    """A DNS label from the last part of the checkpoint."""
    text = re.sub(r"[^a-z0-9]+", "-", model.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-")
    named = text if text[:1].isalpha() else f"model-{text}"
    return named[:DNS_LABEL].strip("-")


def _check_label(name: str) -> None:
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise InfeasibleError(
            f"--name {name!r}: Kubernetes wants lower-case letters, digits and hyphens, a letter "
            f"first, at most {DNS_LABEL}"
        )


def _container(
    command: Command, image: str, devices: dict[str, int], port: int, cluster: Cluster
) -> dict[str, object]:
    words = command.words
    programs = 2 if words[0] == "vllm" else 3
    container: dict[str, object] = {
        "name": "server",
        "image": image,
        "command": list(words[:programs]),
        "args": list(words[programs:]),
        "ports": [{"name": "http", "containerPort": port}],
    }
    variables: list[dict[str, object]] = [{"name": "HF_HOME", "value": CACHE}]
    if cluster.token_secret:
        reference = {"secretKeyRef": {"name": cluster.token_secret, "key": "token"}}
        variables.append({"name": "HF_TOKEN", "valueFrom": reference})
    container["env"] = variables
    probe = {"httpGet": {"path": "/health", "port": "http"}}
    return container | {
        # Kubernetes takes limits of devices as the requests.
        "resources": {"limits": {name: str(count) for name, count in devices.items()}},
        "startupProbe": probe
        | {"periodSeconds": START_PERIOD_S, "failureThreshold": START_FAILURES},
        "readinessProbe": probe | {"periodSeconds": 5},
        "livenessProbe": probe | {"periodSeconds": 10, "failureThreshold": 6},
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - in the container
            {"name": "cache", "mountPath": CACHE},
        ],
    }


def _deployment(
    name: str, replicas: int, container: dict[str, object], cluster: Cluster
) -> dict[str, object]:
    labels = {"app": name}
    cache: dict[str, object] = {"emptyDir": {}}
    if cluster.cache_claim:
        cache = {"persistentVolumeClaim": {"claimName": cluster.cache_claim}}
    pod = {
        "containers": [container],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}},
            {"name": "cache"} | cache,
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _service(name: str, port: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": "ClusterIP",
            "selector": {"app": name},
            "ports": [{"name": "http", "port": port, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _notes(cluster: Cluster, vendor: str, hosts: int) -> Iterator[str]:
    yield "CPU and memory of the pod are not requested: nothing here knows them"
    if cluster.chips_per_host is None:
        yield f"a host is taken to have {hosts} chips"
    if not cluster.cache_claim:
        yield "weights are fetched again by every pod; --cache-claim keeps them"
    if not cluster.token_secret:
        yield "gated checkpoints need a token; --token-secret names a secret that has it"
    if vendor == "Google":
        yield "GKE also wants node selectors for the type and topology of the TPU"
