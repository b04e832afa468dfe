"""Where an interrupted run goes on: its last checkpoint that was written to the end."""

import json
import logging
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

logger = logging.getLogger(__name__)


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """The checkpoint of the highest step that can be resumed from, or None.

    A process may die while it saves. The trainer writes its state last, so a checkpoint without a readable one, or
    with weights cut short, is left out with a warning that names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return None
    steps = {}
    for path in folder.iterdir():
        match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", path.name)
        if match and path.is_dir():
            steps[int(match[1])] = path
    for _, path in sorted(steps.items(), reverse=True):
        fault = _fault(path)
        if fault is None:
            return str(path)
        logger.warning("skipping %s: %s", path, fault)
    return None


def _fault(checkpoint: Path) -> str | None:
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        state["global_step"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"its {TRAINER_STATE_NAME} is missing or not valid, so it was not written to the end"
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights:
        return "it has no weights"
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            return f"{file.name} cannot be read: {error}"
    return None
