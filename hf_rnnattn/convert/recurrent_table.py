"""What the recurrent models of JoeyNMT, OpenNMT-py, eole and fairseq share: config fields, names of cells, generation.

An encoder of plain GRUs or LSTMs in torch's layout, and a decoder whose attention stands above its stack of cells.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from ..model.configuration_rnnattn import RnnAttnConfig
from .toolkit_options import number
from .weight_table import Weight, cell

ENCODER = "model.encoder"
DECODER = "model.decoder"
STACK = f"{DECODER}.layers.0.mixers.0"
SOURCE_TABLE = f"{ENCODER}.embeddings.word_embeddings.weight"
TARGET_TABLE = f"{DECODER}.embeddings.word_embeddings.weight"
INITIAL_STATE = f"{DECODER}.layers.0.initial_states.0"
CELLS = {"gru": "luong_gru", "lstm": "luong_lstm"}
# Everything that the toolkits' recurrent layers do not have.
PLAIN: dict[str, Any] = {
    "encoder_merge": "concat",
    "encoder_ffn_dim": 0,
    "decoder_ffn_dim": 0,
    "norm_position": "none",
    "residual": False,
    "embedding_norm": False,
    "encoder_position_embedding": "none",
    "decoder_position_embedding": "none",
    "type_vocab_size": 0,
}


def encoder_fields(cell_type: str, layers: int, width: int, *, bidirectional: bool) -> dict[str, Any]:
    """Config fields of an encoder; ``width`` is that of its output, both directions together."""
    return {
        "encoder_mixers": [cell_type] * layers,
        "encoder_directions": "both" if bidirectional else "forward",
        "encoder_hidden_size": width,
    }


def decoder_fields(cell_type: str, layers: int, width: int, *, score: str, input_feeding: bool) -> dict[str, Any]:
    """Config fields of a decoder of one stack of cells."""
    return {
        "decoder_mixers": [CELLS[cell_type]],
        "decoder_cell_depths": [layers],
        "hidden_size": width,
        "cross_attention": score,
        "input_feeding": input_feeding,
    }


def encoder_cells(layers: int, *, bidirectional: bool, source: str = "encoder.rnn.") -> list[Weight]:
    """The cells of ``torch.nn.GRU`` or ``LSTM``."""
    directions = {"forward_cell": "", "backward_cell": "_reverse"}
    return [
        weight
        for i in range(layers)
        for name, ending in directions.items()
        if bidirectional or not ending
        for weight in cell(f"{ENCODER}.layers.{i}.mixers.0.{name}", source, f"_l{i}{ending}")
    ]


def stack_cells(layers: int, *, modules: bool, source: str = "decoder.rnn.") -> list[Weight]:
    """The cells of the decoder: those of ``torch.nn.GRU`` or ``LSTM``, or ``modules``, a list of single cells."""
    return [
        weight
        for k in range(layers)
        for weight in cell(
            f"{STACK}.cells.{k}", f"{source}layers.{k}." if modules else source, "" if modules else f"_l{k}"
        )
    ]


def embedding_sizes(
    options: Mapping[str, Any], keys: Sequence[str], default: int, source: str, *, one: str
) -> list[int]:
    """The widths of the embeddings of source and target. The family has the larger: see ``widened``.

    Args:
        keys: what the toolkit calls them.
        one: why they must be the same, or empty.

    Raises:
        ValueError: a width is no width, or they are not the same though they must.
    """
    sizes = [number(options, key, default, source) for key in keys]
    if one and sizes[0] != sizes[1]:
        got = ", ".join(f"{key} {size}" for key, size in zip(keys, sizes, strict=True))
        raise ValueError(f"both embeddings must have one width {one}, got {got} in {source}")
    return sizes


def widened(
    tensors: Mapping[str, Tensor], readers: Mapping[str, Sequence[str]], sizes: Sequence[int], source: str
) -> dict[str, Tensor]:
    """The weights with embeddings of one width: columns that are added, and those that read them, are zero.

    Training leaves both at zero, so they never count.

    Args:
        tensors: the weights, by the toolkit's names.
        readers: for the tables of source and target, the matrices whose first columns read them.
        sizes: the widths of the two tables.

    Raises:
        ValueError: a table has another width.
    """
    found, width = dict(tensors), max(sizes)
    for (table, names), old in zip(readers.items(), sizes, strict=True):
        if table in found and found[table].shape[1:] != (old,):
            raise ValueError(f"{table} in {source} must have width {old}, got shape {tuple(found[table].shape)}")
        for name in (table, *names):
            if old < width and name in found:
                read, rest = found[name].tensor_split([old], dim=-1)  # embeddings, and what is fed back
                added = read.new_zeros(*read.shape[:-1], width - old)
                found[name] = torch.cat([read, added, rest], dim=-1)
    return found


def query_last(matrix: Tensor) -> Tensor:
    """Columns ``[query; context]`` in our order, ``[context; query]``; the query is as wide as the result."""
    width = matrix.shape[0]
    return torch.cat([matrix[:, width:], matrix[:, :width]], dim=1)


def transposed(matrix: Tensor) -> Tensor:
    """What the memory is multiplied with, as what the query is multiplied with."""
    return matrix.T


def generation_config(config: RnnAttnConfig, **settings: Any) -> GenerationConfig:
    """Greedy search with these settings and the special ids of the model."""
    return GenerationConfig(
        num_beams=1,
        do_sample=False,
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        **settings,
    )
