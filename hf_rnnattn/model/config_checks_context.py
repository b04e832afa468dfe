"""What a valid config says of the context and of the order of the source: see ``config_checks``."""

from typing import Any

from .context_vector import reading_layers
from .initial_state import encoder_ends


def check_context(fields: dict[str, Any]) -> None:
    """What reads a context must find one, and a context vector must be read."""
    vector, start, readout = (fields[name] for name in ("context_vector", "decoder_init", "readout"))
    reading = reading_layers(fields["decoder_mixers"], fields["cross_attention"])
    if readout != "hidden" and not reading and vector == "none":
        raise ValueError(
            f"readout {readout!r} needs what the decoder reads of the encoder, but cross_attention and context_vector "
            "are 'none'"
        )
    if start == "context" and vector == "none":
        raise ValueError("decoder_init 'context' needs a context_vector, got 'none'")
    if fields["feed_context"] and vector == "none" and not [i for i in reading if i < fields["decoder_layers"] - 1]:
        raise ValueError(
            "feed_context needs a context_vector, or a layer below the last that reads the encoder, got "
            f"context_vector 'none' and decoder_mixers {fields['decoder_mixers']}"
        )
    if vector != "none" and not (
        start == "context" or fields["feed_context"] or (readout != "hidden" and not reading)
    ):
        raise ValueError(
            f"context_vector {vector!r} is read by nothing: decoder_init must be 'context', feed_context True, or "
            "cross_attention 'none' with a readout of it"
        )


def check_source_order(config: Any) -> None:
    """Where the source is read twice, the output is that of the second reading, in which backward cells began."""
    if config.source_order != "doubled" or encoder_ends(config) == "last":
        return
    users = {
        "decoder_init": ("last", "last_linear"),
        "context_vector": ("last", "linear"),
        "classifier_pooling": ("last",),
    }
    for name, values in users.items():
        if getattr(config, name) in values:
            raise ValueError(
                f"{name} {getattr(config, name)!r} needs the output where the encoder ended, which source_order "
                f"'doubled' gives of 'forward' layers only, got encoder_directions {config.encoder_directions}"
            )
