"""From the files of a Marian student to a checkpoint folder of this family."""

import os
from os import PathLike
from pathlib import Path

from ..model.saving_rnnattn import replaced_at_once
from .marian import model_from_marian
from .marian_8bit import keep_8_bits
from .marian_checkpoint import MarianCheckpoint, read_marian
from .marian_export import table_of
from .sentencepiece_tokenizer import tokenizer_from_sentencepiece
from .sentencepiece_vocabulary import SentencePieceVocabulary, read_sentencepiece

YAML_ENDINGS = (".yml", ".yaml", ".json")


def convert_marian(
    model: str | PathLike[str],
    vocab: str | PathLike[str],
    target_vocab: str | PathLike[str] | None = None,
    *,
    output: str | PathLike[str],
    keep_8bit: bool = False,
) -> None:
    """Writes a checkpoint folder of a student of Marian: model, generation config and tokenizer.

    All of it or nothing: what was in the folder stays as it was if something fails.

    Args:
        model: ``.npz``, ``.bin``, ``.intgemm8.bin`` or ``.intgemm.alphas.bin``, also in ``.gz`` or ``.zst``.
        vocab: the SentencePiece model of both sides, or of the source.
        target_vocab: that of the target, where it is another.
        output: the folder.
        keep_8bit: the matrices of an 8-bit file stay in 8 bits: see ``keep_8_bits``.

    Raises:
        ImportError: torchao is not installed, and ``keep_8bit`` asks for it.
        OSError: a file is not there or damaged, or the folder cannot be written.
        ValueError: a file is not what it should be, or has no counterpart in this family.
    """
    checkpoint = read_marian(model)
    source = _read_vocabulary(vocab)
    target = None if target_vocab is None else _read_vocabulary(target_vocab)
    _check_sizes(checkpoint, source, str(vocab), target, str(target_vocab))
    tokenizer = tokenizer_from_sentencepiece(source, target)
    written = target or source
    converted = model_from_marian(checkpoint, eos_token_id=written.eos_token_id, unk_token_id=written.unk_token_id)
    if keep_8bit:
        keep_8_bits(converted, table_of(converted.config))
    folder = Path(output)
    if folder.is_file():
        raise OSError(f"{folder} is a file, not a folder")
    with replaced_at_once(folder) as made:
        converted.save_pretrained(made)
        tokenizer.save_pretrained(made)
    if target is None and (folder / "target_tokenizer.json").is_file():
        os.remove(folder / "target_tokenizer.json")  # of an earlier checkpoint; it would be loaded with this one


def _read_vocabulary(path: str | PathLike[str]) -> SentencePieceVocabulary:
    if str(path).endswith(YAML_ENDINGS) or str(path).endswith(".fsv"):
        raise ValueError(f"{path} must be a SentencePiece model (.spm): other vocabularies are not read")
    return read_sentencepiece(path)


def _check_sizes(
    checkpoint: MarianCheckpoint,
    source: SentencePieceVocabulary,
    source_name: str,
    target: SentencePieceVocabulary | None,
    target_name: str,
) -> None:
    shared = "Wemb" in checkpoint.tensors
    if not shared and target is None:
        raise ValueError(f"{checkpoint.source} has a vocabulary for each side: give that of the target too")
    if shared and target is not None:
        raise ValueError(f"{checkpoint.source} has one vocabulary for both sides: give no {target_name}")
    sides = [("Wemb" if shared else "encoder_Wemb", source, source_name), ("decoder_Wemb", target, target_name)]
    for name, vocabulary, path in sides:
        table = checkpoint.tensors.get(name)
        if vocabulary is not None and table is not None and len(table) != len(vocabulary.pieces):
            raise ValueError(
                f"{path} has {len(vocabulary.pieces)} pieces, {name} in {checkpoint.source} has {len(table)} rows"
            )
