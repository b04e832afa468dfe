"""Pipelines that can travel with their code, as ``custom_pipelines`` of a checkpoint."""

import os
from contextlib import nullcontext
from typing import Any

from transformers import Pipeline

from .transformers_versions import registered_as, saves_its_code


class PortablePipeline(Pipeline):
    """Saves model and tokenizer and, if asked, the code of the pipeline.

    Attributes:
        auto_class: the auto class that loads the pipeline's models.
    """

    auto_class: Any

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, with_code: bool | None = None, **kwargs: Any
    ) -> None:
        """Save model and tokenizer, and with them, if asked, the code of this pipeline.

        Args:
            save_directory: made if it is not there.
            with_code: whether the folder shall carry this pipeline to machines without this package, where
                ``pipeline(task, model=folder, trust_remote_code=True)`` then works; that flag is then needed
                everywhere. None: as the model's own code is saved, or as this pipeline was loaded.
            **kwargs: go to the ``save_pretrained`` of model and tokenizer.
        """
        if with_code is None:
            loaded_with_code = type(self).__module__.startswith("transformers_modules.")
            with_code = loaded_with_code or saves_its_code(self.model)
        fields: dict[str, Any] = self.model.config.__dict__
        before = {name: fields.pop(name) for name in ("custom_pipelines",) if name in fields}
        as_custom = registered_as(self, self.task, self.auto_class) if with_code else nullcontext()
        try:
            with as_custom:
                super().save_pretrained(save_directory, **kwargs)
        finally:
            fields.pop("custom_pipelines", None)
            fields.update(before)
