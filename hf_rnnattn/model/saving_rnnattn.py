"""Saving a model so that a failure leaves what was there before."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_at_once(folder: Path, variant: str | None = None) -> Iterator[Path]:
    """A folder to write a checkpoint to, which takes the place of the one in ``folder`` when the block ends.

    It lies beside ``folder``, so on the same disk, and files then move one by one, each in one step, config.json last.
    Weights of an earlier checkpoint that the new one does not have, as when it has fewer shards, go. If the block
    raises, as on a full disk, nothing in ``folder`` has changed. A process that is killed leaves ``.<name>.saving``
    behind, which the next one removes.

    Args:
        folder: made if it is not there; its other files stay.
        variant: of the weights, as in ``model.<variant>.safetensors``.
    """
    folder = folder.resolve()
    written = folder.with_name(f".{folder.name}.saving")
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir(parents=True)
    try:
        yield written
        _move(written, folder, variant)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _move(written: Path, folder: Path, variant: str | None) -> None:
    files = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    files.sort(key=lambda path: path.name == "config.json")  # last, since it is what makes a folder a checkpoint
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(written / path, folder / path)
    folder.mkdir(parents=True, exist_ok=True)
    if any(_is_weights(path.name, variant) for path in files):
        for path in folder.iterdir():
            if _is_weights(path.name, variant) and path.relative_to(folder) not in files:
                path.unlink()


def _is_weights(name: str, variant: str | None) -> bool:
    suffix = rf"\.{re.escape(variant)}" if variant else ""
    single = rf"model{suffix}\.safetensors"
    shard = rf"model{suffix}-\d{{5}}-of-\d{{5}}\.safetensors|model-\d{{5}}-of-\d{{5}}{suffix}\.safetensors"
    index = rf"model\.safetensors\.index{suffix}\.json"
    return re.fullmatch(f"{single}|{shard}|{index}", name) is not None
