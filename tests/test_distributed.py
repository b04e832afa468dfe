"""Two processes on one machine, over gloo, compute what one does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.checkpoint import load_strict

HERE = Path(__file__).parent
WORKER = str(HERE / "distributed_worker.py")


def launcher(name):
    """A command that starts two processes on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return {
        "one": [sys.executable],
        "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port", port],
        "accelerate": [
            *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
            *("--main_process_port", port, "--mixed_precision", "no", "--dynamo_backend", "no"),
            *("--num_machines", "1"),
        ],
    }[name]


def run(name, job, folder):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [*launcher(name), WORKER, job, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def losses(path):
    return json.loads(path.read_text())


def test_gradients_over_two_processes_equal_those_of_one(tmp_path):
    run("one", "ddp", tmp_path)
    run("torchrun", "ddp", tmp_path)
    one, two = (torch.load(tmp_path / f"ddp-{size}.pt", weights_only=True) for size in (1, 2))
    assert one.keys() == two.keys()
    for model, found in one.items():
        for name, value in found.items():
            assert_close(
                two[model][name], value, rtol=0, atol=1e-12, msg=lambda text, at=(model, name): f"{at} {text}"
            )


@pytest.mark.parametrize("name", ["torchrun", "accelerate"])
def test_the_trainer_learns_over_two_processes_what_it_learns_in_one(name, tmp_path):
    run("one", "train", tmp_path)
    run(name, "train", tmp_path)
    one, two = losses(tmp_path / "train-1.json"), losses(tmp_path / "train-2.json")
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["losses"][-1] < one["losses"][0]
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    weights = [load_strict(tmp_path / f"train-{size}").state_dict() for size in (1, 2)]
    for key, value in weights[0].items():
        assert_close(weights[1][key], value, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_an_infinite_loss_in_one_process_stops_all(tmp_path):
    run("torchrun", "spoilt", tmp_path)
    first, last = (losses(tmp_path / f"spoilt-{process}.json") for process in (0, 1))
    assert first["said"].startswith("the loss of another process is not finite at step 3;")
    assert last["said"].startswith("the loss is not finite at step 3;")
    assert first["step"] == last["step"] == 2


def test_sharded_weights_train_save_and_load(tmp_path):
    run("one", "train", tmp_path)
    run("torchrun", "fsdp", tmp_path)
    one, two = losses(tmp_path / "train-1.json"), losses(tmp_path / "fsdp.json")
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert len(list((tmp_path / "sharded").glob("*.distcp"))) == 2  # one a process
    whole = load_strict(tmp_path / "full")
    assert type(whole) is RnnAttnForConditionalGeneration
    wanted = load_strict(tmp_path / "train-1").state_dict()
    for key, value in whole.state_dict().items():
        assert_close(value, wanted[key], rtol=0, atol=1e-5)
