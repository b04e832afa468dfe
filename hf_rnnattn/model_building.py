"""The model of a training run: a trained one to go on with, or a new one that fits the tokenizer."""

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import hf_rnnattn
from hf_rnnattn.training_arguments import ModelArguments, parse_overrides, read_mapping


def build_model(
    arguments: ModelArguments, tokenizer: PreTrainedTokenizerBase, checkpoint: str | None = None
) -> PreTrainedModel:
    """The model to train.

    Args:
        arguments: which one.
        tokenizer: a new model takes its vocabulary sizes and special ids.
        checkpoint: of an interrupted run; its config stands above the arguments'.

    Raises:
        ValueError: the config is not valid, belongs to no encoder-decoder, or cannot serve the tokenizer.
    """
    options: dict[str, Any] = {"trust_remote_code": arguments.trust_remote_code}
    if arguments.attn_implementation:
        options["attn_implementation"] = arguments.attn_implementation
    trained = checkpoint or arguments.model_name_or_path
    if trained:
        revision = {} if checkpoint else {"revision": arguments.model_revision}
        model = AutoModelForSeq2SeqLM.from_pretrained(trained, **options, **revision)
    else:
        model = AutoModelForSeq2SeqLM.from_config(new_config(arguments, tokenizer), **options)
    _check_vocabularies(model.config, tokenizer)
    return model


def new_config(arguments: ModelArguments, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """The config of a new model: config_overrides over model_config over the tokenizer over config_name or defaults.

    Raises:
        ValueError: a field does not exist, a value is not valid, or the family is not known.
    """
    given: dict[str, Any] = {}
    if arguments.model_config:
        given.update(read_mapping(arguments.model_config))
    if arguments.config_overrides:
        given.update(parse_overrides(arguments.config_overrides))
    if arguments.config_name:
        base = AutoConfig.from_pretrained(
            arguments.config_name, trust_remote_code=arguments.trust_remote_code, revision=arguments.model_revision
        )
        config_class, inherited = type(base), _given_fields(base)
    else:
        config_class, inherited = type(_default_config(arguments.model_type)), {}
    default = config_class()
    unknown = sorted(name for name in given if not hasattr(default, name))
    if unknown:
        raise ValueError(f"{config_class.__name__} has no field {', '.join(unknown)}")
    # families differ in the vocabulary fields that they have
    vocabulary = vocabulary_fields(tokenizer)
    known = {name: value for name, value in vocabulary.items() if hasattr(default, name)}
    try:
        config = config_class(**{**inherited, **known, **given})
    except StrictDataclassError as error:  # it wraps what the config itself says, over several lines
        raise ValueError(f"{config_class.__name__}: {error.__cause__ or error}") from error
    if getattr(config, "decoder_start_token_id", None) is None:  # T5 has no such field, but its model asks for it
        config.decoder_start_token_id = vocabulary["decoder_start_token_id"]
    return config


def vocabulary_fields(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The config fields that the tokenizer decides."""
    if hasattr(tokenizer, "config_fields"):
        return tokenizer.config_fields()
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.pad_token_id
    return {
        "vocab_size": len(tokenizer),
        "encoder_vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": start,
    }


def position_limit(config: PreTrainedConfig, side: str) -> int | None:
    """Tokens that the encoder or the decoder has positions for; None where there is no table of them."""
    if getattr(config, f"{side}_position_embedding", "learned") != "learned":
        return None
    return getattr(config, "max_position_embeddings", None)


def needs_package(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether ``import hf_rnnattn`` must come before loading either of the two."""
    return any(type(part).__module__.startswith(hf_rnnattn.__name__) for part in (model, tokenizer))


def _default_config(model_type: str) -> PreTrainedConfig:
    try:
        return AutoConfig.for_model(model_type)
    except ValueError as error:
        raise ValueError(f"model_type {model_type!r} is no family of transformers or of this package") from error


def _given_fields(config: PreTrainedConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in ("model_type", "architectures")}


def _check_vocabularies(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    if not getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"model_type {config.model_type!r} is no encoder-decoder")
    needed = vocabulary_fields(tokenizer)
    target_size = getattr(config, "decoder_vocab_size", None) or config.vocab_size
    source_size = getattr(config, "encoder_vocab_size", None) or config.vocab_size
    for side, size, least in (
        ("source", source_size, needed["encoder_vocab_size"]),
        ("target", target_size, needed["vocab_size"]),
    ):
        if least > size:
            raise ValueError(f"the tokenizer has {least} {side} symbols, the model's table only {size} rows")
    if not hasattr(config, "encoder_vocab_size") and _has_two_vocabularies(tokenizer):
        raise ValueError(f"{config.model_type!r} has one vocabulary for both sides: pass --shared_vocabulary")


def _has_two_vocabularies(tokenizer: PreTrainedTokenizerBase) -> bool:
    return hasattr(tokenizer, "get_tgt_vocab") and tokenizer.get_tgt_vocab() != tokenizer.get_src_vocab()
