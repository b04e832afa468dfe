"""Tiny sequence-to-sequence models with random weights, of transformers and ours, and a tokenizer for them."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration

VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz "]
PAD, BOS, EOS = 0, 1, 2
SPECIAL = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "decoder_start_token_id": BOS}


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token a letter, and ``</s>`` at the end."""
    backend = Tokenizer(models.WordLevel({c: i for i, c in enumerate(VOCABULARY)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _bart_like(config_class: type, **more: object) -> object:
    return config_class(
        vocab_size=len(VOCABULARY),
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=64,
        forced_eos_token_id=None,
        **SPECIAL,
        **more,
    )


def _ours(**fields: object) -> PreTrainedModel:
    sizes = {"vocab_size": len(VOCABULARY), "hidden_size": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    defaults = {"encoder_layers": 1, "decoder_layers": 2, "max_position_embeddings": 64}
    return RnnAttnForConditionalGeneration(RnnAttnConfig(**{**sizes, **heads, **defaults, **SPECIAL, **fields}))


FAMILIES = {
    "bart": lambda: BartForConditionalGeneration(_bart_like(BartConfig)),
    "marian": lambda: MarianMTModel(_bart_like(MarianConfig)),
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(vocab_size=len(VOCABULARY), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, **SPECIAL)
    ),
    "rnnattn": _ours,
    "rnnattn-additive": lambda: _ours(cross_attention="additive"),
    "rnnattn-mixed": lambda: _ours(decoder_mixers=["gru+full_attention", "lstm"]),
    "rnnattn-bahdanau": lambda: _ours(decoder_layers=1, decoder_mixers=["bahdanau_gru"]),
}


def tiny_model(family: str, **fields: object) -> PreTrainedModel:
    """A model whose weights are large enough for its outputs to depend on its inputs; our own takes config fields."""
    torch.manual_seed(0)
    model = FAMILIES[family](**fields).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn_like(parameter) * (2.0 / parameter.shape[1] ** 0.5))
    return model
