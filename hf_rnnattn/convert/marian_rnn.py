"""Marian's recurrent models: s2s, amun and nematus, with GRUs and LSTMs, deep and layer-normalised."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..model.modeling_rnnattn import RnnAttnForConditionalGeneration
from ..model.written_tokens import FORBIDDEN
from .marian import generation_config
from .marian_checkpoint import MarianCheckpoint
from .marian_names import DECODER_TABLE, ENCODER_TABLE, SHARED
from .marian_old_names import with_new_names
from .marian_rnn_names import LAYERS, READ, Cell, attention, cell, dense, filled, matrix, rows
from .marian_rnn_options import EPSILON, RnnOptions, read_rnn_options
from .weight_table import Weight, model_from_table

STATE, FIRST_CELL = "decoder_ff_state", "decoder_cell1_U"
HIDDEN, OUTPUT = "decoder_ff_logit_l1", "decoder_ff_logit_l2"


def model_from_marian_rnn(
    checkpoint: MarianCheckpoint, *, eos_token_id: int = 0, unk_token_id: int = 1
) -> RnnAttnForConditionalGeneration:
    """The model that computes what Marian computes with the weights of a recurrent model.

    As with students, a token is added past the last of either side that stands for Marian's vector of zeros, with
    which a target starts, and for padding. Layers of the decoder start from the same projection in Marian; here each
    has a copy, which fine-tuning may tell apart.

    Args:
        checkpoint: as ``read_marian`` returns it.
        eos_token_id, unk_token_id: of the target's vocabulary. As in Marian, the unknown token is never written.

    Returns:
        The model in evaluation mode. Its generation config decodes as students do, see ``model_from_marian``.

    Raises:
        ValueError: an option has no counterpart here; a weight is missing, left over or of another shape.
    """
    checkpoint = with_new_names(checkpoint)
    options = read_rnn_options(checkpoint.options, checkpoint.source)
    names = (SHARED, SHARED) if SHARED in checkpoint.tensors else (ENCODER_TABLE, DECODER_TABLE)
    tables = [_weight(checkpoint, name) for name in names]
    start = max(map(len, tables))
    for name, token in (("eos_token_id", eos_token_id), ("unk_token_id", unk_token_id)):
        if not 0 <= token < len(tables[1]):
            raise ValueError(f"{name} must be in [0, {len(tables[1])}), got {token}")
    output = _output(checkpoint)
    fields = _fields(options, checkpoint, tied=output is None, start=start, eos_token_id=eos_token_id)
    fields["written_vocab_size"] = len(tables[1])
    table = list(_weights(options, checkpoint, output, size=start + 1))
    tensors = {name: torch.from_numpy(values.copy()) for name, values in checkpoint.tensors.items()}
    tensors.setdefault(f"{OUTPUT}_b", torch.zeros(1, len(tables[1])))  # output-omit-bias
    model = model_from_table(fields, table, tensors, checkpoint.source)
    model.generation_config = generation_config(model.config, unk_token_id)
    return model


def _weight(checkpoint: MarianCheckpoint, name: str) -> np.ndarray[Any, Any]:
    values = checkpoint.tensors.get(name)
    if values is None or values.ndim != 2:
        got = "none" if values is None else f"shape {values.shape}"
        raise ValueError(f"{name} in {checkpoint.source} must be there and have 2 dimensions, got {got}")
    return values


def _output(checkpoint: MarianCheckpoint) -> str | None:
    """The name of the output matrix, if it is not the table of embeddings."""
    for name in (f"{OUTPUT}_Wt", f"{OUTPUT}_W"):
        if name in checkpoint.tensors:
            return name
    tied = checkpoint.options.get("tied-embeddings") or checkpoint.options.get("tied-embeddings-all")
    if not tied:
        raise ValueError(f"{checkpoint.source} has no {OUTPUT}_Wt, and its embeddings are not tied to the output")
    return None


def _fields(
    options: RnnOptions, checkpoint: MarianCheckpoint, *, tied: bool, start: int, eos_token_id: int
) -> dict[str, Any]:
    width, states = _weight(checkpoint, FIRST_CELL).shape[0], options.decoder_depth - 1
    shared = SHARED in checkpoint.tensors
    embedding_size = _weight(checkpoint, SHARED if shared else DECODER_TABLE).shape[1]
    for key, found in (("dim-rnn", width), ("dim-emb", embedding_size)):
        if checkpoint.options.get(key, found) != found:
            raise ValueError(
                f"{key} is {checkpoint.options[key]!r} in {checkpoint.source}, but its weights say {found}"
            )
    ways = ["both_swapped" if options.alternating and i % 2 else "both" for i in range(options.encoder_depth)]
    return {
        "vocab_size": start + 1,
        "encoder_vocab_size": start + 1,
        "hidden_size": width,
        "encoder_hidden_size": 2 * width,
        "embedding_size": embedding_size,
        "encoder_mixers": [options.encoder_cell] * options.encoder_depth,
        "encoder_directions": ways,
        "encoder_merge": "separate",
        "encoder_cell_depths": options.encoder_cells,
        "decoder_mixers": [f"conditional_{options.decoder_cell}", *[options.decoder_cell] * states],
        "decoder_cell_depths": [options.base_cells, *[options.high_cells] * states],
        "cell_norm": options.norm,
        "layer_norm_eps": EPSILON[options.norm],
        "cross_attention": "none",
        "attention_size": 2 * width,
        "decoder_init": "mean",
        "decoder_init_cell": True,
        "readout": "deep",
        "norm_position": "none",
        "residual": options.skip,
        "residual_start": 1,
        "encoder_ffn_dim": 0,
        "decoder_ffn_dim": 0,
        "encoder_position_embedding": "none",
        "decoder_position_embedding": "none",
        "type_vocab_size": 0,
        "embedding_norm": False,
        "share_encoder_decoder_embeddings": shared,
        "tie_word_embeddings": tied,
        "output_bias": True,
        "pad_token_id": start,
        "bos_token_id": start,
        "eos_token_id": eos_token_id,
        "decoder_start_token_id": start,
    }


def _weights(options: RnnOptions, checkpoint: MarianCheckpoint, output: str | None, *, size: int) -> Iterator[Weight]:
    shared = SHARED in checkpoint.tensors
    table = "model.{}.embeddings.word_embeddings.weight"
    yield Weight(table.format("decoder"), (SHARED if shared else DECODER_TABLE,), rows(size))
    if not shared:
        yield Weight(table.format("encoder"), (ENCODER_TABLE,), rows(size))
    for i in range(options.encoder_depth):
        yield from _encoder_layer(options, i)
    yield from _first_layer(options)
    for i in range(1, options.decoder_depth):
        yield from _higher_layer(options, i)
    for i in range(options.decoder_depth):
        start = f"model.decoder.layers.{i}.initial_states.0"
        linear = start if options.norm == "none" else f"{start}.0"
        yield from dense(linear, f"{start}.1", STATE, "", options.norm)
    for i in range(len(READ)):
        readout = "model.decoder.readout"
        yield from dense(f"{readout}.projections.{i}", f"{readout}.norms.{i}", HIDDEN, str(i), options.norm)
    if output is not None:
        turned = output.endswith("_W")
        yield Weight("lm_head.weight", (output,), (lambda old: rows(size)(matrix(old))) if turned else rows(size))
    yield Weight("lm_head.bias", (f"{OUTPUT}_b",), filled(size, FORBIDDEN))


def _encoder_layer(options: RnnOptions, i: int) -> Iterator[Weight]:
    """Marian's stack ``bi`` reads forward in layer 0, ``bi_r`` backward; alternating stacks swap in every other."""
    swapped = options.alternating and i % 2
    for ours, theirs in (("forward_cell", "_r" if swapped else ""), ("backward_cell", "" if swapped else "_r")):
        target = f"{LAYERS.format(side='encoder', layer=i)}.{ours}"
        for j in range(options.encoder_cells):
            number = (f"_l{i + 1}" if i else "") + (f"_cell{j + 1}" if i or j else "")
            of = Cell(
                f"encoder_bi{theirs}{number}",
                options.encoder_cell,
                options.norm,
                reads=j == 0,
                final=False,
                encoder=True,
            )
            yield from cell(f"{target}.transitions.{j - 1}" if j else target, of)


def _first_layer(options: RnnOptions) -> Iterator[Weight]:
    target = LAYERS.format(side="decoder", layer=0)
    yield from attention(f"{target}.score", "decoder", options.norm)
    for j in range(options.base_cells):
        of = Cell(f"decoder_cell{j + 1}", options.decoder_cell, options.norm, reads=j < 2, final=j > 0, encoder=False)
        yield from cell(f"{target}.transitions.{j - 1}" if j else target, of)


def _higher_layer(options: RnnOptions, i: int) -> Iterator[Weight]:
    target = LAYERS.format(side="decoder", layer=i)
    for j in range(options.high_cells):
        name = f"decoder_l{i + 1}_cell{j + 1}"
        of = Cell(name, options.decoder_cell, options.norm, reads=j == 0, final=False, encoder=False)
        yield from cell(f"{target}.transitions.{j - 1}" if j else target, of)
