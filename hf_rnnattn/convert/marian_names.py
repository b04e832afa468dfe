"""Which weight of Marian is which weight of this family: tables, read in both directions.

Marian stores matrices ``[in, out]`` and everything else ``[1, out]``; ours are torch's, ``[out, in]`` and ``[out]``.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Weight(NamedTuple):
    """One weight of ours and what it is made of.

    Args:
        target: our name.
        sources: Marian's names; several are stacked along the outputs, None stands for zeros (a bias that Marian was
            told to omit).
        form: ``matrix``, transposed; ``vector``; ``table``, with rows of zeros after Marian's; ``output_bias``, with
            entries after Marian's that no softmax chooses.
    """

    target: str
    sources: tuple[str | None, ...]
    form: str


ATTENTION = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "out_proj": "o"}
FEED_FORWARD = {"fc1": "1", "fc2": "2"}
SHARED, ENCODER_TABLE, DECODER_TABLE = "Wemb", "encoder_Wemb", "decoder_Wemb"
OUTPUT_BIAS = "decoder_ff_logit_out_b"
OUTPUT, OLD_OUTPUT = "decoder_ff_logit_out_Wt", "decoder_ff_logit_out_W"  # [V, d], and in old files [d, V]
# What counts the layers: every layer has one of these.
LAYER = r"{side}_l(\d+)_ffn_W1"


def weights(
    encoder_layers: int, decoder_layers: Sequence[int], *, shared: bool, tied_output: bool, output_bias: bool
) -> list[Weight]:
    """Every weight of a student.

    Args:
        encoder_layers: how many.
        decoder_layers: for each layer, the number (from 1) of Marian's layer that it is made of.
        shared: whether one table serves both sides.
        tied_output: whether the target's table is also the output matrix.
        output_bias: whether Marian has a bias of the output.
    """
    found = [
        Weight("model.decoder.embeddings.word_embeddings.weight", (SHARED if shared else DECODER_TABLE,), "table"),
        Weight("lm_head.bias", (OUTPUT_BIAS if output_bias else None,), "output_bias"),
    ]
    if not shared:
        found.append(Weight("model.encoder.embeddings.word_embeddings.weight", (ENCODER_TABLE,), "table"))
    if not tied_output:
        found.append(Weight("lm_head.weight", (OUTPUT,), "table"))
    for i in range(encoder_layers):
        found += _encoder_layer(f"model.encoder.layers.{i}", f"encoder_l{i + 1}")
    for i, layer in enumerate(decoder_layers):
        found += _decoder_layer(f"model.decoder.layers.{i}", f"decoder_l{layer}")
    return found


def _encoder_layer(ours: str, theirs: str) -> Iterator[Weight]:
    yield from _attention(f"{ours}.mixers.0", f"{theirs}_self")
    yield from _norm(f"{ours}.mixer_connections.0", f"{theirs}_self_Wo")
    yield from _feed_forward(ours, theirs)


def _decoder_layer(ours: str, theirs: str) -> Iterator[Weight]:
    cell = f"{ours}.mixers.0"
    yield Weight(f"{cell}.input_to_gates.weight", (f"{theirs}_rnn_W", f"{theirs}_rnn_Wf"), "matrix")
    yield Weight(f"{cell}.gate_bias", (f"{theirs}_rnn_bf",), "vector")
    yield from _norm(f"{ours}.mixer_connections.0", f"{theirs}_rnn_ffn")
    yield from _attention(f"{ours}.cross_attention", f"{theirs}_context")
    yield from _norm(f"{ours}.cross_attention_connection", f"{theirs}_context_Wo")
    yield from _feed_forward(ours, theirs)


def _attention(ours: str, theirs: str) -> Iterator[Weight]:
    for layer, letter in ATTENTION.items():
        yield from _linear(f"{ours}.{layer}", theirs, letter)


def _feed_forward(ours: str, theirs: str) -> Iterator[Weight]:
    for layer, digit in FEED_FORWARD.items():
        yield from _linear(f"{ours}.feed_forward.{layer}", f"{theirs}_ffn", digit)
    yield from _norm(f"{ours}.feed_forward_connection", f"{theirs}_ffn_ffn")


def _linear(ours: str, theirs: str, suffix: str) -> Iterator[Weight]:
    yield Weight(f"{ours}.weight", (f"{theirs}_W{suffix}",), "matrix")
    yield Weight(f"{ours}.bias", (f"{theirs}_b{suffix}",), "vector")


def _norm(ours: str, theirs: str) -> Iterator[Weight]:
    yield Weight(f"{ours}.norm_after.weight", (f"{theirs}_ln_scale",), "vector")
    yield Weight(f"{ours}.norm_after.bias", (f"{theirs}_ln_bias",), "vector")
