"""From the files of a model of Marian to a checkpoint folder of this family."""

from os import PathLike

from .checkpoint_folder import write_checkpoint
from .marian import model_from_marian
from .marian_8bit import keep_8_bits
from .marian_checkpoint import MarianCheckpoint, read_marian
from .marian_export import table_of
from .marian_names import DECODER_TABLE, ENCODER_TABLE, SHARED
from .marian_old_names import with_new_names
from .marian_rnn import model_from_marian_rnn
from .marian_rnn_options import RECURRENT
from .marian_vocabulary import Vocabulary, build_tokenizer, read_vocabulary, size_of, special_ids


def convert_marian(
    model: str | PathLike[str],
    vocab: str | PathLike[str],
    target_vocab: str | PathLike[str] | None = None,
    *,
    output: str | PathLike[str],
    keep_8bit: bool = False,
) -> None:
    """Writes a checkpoint folder of a student or of a recurrent model of Marian: model, generation config, tokenizer.

    All of it or nothing: what was in the folder stays as it was if something fails.

    Args:
        model: ``.npz``, ``.bin``, ``.intgemm8.bin`` or ``.intgemm.alphas.bin``, also in ``.gz`` or ``.zst``.
        vocab: the vocabulary of both sides, or of the source: a SentencePiece model or a list of words in YAML.
        target_vocab: that of the target, where it is another.
        output: the folder.
        keep_8bit: the matrices of an 8-bit file stay in 8 bits: see ``keep_8_bits``.

    Raises:
        ImportError: torchao is not installed, and ``keep_8bit`` asks for it.
        OSError: a file is not there or damaged, or the folder cannot be written.
        ValueError: a file is not what it should be, or has no counterpart in this family.
    """
    checkpoint = with_new_names(read_marian(model))
    rows = {name: len(values) for name, values in checkpoint.tensors.items()}
    tables = (SHARED if SHARED in rows else ENCODER_TABLE, DECODER_TABLE)
    source = read_vocabulary(vocab, rows.get(tables[0]))
    target = None if target_vocab is None else read_vocabulary(target_vocab, rows.get(tables[1]))
    _check_sizes(checkpoint, source, str(vocab), target, str(target_vocab))
    tokenizer = build_tokenizer(source, target)
    eos, unk = special_ids(source if target is None else target)
    recurrent = checkpoint.options.get("type") in RECURRENT
    build = model_from_marian_rnn if recurrent else model_from_marian
    converted = build(checkpoint, eos_token_id=eos, unk_token_id=unk)
    if keep_8bit and recurrent:
        raise ValueError(f"{checkpoint.source} is a recurrent model: only the matrices of students can stay in 8 bits")
    if keep_8bit:
        keep_8_bits(converted, table_of(converted.config))
    write_checkpoint(converted, tokenizer, output)


def _check_sizes(
    checkpoint: MarianCheckpoint,
    source: Vocabulary,
    source_name: str,
    target: Vocabulary | None,
    target_name: str,
) -> None:
    shared = SHARED in checkpoint.tensors
    if not shared and target is None:
        raise ValueError(f"{checkpoint.source} has a vocabulary for each side: give that of the target too")
    if shared and target is not None:
        raise ValueError(f"{checkpoint.source} has one vocabulary for both sides: give no {target_name}")
    sides = [(SHARED if shared else ENCODER_TABLE, source, source_name), (DECODER_TABLE, target, target_name)]
    for name, vocabulary, path in sides:
        table = checkpoint.tensors.get(name)
        if vocabulary is not None and table is not None and len(table) != size_of(vocabulary):
            raise ValueError(
                f"{path} has {size_of(vocabulary)} tokens, {name} in {checkpoint.source} has {len(table)} rows"
            )
