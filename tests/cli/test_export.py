"""`tapeout export`: what it prints runs as it stands, what it writes lies where it says."""

import json
import shlex

import pytest
from typer.testing import CliRunner

from tapeout.cli.export import app
from tapeout.errors import InfeasibleError, ProblemsError, UnknownNameError

CHECKPOINT = "meta-llama/Llama-3.1-8B-Instruct"


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def words(done):
    assert done.exit_code == 0, done.output
    return shlex.split(done.stdout.replace("\\\n", " "), comments=True)


def test_a_vllm_command_comes_out_with_its_version_and_notes_aside():
    done = run("vllm", "h100", "llama-3.1-8b", "--hf-model", CHECKPOINT, "--max-num-seqs", "64")
    printed = words(done)
    assert printed[:3] == ["vllm", "serve", CHECKPOINT]
    assert printed[printed.index("--max-num-seqs") + 1] == "64"
    assert done.stdout.startswith("# flags as of vLLM 0.")
    assert "Note:" in done.stderr
    assert "Note:" not in done.stdout


def test_parallelism_limits_and_drafts_reach_the_command():
    done = run(
        *("vllm", "deepseek-r1", "--chip", "b200", "--precision", "fp8", "--hf-model", "org/r1"),
        *("--parallelism", "dp8-ep8", "--kv-blocks", "999", "--no-prefix-cache"),
        *("--draft-tokens", "1", "--speculative-method", "mtp"),
    )
    printed = words(done)
    assert printed[printed.index("--data-parallel-size") + 1] == "8"
    assert printed[printed.index("--num-gpu-blocks-override") + 1] == "1000"
    assert "--enable-expert-parallel" in printed
    assert "--no-enable-prefix-caching" in printed
    config = json.loads(printed[printed.index("--speculative-config") + 1])
    assert config == {"method": "mtp", "num_speculative_tokens": 1}


def test_an_sglang_command_is_labelled_as_another_scheduler():
    place = ("sglang", "h100", "llama-3.1-8b", "--hf-model", CHECKPOINT)
    done = run(*place, "--policy", "vllm-v1")
    assert words(done)[:3] == ["python3", "-m", "sglang.launch_server"]
    assert "SGLang's own rules" in done.stderr
    assert "SGLang's own rules" not in run(*place).stderr


def test_an_sglang_command_has_what_was_simulated_of_its_own_scheduler():
    limits = ("--conservativeness", "0.5", "--no-prefix-cache")
    done = run("sglang", "h100", "llama-3.1-8b", "--hf-model", CHECKPOINT, *limits)
    said = words(done)
    assert said[said.index("--schedule-conservativeness") + 1] == "0.5"
    assert "--disable-radix-cache" in said


def test_a_manifest_is_written_whole_and_says_so(tmp_path):
    out = tmp_path / "deep" / "serve.yaml"
    done = run(
        *("kubernetes", "h100", "llama-3.1-70b", "--parallelism", "tp4", "--replicas", "2"),
        *("--hf-model", "org/llama", "--out", str(out), "--name", "chat"),
    )
    assert done.exit_code == 0, done.output
    text = out.read_text(encoding="utf-8")
    for line in ("kind: Deployment", "kind: Service", "replicas: 2", "name: chat"):
        assert line in text
    assert f"Wrote {out}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        (("vllm", "llama-3.1-8b", "--hf-model", "a/b"), InfeasibleError, "one chip"),
        (("vllm", "h10O", "llama-3.1-8b", "--hf-model", "a/b"), UnknownNameError, "chip"),
        (("vllm", "h100", "llama-3.1-8b", "--hf-model", "a/b", "--policy", "orca"),
         InfeasibleError, "orca"),
        (("kubernetes", "h100", "llama-3.1-8b", "--hf-model", "a/b", "--engine", "tgi"),
         UnknownNameError, "engine"),
        (("kubernetes", "h100", "llama-3.1-70b", "--parallelism", "tp8-pp2", "--hf-model", "a/b",
          "--precision", "bf16"), InfeasibleError, "LeaderWorkerSet"),
        (("load-test", "none.csv", "--hf-model", "a/b", "--out", "x"), ProblemsError, "none.csv"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_one_clear_error(arguments, error, word):
    done = run(*arguments)
    assert isinstance(done.exception, error)
    assert word in str(done.exception)


def test_a_checkpoint_must_be_named():
    done = run("vllm", "h100", "llama-3.1-8b")
    assert done.exit_code == 2
    assert "--hf-model" in done.output


@pytest.fixture
def trace_file(tmp_path):
    path = tmp_path / "chat.csv"
    rows = "".join(f"{number / 2},{100 + number},{10 + number}\n" for number in range(20))
    path.write_text("arrival_s,input_tokens,output_tokens\n" + rows, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("generator", "names"),
    [
        ("vllm", {"trace.jsonl", "run.sh"}),
        ("vllm-rate", {"prompts.jsonl", "run.sh"}),
        ("inference-perf", {"trace.csv", "config.yaml", "run.sh"}),
    ],
)
def test_a_load_test_writes_its_files_and_prints_its_command(
    trace_file, tmp_path, generator, names
):
    out = tmp_path / "load"
    done = run(
        *("load-test", str(trace_file), "--generator", generator, "--hf-model", CHECKPOINT),
        *("--out", str(out)),
    )
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == names
    assert (out / "run.sh").read_text(encoding="utf-8") == done.stdout
    printed = words(done)
    if generator != "inference-perf":
        assert printed[printed.index("--num-prompts") + 1] == "20"
    assert "no meaning" in done.stderr


def test_a_load_test_can_be_cut_short(trace_file, tmp_path):
    done = run(
        *("load-test", str(trace_file), "--hf-model", "a/b", "--out", str(tmp_path / "load")),
        *("--requests", "5"),
    )
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "load" / "trace.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["input_length"] for line in lines] == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("command", ["vllm", "sglang", "kubernetes"])
def test_heads_that_no_engine_can_cut_are_refused(command):
    place = ("h100", "llama-3.1-8b", "--hf-model", CHECKPOINT, "--parallelism", "tp3")
    done = run(command, *place)
    assert isinstance(done.exception, InfeasibleError)
    assert "1, 2, 4, 8, 16, 32 work" in str(done.exception)
