"""A save that fails leaves the earlier checkpoint as it was, byte for byte."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.checkpoint import load_strict
from model_zoo import build, tiny_config


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    build(tiny_config()).save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "notes.txt").write_text("mine")
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("failing", ["generation_config", "config", "weights"])
def test_an_exception_leaves_everything_as_it_was(folder, failing, monkeypatch):
    before = contents(folder)
    model = build(tiny_config(), seed=1)

    def fail(*args, **kwargs):
        raise RuntimeError("no more")

    target = {
        "generation_config": (type(model.generation_config), "save_pretrained"),
        "config": (type(model.config), "save_pretrained"),
        "weights": ("transformers.modeling_utils.safe_save_file", None),
    }[failing]
    if target[1] is None:
        monkeypatch.setattr(target[0], fail)
    else:
        monkeypatch.setattr(*target, fail)
    with pytest.raises(RuntimeError, match="no more"):
        model.save_pretrained(folder)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


SAVE = """
import resource, signal, sys
sys.path[:0] = {path}
from model_zoo import build, tiny_config
model = build(tiny_config(), seed=1)
{before}
try:
    model.save_pretrained({folder!r}{arguments})
except Exception as error:
    print("failed:", type(error).__name__)
"""
FULL = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
KILLED = """
import os, transformers.modeling_utils as m
def kill(*args, **kwargs):
    theirs(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
theirs, m.safe_save_file = m.safe_save_file, kill
"""


def save_in_another_process(folder, before, arguments=""):
    code = SAVE.format(path=[str(Path(__file__).parent)], before=before, folder=str(folder), arguments=arguments)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_full_disk_leaves_everything_as_it_was(folder):
    before = contents(folder)
    run = save_in_another_process(folder, FULL)
    assert run.stdout.startswith("failed: "), run.stderr
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("arguments", ["", ", max_shard_size='4KB'"])
def test_a_killed_process_leaves_everything_as_it_was_and_the_next_one_cleans_up(folder, arguments):
    before = contents(folder)
    run = save_in_another_process(folder, KILLED, arguments)
    assert run.returncode == -signal.SIGKILL, run.stderr
    (left,) = folder.glob(".saving-*")
    assert {path: data for path, data in contents(folder).items() if path.parts[0] != left.name} == before
    assert list(left.glob("*.safetensors"))
    load_strict(folder)
    build(tiny_config(), seed=1).save_pretrained(folder)
    assert not list(folder.glob(".saving-*"))


def test_weights_of_the_earlier_checkpoint_do_not_stay_beside_the_new_ones(folder):
    for seed, size in ((1, "4KB"), (2, "50GB"), (3, "8KB"), (4, "4KB")):
        model = build(tiny_config(), seed=seed)
        model.save_pretrained(folder, max_shard_size=size)
        loaded = RnnAttnForConditionalGeneration.from_pretrained(folder)
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)
        index = (folder / "model.safetensors.index.json").exists()
        assert (folder / "model.safetensors").exists() != index == (size != "50GB")
    assert (folder / "notes.txt").read_text() == "mine"
    model.save_pretrained(folder, variant="half")
    assert (folder / "model.half.safetensors").exists()
    assert (folder / "model.safetensors.index.json").exists()  # another variant's


def test_a_folder_of_every_spelling_is_saved_to(tmp_path, monkeypatch):
    model = build(tiny_config())
    monkeypatch.chdir(tmp_path)
    for spelling in ("new", "deep/er", "./dot/", Path("path")):
        model.save_pretrained(spelling)
        assert (Path(spelling) / "config.json").exists()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    model.save_pretrained(".")
    assert (tmp_path / "here" / "config.json").exists()
    model.save_pretrained(tmp_path / "other", is_main_process=False)
    assert not list((tmp_path / "other").glob("*.safetensors"))
