"""The manifest parses, asks for the right devices and runs the command as it is."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.errors import InfeasibleError
from tapeout.serving.export import Cluster, Wanted, manifest, sglang_command, to_yaml, vllm_command
from tapeout.serving.types import Deployment
from tapeout.workload import TensorFormats

BF16 = TensorFormats(weight="bf16", activation="bf16", kv="bf16")
NAMED = "hf-token"  # the name of a secret, none itself
WANTED = Wanted(hf_model="meta-llama/Llama-3.1-70B-Instruct", max_model_len=4096)


def read(text):
    """Read back what the writer writes: block style, JSON or plain scalars."""
    documents = []
    for document in re.split(r"^---\n", text, flags=re.MULTILINE):
        lines = [
            (len(line) - len(line.lstrip(" ")), line.lstrip(" "))
            for line in document.split("\n")
            if line.strip() and not line.startswith("#")
        ]
        value, rest = block(lines, 0)
        assert not rest
        documents.append(value)
    return documents


def block(lines, indent):
    if lines[0][1].startswith("- "):
        return items(lines, indent)
    table = {}
    while lines and lines[0][0] == indent and not lines[0][1].startswith("- "):
        key, rest = split_key(lines[0][1])
        lines = lines[1:]
        if rest:
            table[key] = scalar(rest)
        else:
            assert lines[0][0] > indent
            table[key], lines = block(lines, lines[0][0])
    return table, lines


def items(lines, indent):
    found = []
    while lines and lines[0][0] == indent and lines[0][1].startswith("- "):
        first = lines[0][1][2:]
        inner = [(indent + 2, first)]
        lines = lines[1:]
        while lines and lines[0][0] > indent:
            inner.append(lines[0])
            lines = lines[1:]
        if nested(first):
            value, rest = block(inner, indent + 2)
            assert not rest
            found.append(value)
        else:
            found.append(scalar(first))
    return found, lines


def nested(text):
    if text.startswith("- "):
        return True
    try:
        split_key(text)
    except ValueError:
        return False
    return True


QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def unquoted(text):
    return re.sub(
        r"\\(U[0-9a-f]{8}|.)",
        lambda found: chr(int(found[1][1:], 16)) if len(found[1]) == 9 else found[1],
        text,
    )


def split_key(text):
    if text.startswith('"'):
        found = QUOTED.match(text)
        key, end = unquoted(found[1]), found.end()
    else:
        end = text.index(":")
        key = text[:end]
    if text[end : end + 1] != ":":
        raise ValueError(text)
    return key, text[end + 1 :].strip()


def scalar(text):
    if text[0] == '"':
        return unquoted(QUOTED.fullmatch(text)[1])
    if text[0] in "{[-0123456789" or text in ("true", "false", "null"):
        return json.loads(text)
    return text


def made(deployment, cluster=Cluster(), engine="vllm", wanted=WANTED):  # noqa: B008 - frozen
    command = (vllm_command if engine == "vllm" else sglang_command)(deployment, wanted)
    documents, notes = manifest(deployment, command, cluster, engine=engine, port=wanted.port)
    return command, documents, notes


@pytest.fixture
def four(placed):
    return Deployment(placement=placed(formats=BF16, tensor_parallel=4), replicas=3)


def pod(documents):
    return documents[0]["spec"]["template"]["spec"]


def server(documents):
    (one,) = pod(documents)["containers"]
    return one


def test_the_written_manifest_reads_back_as_it_was_meant(four):
    _, documents, _ = made(four)
    assert read(to_yaml(*documents)) == list(documents)


def test_a_yaml_library_reads_the_same_where_one_is_installed(four):
    yaml = pytest.importorskip("yaml")
    _, documents, _ = made(four, Cluster(cache_claim="weights"))
    assert list(yaml.safe_load_all(to_yaml(*documents))) == list(documents)


TEXTS = st.text(max_size=12)
SCALARS = st.one_of(TEXTS, st.integers(), st.booleans(), st.none())
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, TREES, min_size=1, max_size=4))
def test_any_tree_survives_the_writer(tree):
    assert read(to_yaml(tree)) == [tree]


@pytest.mark.parametrize("word", ["yes", "No", "on", "null", "1", "1.5", "2024-01-01", "a: b", ""])
def test_a_text_that_yaml_reads_as_something_else_is_quoted(word):
    assert to_yaml({"key": word}) == f'key: "{word}"\n'


def test_the_container_runs_the_words_of_the_command(four):
    command, documents, _ = made(four)
    container = server(documents)
    assert container["command"] + container["args"] == list(command.words)
    assert container["ports"][0]["containerPort"] == 8000
    assert not container["image"].endswith("latest")
    assert ":v" in container["image"]


def test_replicas_devices_and_service_are_those_of_the_deployment(four):
    _, documents, _ = made(four)
    deployment, service = documents
    assert deployment["spec"]["replicas"] == 3
    assert server(documents)["resources"] == {"limits": {"nvidia.com/gpu": "4"}}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert deployment["metadata"]["name"] == "llama-3-1-70b-instruct"


def test_health_is_probed_and_shared_memory_is_in_memory(four):
    _, documents, _ = made(four)
    container = server(documents)
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["httpGet"] == {"path": "/health", "port": "http"}
    volumes = {volume["name"]: volume for volume in pod(documents)["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    assert mounts["shm"].startswith("/dev/")
    assert set(volumes) == set(mounts)


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("AMD MI300X", "amd.com/gpu"),
        ("Google TPU v6e Trillium", "google.com/tpu"),
        ("AWS Trainium2", "aws.amazon.com/neuron"),
    ],
)
def test_every_vendor_has_its_device_resource(placed, chip, name, resource):
    placement = placed(chip=chip(name=name), formats=BF16, tensor_parallel=4)
    _, documents, _ = made(Deployment(placement=placement), Cluster(image="registry/image:v1"))
    assert server(documents)["resources"]["limits"] == {resource: "4"}


def test_a_chip_without_a_known_plugin_or_image_asks_for_one(placed, chip):
    own = Deployment(placement=placed(chip=chip(name="OpenAI Jalapeno"), formats=BF16))
    with pytest.raises(InfeasibleError, match="--resource"):
        made(own)
    with pytest.raises(InfeasibleError, match="--image"):
        made(own, Cluster(resource="example.com/asic"))
    _, documents, _ = made(own, Cluster(resource="example.com/asic", image="own:v1"))
    assert server(documents)["resources"]["limits"] == {"example.com/asic": "1"}


def test_a_replica_of_more_than_one_host_is_refused_by_name(placed, chip):
    sixteen = Deployment(placement=placed(formats=BF16, tensor_parallel=8, pipeline_parallel=2))
    with pytest.raises(InfeasibleError, match="LeaderWorkerSet"):
        made(sixteen)
    made(sixteen, Cluster(chips_per_host=16))
    rack = placed(chip=chip(name="NVIDIA GB200 NVL72"), formats=BF16, tensor_parallel=8)
    with pytest.raises(InfeasibleError, match="host of 4"):
        made(Deployment(placement=rack))


def test_a_token_and_a_claim_are_used_where_they_are_named(four):
    _, documents, notes = made(four, Cluster(token_secret=NAMED, cache_claim="weights"))
    variables = {variable["name"]: variable for variable in server(documents)["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in server(documents)["volumeMounts"]}
    assert variables["HF_HOME"]["value"] == mounts["cache"]
    assert variables["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": NAMED, "key": "token"}
    volumes = {volume["name"]: volume for volume in pod(documents)["volumes"]}
    assert volumes["cache"]["persistentVolumeClaim"] == {"claimName": "weights"}
    assert not any("token" in note for note in notes)


@pytest.mark.parametrize("name", ["Upper", "-x", "x" * 64, "9lives", "a_b"])
def test_a_name_that_kubernetes_would_refuse_is_refused_here(four, name):
    with pytest.raises(InfeasibleError, match="--name"):
        made(four, Cluster(name=name))


@pytest.mark.parametrize("model", ["7B", "org/__", "org/" + "x" * 90, "/data/My Model/"])
def test_any_checkpoint_makes_a_name_that_kubernetes_takes(four, model):
    _, documents, _ = made(four, wanted=replace(WANTED, hf_model=model))
    assert len(documents[0]["metadata"]["name"]) <= 63


def test_sglang_runs_from_its_own_image(four):
    _, documents, _ = made(four, engine="sglang")
    assert server(documents)["command"] == ["python3", "-m", "sglang.launch_server"]
    assert "sglang" in server(documents)["image"]
