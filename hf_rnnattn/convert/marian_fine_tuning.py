"""Fine-tuning a student of Marian so that it stays one."""

from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from .marian_names import weights


def keep_exportable(model: Any) -> list[RemovableHandle]:
    """Lets gradients pass by what Marian has no place for, so that ``export_marian`` can write the model afterwards.

    That is the bias of the SSRU's candidate, zero in every converted student: without a gradient, optimisers leave it
    there. Call it before training; everything else is trained as before.

    Args:
        model: an ``RnnAttnForConditionalGeneration`` of the form that ``model_from_marian`` makes.

    Returns:
        The hooks; ``remove()`` of each ends it.

    Raises:
        AttributeError: the model has not the weights of a student.
    """
    config = model.config
    table = weights(
        config.encoder_layers,
        range(1, config.decoder_layers + 1),
        shared=config.share_encoder_decoder_embeddings,
        output_bias=True,
    )
    held = [weight for weight in table if None in weight.sources]
    return [model.get_parameter(weight.target).register_hook(_without(weight.sources)) for weight in held]


def _without(sources: tuple[str | None, ...]) -> Any:
    """A hook for the gradient of what is stacked from ``sources``: zero where Marian has none."""

    def hook(gradient: Tensor) -> Tensor:
        kept = gradient.clone()
        for part, name in zip(kept.chunk(len(sources)), sources, strict=True):
            if name is None:
                part.zero_()
        return kept

    return hook
