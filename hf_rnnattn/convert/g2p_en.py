"""The model of g2p-en, English spelling to pronunciation: two GRUs and no attention, kept as arrays of numpy."""

from os import PathLike

import torch
from tokenizers import Regex, normalizers
from torch import Tensor
from transformers import GenerationConfig

from ..model.modeling_rnnattn import RnnAttnForConditionalGeneration
from ..model.tokenization_rnnattn import RnnAttnTokenizer
from .checkpoint_folder import write_checkpoint
from .marian_source import read_file
from .npz_reading import read_npz
from .recurrent_table import PLAIN, SOURCE_TABLE, TARGET_TABLE
from .weight_table import Weight, model_from_table
from .word_vocabulary import tokenizer_from_words

PAD, UNK, BOS, EOS = "<pad>", "<unk>", "<s>", "</s>"
# The places are the ids. <s> is ours: the vocabularies of both sides must have every special token.
GRAPHEMES = (PAD, UNK, EOS, *"abcdefghijklmnopqrstuvwxyz", BOS)
# ARPAbet with stress, vowels in three degrees; UW is also there without a degree.
PHONES = """
AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2
F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z
ZH
"""
PHONEMES = (PAD, UNK, BOS, EOS, *PHONES.split())
LONGEST = 20  # phones that are written at most
UNREAD = r"[^ a-z'.,?!\-]"  # what is left out of a text


def convert_g2p_en(
    model: str | PathLike[str], vocab: None = None, target_vocab: None = None, *, output: str | PathLike[str]
) -> None:
    """Writes a checkpoint folder of the model of g2p-en: model, generation config and tokenizer.

    All of it or nothing: what was in the folder stays as it was if something fails.

    Args:
        model: ``checkpoint20.npz`` of the package.
        vocab, target_vocab: to be left out: the symbols are those of the package.
        output: the folder.

    Raises:
        OSError: the file is not there or damaged, or the folder cannot be written.
        ValueError: the file is not what it should be, or a vocabulary is given.
    """
    if vocab is not None or target_vocab is not None:
        raise ValueError(f"the symbols of g2p-en are known: give no {vocab or target_vocab}")
    name = str(model)
    tensors = {key: torch.from_numpy(values) for key, values in read_npz(read_file(model), name).items()}
    write_checkpoint(model_from_g2p_en(tensors, name), g2p_en_tokenizer(), output)


def model_from_g2p_en(tensors: dict[str, Tensor], source: str = "g2p-en") -> RnnAttnForConditionalGeneration:
    """The model that computes what g2p-en computes with these weights.

    The last state of the encoder, after the end of the word, is the first state of the decoder. The source vocabulary
    has one token more than theirs, which no text holds: the one that starts targets.

    Args:
        tensors: as in the package: ``enc_emb``, ``enc_w_ih``, …, ``fc_b``.
        source: what errors call them.

    Returns:
        The model in evaluation mode. Its generation config decodes as g2p-en does: greedily, at most 20 phones.

    Raises:
        ValueError: a weight is missing, left over, not finite, or of another shape.
    """
    for name in ("enc_emb", "enc_w_hh"):
        if name not in tensors or tensors[name].ndim != 2:
            raise ValueError(f"{source} must have a matrix {name}: it is no model of g2p-en")
    fields = {
        **PLAIN,
        "vocab_size": len(PHONEMES),
        "encoder_vocab_size": len(GRAPHEMES),
        "embedding_size": tensors["enc_emb"].shape[1],
        "hidden_size": tensors["enc_w_hh"].shape[1],
        "encoder_mixers": ["gru"],
        "encoder_directions": "forward",
        "decoder_mixers": ["gru"],
        "cross_attention": "none",
        "decoder_init": "encoder_state",
        "share_encoder_decoder_embeddings": False,
        "tie_word_embeddings": False,
        "output_bias": True,
        "pad_token_id": PHONEMES.index(PAD),
        "bos_token_id": PHONEMES.index(BOS),
        "eos_token_id": PHONEMES.index(EOS),
    }
    model = model_from_table(fields, _table(), tensors, source)
    model.generation_config = GenerationConfig(
        num_beams=1,
        max_new_tokens=LONGEST,
        pad_token_id=model.config.pad_token_id,
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
    )
    return model


def g2p_en_tokenizer() -> RnnAttnTokenizer:
    """Words to letters, and phones joined by spaces.

    As in g2p-en, accents are taken off letters, capitals are read in lower case, and what is neither a letter nor a
    mark of punctuation is left out; marks, hyphens and apostrophes are unknown letters.
    """
    tokenizer = tokenizer_from_words(
        GRAPHEMES,
        PHONEMES,
        pad=PAD,
        bos=BOS,
        eos=EOS,
        unk=UNK,
        source_ends_with_eos=True,
        source_split="characters",
    )
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(UNREAD), ""),
            normalizers.Strip(),
        ]
    )
    return tokenizer


def _table() -> list[Weight]:
    """Every weight; the cells are laid out as torch's."""
    found = [
        Weight(SOURCE_TABLE, ("enc_emb",), _and_a_row),
        Weight(TARGET_TABLE, ("dec_emb",)),
        Weight("lm_head.weight", ("fc_w",)),
        Weight("lm_head.bias", ("fc_b",)),
    ]
    cells = (("encoder.layers.0.mixers.0.forward_cell", "enc"), ("decoder.layers.0.mixers.0", "dec"))
    for cell, theirs in cells:
        for ours, letters in (("input_to_gates", "ih"), ("state_to_gates", "hh")):
            for kind in ("weight", "bias"):
                found.append(Weight(f"model.{cell}.{ours}.{kind}", (f"{theirs}_{kind[0]}_{letters}",)))
    return found


def _and_a_row(table: Tensor) -> Tensor:
    return torch.cat([table, table.new_zeros(1, table.shape[1])])
