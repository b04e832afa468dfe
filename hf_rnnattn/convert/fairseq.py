"""The LSTM models of fairseq: an encoder, and Luong's decoder with attention and input feeding."""

from collections.abc import Iterator
from os import PathLike
from typing import Any

from torch import Tensor
from transformers import GenerationConfig

from ..model.modeling_rnnattn import RnnAttnForConditionalGeneration
from .checkpoint_folder import write_checkpoint
from .fairseq_checkpoint import BOS, EOS, PAD, SPECIAL, UNK, FairseqCheckpoint, read_dictionary, read_fairseq
from .recurrent_table import (
    INITIAL_STATE,
    PLAIN,
    SOURCE_TABLE,
    STACK,
    TARGET_TABLE,
    decoder_fields,
    encoder_cells,
    encoder_fields,
    stack_cells,
    widened,
)
from .weight_table import Weight, linear, model_from_table
from .word_vocabulary import tokenizer_from_words

ENCODER_TABLE, DECODER_TABLE = "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"
OUTPUT, NARROW = "decoder.fc_out", "decoder.additional_fc"
READERS = {
    ENCODER_TABLE: ("encoder.lstm.weight_ih_l0", "encoder.lstm.weight_ih_l0_reverse"),
    DECODER_TABLE: ("decoder.layers.0.weight_ih",),
}
LONGEST = 200  # words of a target
BEAMS = 5


def convert_fairseq(
    model: str | PathLike[str],
    vocab: str | PathLike[str],
    target_vocab: str | PathLike[str] | None = None,
    *,
    output: str | PathLike[str],
) -> None:
    """Writes a checkpoint folder of an LSTM model of fairseq: model, generation config and tokenizer.

    All of it or nothing: what was in the folder stays as it was if something fails. Texts are split at white space, as
    fairseq splits them: what was done to them before (``moses``, subwords) is to be done here too.

    Args:
        model: ``checkpoint_best.pt``, ``checkpoint_last.pt``, …
        vocab: ``dict.*.txt`` of the source, or of both sides.
        target_vocab: that of the target, where it is another.
        output: the folder.

    Raises:
        OSError: a file is not there or damaged, or the folder cannot be written.
        ValueError: a file is not what it should be, or has no counterpart in this family.
    """
    checkpoint = read_fairseq(model)
    source = read_dictionary(vocab)
    target = source if target_vocab is None else read_dictionary(target_vocab)
    converted = model_from_fairseq(checkpoint)
    sides = ((ENCODER_TABLE, source, vocab), (DECODER_TABLE, target, target_vocab or vocab))
    for name, words, path in sides:
        rows = len(checkpoint.tensors[name])
        if rows != len(words):
            raise ValueError(f"{path} has {len(words)} words, {name} in {checkpoint.source} has {rows} rows")
    tokenizer = tokenizer_from_words(
        source,
        None if target == source else target,
        pad=PAD,
        bos=BOS,
        eos=EOS,
        unk=UNK,
        source_ends_with_eos=True,
    )
    write_checkpoint(converted, tokenizer, output)


def model_from_fairseq(checkpoint: FairseqCheckpoint) -> RnnAttnForConditionalGeneration:
    """The model that computes what fairseq computes with a checkpoint's weights.

    The projections from the encoder's states to the decoder's, which fairseq has once for all layers, are here one a
    layer, with the same weights. Embeddings that are narrower on one side are filled up with zeros, and so are the
    columns that read them: training leaves both at zero. Where an output matrix of its own follows ``additional_fc``,
    the product of the two is the output matrix: nothing stands between them.

    Returns:
        The model in evaluation mode. Its generation config decodes as ``fairseq-generate`` does: 5 beams, scores
        divided by the length, at least one word and at most 200.

    Raises:
        ValueError: an option has no counterpart here or contradicts the weights; a weight is missing, left over, not
            finite, or of another shape.
    """
    fields, table = _architecture(checkpoint)
    widths = [checkpoint.tensors[table].shape[1] for table in READERS]
    tensors = widened(checkpoint.tensors, READERS, widths, checkpoint.source)
    if fields["share_encoder_decoder_embeddings"]:
        tensors.pop(ENCODER_TABLE)
    model = model_from_table(fields, table, tensors, checkpoint.source)
    model.generation_config = GenerationConfig(
        num_beams=BEAMS,
        early_stopping=True,
        length_penalty=1.0,
        min_new_tokens=1,
        max_new_tokens=LONGEST + 1,
        forced_eos_token_id=model.config.eos_token_id,
        suppress_tokens=[model.config.pad_token_id],
        pad_token_id=model.config.pad_token_id,
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
    )
    return model


