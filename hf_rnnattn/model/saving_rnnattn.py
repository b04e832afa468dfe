"""Saving so that a failure leaves what was there before."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".saving-"


@contextmanager
def replaced_at_once(folder: Path, replaces: Callable[[str], bool] | None = None) -> Iterator[Path]:
    """A folder to write files to, which take the place of those in ``folder`` when the block ends.

    It lies inside of ``folder``: beside it there might be another disk, or nothing that we may write to. Files then
    move one by one, each in one step, config.json last. If the block raises, as on a full disk, nothing in ``folder``
    has changed. A process that is killed leaves ``.saving-…`` behind, which the next one removes. One that is killed
    while files move may leave old and new ones side by side, but never shards of two checkpoints that load as one.

    Args:
        folder: made if it is not there; its other files stay.
        replaces: names of files that are of the same kind as some that are written, and go unless they are written
            again: the shards of an earlier checkpoint.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder)
    written = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
    lock = _lock(written)
    done = False
    try:
        yield written
        _move(written, folder, replaces)
        done = True
    finally:
        shutil.rmtree(written, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        if made and not done:
            with suppress(OSError):  # another process has written to it
                folder.rmdir()


def save_at_once(
    save: Callable[..., Any],
    save_directory: str | os.PathLike[str],
    push_to_hub: bool,
    replaces: Callable[[str], bool] | None = None,
) -> Any:
    """Calls a ``save_pretrained`` of transformers so that its files come to ``save_directory`` at once, or not at all.

    To be pushed they are written once more, elsewhere: an upload that fails does not undo what was saved.

    Args:
        save: takes the folder and ``push_to_hub``.
        save_directory, push_to_hub: what ``save_pretrained`` was given.
        replaces: see ``replaced_at_once``.

    Returns:
        What ``save`` returned; paths in it lie in a folder that is no more.
    """
    folder = Path(save_directory)
    if folder.is_file():
        return save(save_directory)  # transformers says what is wrong with it
    with replaced_at_once(folder, replaces) as written:
        result = save(str(written))
    if push_to_hub:
        with tempfile.TemporaryDirectory() as place:
            # the folder's name is the repository's, if none is given
            save(os.path.join(place, folder.resolve().name), push_to_hub=True)
    return result


def is_weights(name: str, variant: str | None = None) -> bool:
    """Whether a file of this name holds a model's weights, all or some, or says which file holds which."""
    suffix = rf"\.{re.escape(variant)}" if variant else ""
    single = rf"model{suffix}\.safetensors"
    shard = rf"model{suffix}-\d{{5}}-of-\d{{5}}\.safetensors|model-\d{{5}}-of-\d{{5}}{suffix}\.safetensors"
    index = rf"model\.safetensors\.index{suffix}\.json"
    return re.fullmatch(f"{single}|{shard}|{index}", name) is not None


def _remove_unfinished(folder: Path) -> None:
    for left in folder.glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError):  # another process has just removed it
            lock = _lock(left) if any(left.iterdir()) else None  # an empty one may be about to be locked
            if lock is not None:  # nobody writes to it any more
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """Locks a folder until the file returned is closed or the process ends; None if another one holds it."""
    if fcntl is None:
        return None
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or the file system knows no locks
        os.close(file)
        return None
    return file


def _move(written: Path, folder: Path, replaces: Callable[[str], bool] | None) -> None:
    files = sorted((path.relative_to(written) for path in written.rglob("*") if path.is_file()), key=_last_ones_last)
    indices = [path for path in files if _is_index(path)]
    if any((folder / path).exists() for path in files if re.search(r"-of-\d{5}", path.name)):
        for path in indices:  # from here until the new one comes there is no checkpoint, rather than a mixture of two
            (folder / path).unlink(missing_ok=True)
    for path in files:
        if path.name == "config.json":
            _remove_replaced(folder, files, replaces)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(written / path, folder / path)
    _remove_replaced(folder, files, replaces)


def _last_ones_last(path: Path) -> tuple[bool, bool, Path]:
    return path.name == "config.json", _is_index(path), path  # config.json is what makes a folder a checkpoint


def _is_index(path: Path) -> bool:
    return ".safetensors.index" in path.name


def _remove_replaced(folder: Path, files: list[Path], replaces: Callable[[str], bool] | None) -> None:
    if replaces is None or not any(replaces(path.name) for path in files):
        return
    for path in folder.iterdir():
        if path.is_file() and replaces(path.name) and path.relative_to(folder) not in files:
            path.unlink()
