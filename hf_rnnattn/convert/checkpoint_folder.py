"""A converted model as a folder that from_pretrained loads: all of it, or nothing."""

from os import PathLike
from pathlib import Path
from typing import Any

from ..model.saving_rnnattn import replaced_at_once
from ..model.tokenization_rnnattn import TARGET_FILE


def write_checkpoint(model: Any, tokenizer: Any, output: str | PathLike[str]) -> None:
    """Writes model, generation config and tokenizer; what was in the folder stays as it was if something fails.

    Raises:
        OSError: the folder cannot be written, or is a file.
    """
    folder = Path(output)
    if folder.is_file():
        raise OSError(f"{folder} is a file, not a folder")
    with replaced_at_once(folder) as made:
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
    if not tokenizer.has_target_vocabulary:  # that of an earlier checkpoint would be loaded with this one
        (folder / TARGET_FILE).unlink(missing_ok=True)
