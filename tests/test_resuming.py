"""A run goes on from the last checkpoint that was written to the end."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hf_rnnattn.resuming import last_complete_checkpoint


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    save_file({"weight": torch.zeros(100)}, path / "model.safetensors")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def test_highest_step_is_taken_not_the_last_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-999").write_text("a file")
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")


def test_there_is_nothing_to_resume_in_a_missing_or_empty_folder(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path) is None
    assert last_complete_checkpoint(tmp_path / "missing") is None


def cut_weights(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


FAULTS = {
    "state missing": lambda path: (path / "trainer_state.json").unlink(),
    "state cut": lambda path: (path / "trainer_state.json").write_text('{"global_st'),
    "state empty": lambda path: (path / "trainer_state.json").write_text("{}"),
    "weights missing": lambda path: (path / "model.safetensors").unlink(),
    "weights cut": cut_weights,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_checkpoint_that_was_not_finished_is_skipped_by_name(tmp_path: Path, caplog, fault: str) -> None:
    whole, broken = checkpoint(tmp_path, 20), checkpoint(tmp_path, 30)
    FAULTS[fault](broken)
    with caplog.at_level(logging.WARNING):
        assert last_complete_checkpoint(tmp_path) == str(whole)
    assert "checkpoint-30" in caplog.text