def _architecture(checkpoint: FairseqCheckpoint) -> tuple[dict[str, Any], list[Weight]]:
    """Config fields, and the table of weights. Widths and depths are those of the weights; the options must agree."""
    options, tensors = checkpoint.options, checkpoint.tensors
    _check_kind(checkpoint)
    layers = _depth(checkpoint)
    both = "encoder.lstm.weight_ih_l0_reverse" in tensors
    sizes = {
        "encoder_embed_dim": _matrix(checkpoint, ENCODER_TABLE).shape[1],
        "decoder_embed_dim": _matrix(checkpoint, DECODER_TABLE).shape[1],
        "encoder_hidden_size": _matrix(checkpoint, "encoder.lstm.weight_hh_l0").shape[1],
        "decoder_hidden_size": _matrix(checkpoint, "decoder.layers.0.weight_hh").shape[1],
    }
    found = sizes | {"encoder_layers": layers, "decoder_layers": layers, "encoder_bidirectional": both}
    for key, value in found.items():
        if options.get(key, value) != value:
            raise ValueError(f"{key} is {options[key]!r} in {checkpoint.source}, but its weights say {value}")
    shared = bool(options.get("share_all_embeddings", False))
    if shared and not tensors[ENCODER_TABLE].equal(tensors[DECODER_TABLE]):
        raise ValueError(f"share_all_embeddings is set in {checkpoint.source}, but its two tables differ")
    tied = f"{OUTPUT}.weight" not in tensors
    width = max(sizes["encoder_embed_dim"], sizes["decoder_embed_dim"])
    if tied and sizes["decoder_embed_dim"] < width:
        raise ValueError(
            f"{checkpoint.source} has embeddings of width {width} in the encoder and {sizes['decoder_embed_dim']} in "
            "the decoder, whose table is also its output: here both sides have one width"
        )
    memory = sizes["encoder_hidden_size"] * (2 if both else 1)
    fields = {
        "vocab_size": len(tensors[DECODER_TABLE]),
        "encoder_vocab_size": len(tensors[ENCODER_TABLE]),
        "embedding_size": width,
        **PLAIN,
        **encoder_fields("lstm", layers, memory, bidirectional=both),
        **decoder_fields("lstm", layers, sizes["decoder_hidden_size"], score="general", input_feeding=True),
        "decoder_init": "encoder_state",
        "share_encoder_decoder_embeddings": shared,
        "tie_word_embeddings": tied,
        "output_bias": not tied,
        "bos_token_id": SPECIAL.index(BOS),
        "pad_token_id": SPECIAL.index(PAD),
        "eos_token_id": SPECIAL.index(EOS),
        "decoder_start_token_id": SPECIAL.index(EOS),
    }
    projected = memory != sizes["decoder_hidden_size"]
    table = [*encoder_cells(layers, bidirectional=both, source="encoder.lstm."), *_decoder(layers, projected)]
    table += _embeddings(f"{NARROW}.weight" in tensors, shared=shared, tied=tied)
    return fields, table


def _check_kind(checkpoint: FairseqCheckpoint) -> None:
    options = checkpoint.options
    kind = options.get("arch", options.get("_name"))
    if not isinstance(kind, str) or not kind.startswith("lstm") or kind.startswith("lstm_lm"):
        raise ValueError(f"arch is {kind!r} in {checkpoint.source}, must be lstm or one of its kind (lstm_luong_…)")
    if options.get("criterion") == "adaptive_loss":
        raise ValueError(f"criterion is 'adaptive_loss' in {checkpoint.source}: an adaptive softmax is not read")
    if "decoder.attention.input_proj.weight" not in checkpoint.tensors:
        raise ValueError(
            f"decoder_attention is off in {checkpoint.source}: a decoder that is fed its own output without having "
            "read the encoder has no counterpart here"
        )


def _depth(checkpoint: FairseqCheckpoint) -> int:
    layers = 0
    while f"decoder.layers.{layers}.weight_hh" in checkpoint.tensors:
        layers += 1
    return layers


def _matrix(checkpoint: FairseqCheckpoint, name: str) -> Tensor:
    matrix = checkpoint.tensors.get(name)
    if matrix is None or matrix.ndim != 2:
        raise ValueError(f"{checkpoint.source} must have a matrix {name}")
    return matrix


def _decoder(layers: int, projected: bool) -> Iterator[Weight]:
    yield from stack_cells(layers, modules=True, source="decoder.")
    yield Weight(f"{STACK}.score.query_proj.weight", ("decoder.attention.input_proj.weight",))
    yield from linear(f"{STACK}.attentional_proj", "decoder.attention.output_proj", bias=False)
    if projected:
        for place in range(2 * layers):
            state = ("hidden", "cell")[place % 2]
            yield from linear(f"{INITIAL_STATE}.{place}", f"decoder.encoder_{state}_proj")


def _embeddings(narrow: bool, *, shared: bool, tied: bool) -> Iterator[Weight]:
    """The tables, and the output with what may stand before it."""
    yield Weight(TARGET_TABLE, (DECODER_TABLE,))
    if not shared:
        yield Weight(SOURCE_TABLE, (ENCODER_TABLE,))
    if tied:
        if narrow:
            yield from linear("readout", NARROW)
    elif narrow:
        yield Weight("lm_head.weight", (f"{OUTPUT}.weight", f"{NARROW}.weight"), _product)
        yield Weight("lm_head.bias", (f"{OUTPUT}.weight", f"{NARROW}.bias", f"{OUTPUT}.bias"), _product_plus)
    else:
        yield from linear("lm_head", OUTPUT)


def _product(outer: Tensor, inner: Tensor) -> Tensor:
    """Of two layers, one after the other; in float64, since float32 would round it twice."""
    return (outer.double() @ inner.double()).float()


def _product_plus(outer: Tensor, inner_bias: Tensor, outer_bias: Tensor) -> Tensor:
    return (outer.double() @ inner_bias.double() + outer_bias.double()).float()
