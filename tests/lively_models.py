"""Small float64 models whose outputs vary: freshly initialised ones repeat a token, and would hide what goes wrong."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.model.mixers import keeps_keys
from model_zoo import DECODER_MIXERS, batch, build, tiny_config

EXACT = {"rtol": 0.0, "atol": 1e-12}
VOCABULARY = 13

# name -> what is special about the decoder: every mixer, mixtures, and every way of reading the encoder.
DECODERS: dict[str, dict[str, Any]] = {
    **{name: {"decoder_mixers": [name, name]} for name in DECODER_MIXERS},
    "mixed": {"decoder_mixers": ["gru", "full_attention", "ssru", "bahdanau_gru"]},
    "attention_first": {"decoder_mixers": ["full_attention", "lstm"]},
    "gru+full_attention": {"decoder_mixers": ["gru+full_attention", "lstm"]},
    "full_attention+ssru": {"decoder_mixers": ["full_attention+ssru", "full_attention"]},
    "ssru+elman": {"decoder_mixers": ["ssru+elman", "mingru+lstm+gru"]},
    "bahdanau_gru+full_attention": {"decoder_mixers": ["bahdanau_gru+full_attention"]},
    "additive": {"decoder_mixers": ["lstm", "full_attention"], "cross_attention": "additive"},
    "copying": {
        "decoder_mixers": ["gru", "full_attention"],
        "cross_attention": "general",
        "copy_from_source": True,
    },
    **{
        f"hard_{kind}": {"decoder_mixers": ["gru", "ssru"], "cross_attention": "general", "hard_attention": kind}
        for kind in ("reinforce", "marginal")
    },
    "hops": {"decoder_mixers": ["gru", "full_attention"], "cross_attention": "hops", "attention_hops": 2},
    "init_mean": {"decoder_mixers": ["lstm", "ssru+full_attention"], "decoder_init": "mean"},
    "init_last": {"decoder_mixers": ["bahdanau_gru", "gru+elman"], "decoder_init": "last"},
    "positions": {
        "decoder_mixers": ["ssru", "full_attention"],
        "decoder_position_embedding": "learned",
        "max_position_embeddings": 256,
    },
    "widths": {
        "decoder_mixers": ["mingru", "lstm"],
        "embedding_size": 10,
        "encoder_hidden_size": 12,
        "decoder_init": "mean",
    },
    "luong_stack": {
        "encoder_mixers": ["lstm", "lstm"],
        "decoder_mixers": ["luong_lstm"],
        "decoder_cell_depths": 2,
        "decoder_init": "encoder_state",
    },
    "context_fed": {
        "decoder_mixers": ["gru+full_attention", "lstm"],
        "cross_attention": "none",
        "context_vector": "sum",
        "decoder_init": "context",
        "feed_context": True,
    },
    "reading_fed": {"decoder_mixers": ["bahdanau_gru", "lstm"], "feed_context": True, "readout": "concat"},
    "source_reversed": {
        "encoder_mixers": ["lstm"],
        "decoder_mixers": ["lstm"],
        "source_order": "reversed",
        "decoder_init": "encoder_state",
    },
    "source_doubled": {"decoder_mixers": ["gru"], "source_order": "doubled", "cross_attention": "general"},
    "deep_readout": {
        "decoder_mixers": ["conditional_gru", "lstm"],
        "decoder_cell_depths": [3, 2],
        "cell_norm": "layer_norm",
        "cross_attention": "none",
        "decoder_init": "mean",
        "decoder_init_cell": True,
        "readout": "deep",
        "embedding_size": 10,
    },
}
SEEDS = {"conditional_lstm": 1}  # of which the usual seed makes a model that is too sure for draws to vary
RECURRENT_DECODERS = [name for name in DECODERS if not any(map(keeps_keys, DECODERS[name]["decoder_mixers"]))]


@cache
def lively_model(name: str, eos: int | None = None, attention: str | None = None) -> RnnAttnForConditionalGeneration:
    """The float64 model of ``DECODERS[name]`` in evaluation mode; shared between tests, which leave it as it is.

    ``eos`` is the id that ends a sequence; without one every sequence has the length asked for.
    """
    return make_lively(SEEDS.get(name, 0), eos_token_id=eos, attn_implementation=attention, **DECODERS[name])


def make_lively(seed: int = 0, **overrides: Any) -> RnnAttnForConditionalGeneration:
    """A float64 model of its own with large weights, whose output layer favours another token than the last one."""
    fields = {"vocab_size": VOCABULARY, "hidden_size": 12, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12}
    fields |= {"encoder_mixers": ["gru+full_attention"], "attention_size": 6}
    fields |= {"tie_word_embeddings": False, "output_bias": True}
    model = build(tiny_config(**{**fields, **overrides}), seed).double()
    generator = torch.Generator().manual_seed(seed)
    enlarge(model, generator)
    source, target = (torch.randint(0, model.config.vocab_size, (96, 12), generator=generator) for _ in range(2))
    fit_output(model, target, input_ids=source, decoder_input_ids=target)
    return model


@torch.no_grad()
def enlarge(model: Any, generator: torch.Generator) -> None:
    """Adds noise to all weights."""
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.add_(noise * (0.7 / parameter.shape[1] ** 0.5 if parameter.dim() > 1 else 0.3))


@torch.no_grad()
def fit_output(model: Any, target: Tensor, **inputs: Any) -> None:
    """Fits the output layer to name the successor of the last token and, fainter, another of the one before it.

    ``target`` (N, T) is what the decoder reads when it is given ``inputs``.
    """
    size = model.config.vocab_size
    hidden = model.model(**inputs).last_hidden_state[:, 1:]  # (N, T - 1, D)
    design = torch.cat([hidden, torch.ones_like(hidden[..., :1])], dim=-1).flatten(0, 1)
    wanted = torch.eye(size).double()
    last, earlier = target[:, 1:], target[:, :-1]
    wish = wanted[(last + 1) % size] + 0.7 * wanted[(earlier + 5) % size] - wanted[last]
    # on the CPU: what solves this on GPUs wants more than these outputs, of which some depend on others
    fitted = torch.linalg.lstsq(design.cpu(), wish.flatten(0, 1).cpu()).solution.T  # (V, D + 1)
    model.lm_head.weight.copy_(10 * fitted[:, :-1])
    model.lm_head.bias.copy_(10 * fitted[:, -1])


def sources(model: RnnAttnForConditionalGeneration, rows: int = 3) -> dict[str, Tensor]:
    """Random sources with padding on the right, in the middle and on the left."""
    whole = batch(model.config, rows=rows)
    return {key: whole[key] for key in ("input_ids", "attention_mask")}


def targets(model: RnnAttnForConditionalGeneration, rows: int = 3, length: int = 6) -> Tensor:
    """Random target ids (rows, length)."""
    generator = torch.Generator().manual_seed(7)
    return torch.randint(3, model.config.vocab_size, (rows, length), generator=generator)


@torch.no_grad()
def run(model: RnnAttnForConditionalGeneration, **inputs: Any) -> Any:
    """A forward pass without gradients."""
    return model(**inputs)


def generate(model: RnnAttnForConditionalGeneration, max_new_tokens: int = 8, **inputs: Any) -> Any:
    """``generate``, greedy unless something else is asked for."""
    return model.generate(max_new_tokens=max_new_tokens, **{"do_sample": False, **inputs})


def greedy_by_hand(model: RnnAttnForConditionalGeneration, prompt: Tensor, steps: int, **inputs: Any) -> Tensor:
    """Greedy decoding in the plainest way: the whole target again at every step, without a cache."""
    ids = prompt
    for _ in range(steps):
        logits = run(model, decoder_input_ids=ids, use_cache=False, **inputs).logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    return ids


def assert_varied(ids: Tensor, least: int = 4) -> None:
    """What was generated must not be one token over and over, or it proves nothing."""
    assert len(ids[:, 1:].unique()) >= least, f"only {len(ids[:, 1:].unique())} different tokens in {ids.tolist()}"


def start(model: RnnAttnForConditionalGeneration, rows: int) -> Tensor:
    """The target of every row before anything was generated (rows, 1)."""
    return torch.full((rows, 1), model.config.decoder_start_token_id)
