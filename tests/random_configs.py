"""Random valid configs, for tests of what holds for every one of them."""

from typing import Any

from hypothesis import strategies as st

from hf_rnnattn.model.attention_scores import SCORES
from hf_rnnattn.model.config_checks import CHOICES
from hf_rnnattn.model.context_vector import reading_layers
from hf_rnnattn.model.mixer_directions import DIRECTIONS
from hf_rnnattn.model.mixers import MIXERS
from model_zoo import DECODER_MIXERS, ENCODER_MIXERS, MEMORY_READERS


def entries(names: list[str]) -> st.SearchStrategy[str]:
    """A layer's entry: one mixer, or several of which at most one keeps keys, and at most one reads the encoder."""

    def joins(parts: list[str]) -> bool:
        readers = [name for name in parts if name in MEMORY_READERS]
        return sum(MIXERS[name].keeps_keys for name in parts) <= 1 and len(readers) <= 1

    return st.lists(st.sampled_from(names), min_size=1, max_size=3).filter(joins).map("+".join)


def reconcile(fields: dict[str, Any]) -> None:
    """Changes what would contradict itself: how the encoder is read, and the states that are taken from it."""
    readers = [name for entry in fields["decoder_mixers"] for name in entry.split("+") if name in MEMORY_READERS]
    if any(name in entry for entry in fields["encoder_mixers"] for name in ("fused", "rglru")):
        fields["encoder_attention_heads"] = 1  # which divides whatever half a width is
    one_width = fields["encoder_hidden_size"] in (None, fields["hidden_size"])
    if any(name.startswith("luong") for name in readers) and fields["cross_attention"] not in SCORES:
        fields["cross_attention"] = "additive"
    if fields["cross_attention"] == "dot" and not one_width:
        fields["cross_attention"] = "general"
    if readers:
        fields["hard_attention"] = "none"
    if fields["hard_attention"] != "none":
        fields["copy_from_source"] = fields["feed_context"] = False
        fields["context_vector"] = "none"
        if fields["cross_attention"] not in SCORES:
            fields["cross_attention"] = "additive"
    if fields["encoder_pooling"] != "none":
        fields["type_vocab_size"] = fields["type_vocab_size"] or 1
        fields["copy_from_source"] = False
    if fields["copy_from_source"]:
        fields["cross_attention"] = "additive"
        fields["encoder_vocab_size"] = None
        fields["share_encoder_decoder_embeddings"] = True
    if "rnmt_lstm" in readers:
        fields["attention_size"] = 4  # which any number of heads divides
    reconcile_context(fields)
    if fields["source_order"] == "doubled":
        fields["encoder_directions"] = ["forward"] * len(fields["encoder_mixers"])
    if fields["decoder_init"] == "encoder_state":
        fields["encoder_merge"] = "concat"
        fields["encoder_mixers"] = ["gru"] * len(fields["encoder_mixers"])
        fields["decoder_mixers"] = ["elman"] * len(fields["encoder_mixers"])
        fields["context_vector"], fields["feed_context"], fields["readout"] = "none", False, "hidden"
        if not fields["decoder_mixers"]:
            fields["decoder_init"], fields["decoder_mixers"] = "zeros", ["elman"]


def reconcile_context(fields: dict[str, Any]) -> None:
    """Changes what would read a context where there is none, and a context vector that nothing reads."""
    reading = reading_layers(fields["decoder_mixers"], fields["cross_attention"])
    if fields["context_vector"] == "none":
        fields["feed_context"] &= any(i < len(fields["decoder_mixers"]) - 1 for i in reading)
        fields["decoder_init"] = "last" if fields["decoder_init"] == "context" else fields["decoder_init"]
    elif fields["decoder_init"] != "context":
        fields["feed_context"] = True
    if fields["context_vector"] == "none" and not reading:
        fields["readout"] = "hidden"


@st.composite
def valid_fields(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of a random small config."""
    fields: dict[str, Any] = {
        "encoder_mixers": draw(st.lists(entries(ENCODER_MIXERS), max_size=2)),
        "decoder_mixers": draw(st.lists(entries(DECODER_MIXERS), min_size=1, max_size=2)),
        "hidden_size": draw(st.sampled_from([4, 8, 12])),
        "encoder_hidden_size": draw(st.sampled_from([None, 8, 12])),
        "embedding_size": draw(st.sampled_from([None, 6, 8])),
        "vocab_size": draw(st.integers(5, 12)),
        "encoder_vocab_size": draw(st.sampled_from([None, 7, 12])),
        "encoder_attention_heads": draw(st.sampled_from([1, 2, 4])),
        "decoder_attention_heads": draw(st.sampled_from([1, 2, 4])),
        "encoder_ffn_dim": draw(st.sampled_from([0, 5])),
        "decoder_ffn_dim": draw(st.sampled_from([0, 5])),
        "attention_size": draw(st.sampled_from([None, 1, 3])),
        "attention_window": draw(st.integers(1, 4)),
        "memory_slots": draw(st.sampled_from([1, 2, 5])),
        "memory_slot_size": draw(st.integers(1, 3)),
        "memory_heads": draw(st.integers(1, 2)),
        "type_vocab_size": draw(st.integers(0, 2)),
        "activation_function": draw(st.sampled_from(["gelu", "relu", "tanh"])),
        "dropout": draw(st.sampled_from([0, 0.0, 0.3])),
        "pad_token_id": draw(st.sampled_from([None, 0, 2])),
        "eos_token_id": draw(st.sampled_from([None, 2, [2, 3]])),
        "max_position_embeddings": draw(st.integers(8, 12)),
    }
    for name, choices in CHOICES.items():
        fields[name] = draw(st.sampled_from(choices))
    flags = ["residual", "embedding_norm", "scale_embedding", "tie_word_embeddings", "output_bias", "use_cache"]
    for name in (*flags, "input_feeding", "decoder_init_cell", "feed_context", "copy_from_source"):
        fields[name] = draw(st.booleans())
    for side in ("encoder", "decoder"):
        fields[f"{side}_cell_depths"] = draw(st.sampled_from([None, 2, 3]))
    fields["residual_start"] = draw(st.integers(0, 2))
    fields["attention_hops"] = draw(st.integers(1, 3))
    layers = len(fields["encoder_mixers"])
    ways = st.sampled_from(DIRECTIONS)
    fields["encoder_directions"] = draw(st.lists(ways, min_size=layers, max_size=layers))
    if not layers:
        fields["encoder_hidden_size"] = fields["embedding_size"] or fields["hidden_size"]
    sizes = {fields["encoder_vocab_size"] or fields["vocab_size"], fields["vocab_size"]}
    fields["share_encoder_decoder_embeddings"] = draw(
        st.sampled_from([None, False, *([True] if len(sizes) == 1 else [])])
    )
    reconcile(fields)
    return fields
