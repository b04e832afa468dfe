"""SentencePiece vocabularies as fast tokenizers: the ids and texts of SentencePiece's own library."""

import io
import random
import struct
import unicodedata

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hf_rnnattn import RnnAttnTokenizer
from hf_rnnattn.convert.sentencepiece_tokenizer import tokenizer_from_sentencepiece
from hf_rnnattn.convert.sentencepiece_vocabulary import read_sentencepiece
from students import SENTENCES, VOCABULARY

# What SentencePiece must not take for its own pieces, what it normalises, and ordinary letters.
PARTS = [
    *("</s>", "<unk>", "<s>", "<pad>", "<0x41>", "<0xE2>", "<", ">", "0x41", "/", "▁", " ", "  ", "\t", "\n", "\r\n"),
    *(
        "\x00",
        "\x07",
        "\x7f",
        "\xa0",
        "\u3000",
        "\u2028",
        "\u200b",
        "ﬁ",
        "～",
        "㌀",
        "①",
        "²",
        "…",
        "ſ",
        "ß",
    ),
    *("e\u0301", "e\u0302\u0301", "か\u3099", "ハ\u309a", "ｶﾞ", "ﾊﾟ", "\u1100\u1161\u11a8", "\u1112\u1161", "É", "한"),
    *("👩\u200d👩\u200d👧", "🇩🇪", "👋🏽", "a", "the", "1", "23", "1234", ".", "...", ",", "&", "folder", "Use"),
]


def train(kind="unigram", **options):
    """A model that SentencePiece trains of the sentences."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_writer=model,
        vocab_size=options.pop("vocab_size", 90),
        model_type=kind,
        minloglevel=9,
        hard_vocab_limit=False,
        **options,
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Vocabularies of other settings, as files."""
    folder = tmp_path_factory.mktemp("vocabularies")
    settings_of = {
        "no byte pieces": {"bos_id": -1, "eos_id": 0, "unk_id": 1},
        "the library's own ids": {"byte_fallback": True, "vocab_size": 340},
        "no rules": {"normalization_rule_name": "identity", "bos_id": -1, "eos_id": 0, "unk_id": 1},
        "spaces kept": {"remove_extra_whitespaces": False, "bos_id": -1, "eos_id": 0, "unk_id": 1},
        "no space in front": {"add_dummy_prefix": False, "bos_id": -1, "eos_id": 0, "unk_id": 1},
    }
    for i, options in enumerate(settings_of.values()):
        (folder / f"{i}.spm").write_bytes(train(**options))
    return {name: folder / f"{i}.spm" for i, name in enumerate(settings_of)}


@pytest.fixture(scope="module")
def ours():
    return tokenizer_from_sentencepiece(read_sentencepiece(VOCABULARY))


@pytest.fixture(scope="module")
def theirs():
    return sentencepiece.SentencePieceProcessor(model_file=str(VOCABULARY))


def characters():
    """All planes of Unicode but the surrogates, which no text can hold, and marks that would be put in order."""
    draw = random.Random(0)
    while True:
        number = draw.randrange(0x110000 if draw.random() < 0.5 else 0x10000)
        if not 0xD800 <= number < 0xE000 and not unicodedata.combining(chr(number)):
            yield chr(number)


def fuzz(count):
    """Seeded texts of known parts, of characters from everywhere, and of the sentences' words."""
    draw, everywhere = random.Random(0), characters()
    words = " ".join(SENTENCES).split()
    for _ in range(count):
        yield "".join(draw.choices(PARTS, k=draw.randrange(8)))
        yield "".join(next(everywhere) for _ in range(draw.randrange(1, 9)))
        yield " ".join(draw.choices(words + PARTS, k=draw.randrange(12)))


def assert_same(ours, theirs, texts):
    for text in texts:
        assert ours(text).input_ids[:-1] == theirs.encode(text), ascii(text)


def test_ids_of_texts_are_those_of_sentencepiece(ours, theirs):
    assert_same(ours, theirs, ["", " ", *SENTENCES, *fuzz(1500)])


def test_ids_of_every_character_of_the_basic_plane_are_those_of_sentencepiece(ours, theirs):
    single = [chr(number) for number in range(0x10000) if not 0xD800 <= number < 0xE000]
    assert_same(ours, theirs, single[::5])


@settings(max_examples=300)
@given(
    st.text(
        st.one_of(
            st.characters(codec="utf-8", exclude_categories=("Cs", "Mn", "Mc", "Me")), st.sampled_from(" <>▁1a")
        ),
        max_size=20,
    )
)
def test_ids_of_any_text_without_combining_marks_are_those_of_sentencepiece(ours, theirs, text):
    assert ours(text).input_ids[:-1] == theirs.encode(text)


@settings(max_examples=200)
@given(st.text(st.characters(codec="utf-8", categories=("L", "Zs"), max_codepoint=0x3100), max_size=12))
def test_ids_of_decomposed_text_are_those_of_sentencepiece(ours, theirs, text):
    text = unicodedata.normalize("NFC", text)
    assert ours(unicodedata.normalize("NFD", text)).input_ids == ours(text).input_ids
    assert ours(text).input_ids[:-1] == theirs.encode(text)


@pytest.mark.parametrize(
    "name", ["no byte pieces", "the library's own ids", "no rules", "spaces kept", "no space in front"]
)
def test_vocabularies_of_other_settings_give_the_ids_and_texts_of_sentencepiece(others, name):
    ours = tokenizer_from_sentencepiece(read_sentencepiece(others[name]))
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(others[name]))
    # where spaces are kept, SentencePiece makes a space of a text of nothing but characters that it removes
    assert_same(ours, theirs, (text for text in fuzz(300) if theirs.normalize(text) != "▁"))
    draw = random.Random(1)
    known = [i for i in range(len(theirs)) if not theirs.is_unknown(i) and not theirs.is_control(i)]
    for _ in range(300):
        ids = draw.choices(known, k=draw.randrange(8))
        if ids and theirs.id_to_piece(ids[0]) != "<0x20>":
            assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids)


def test_texts_of_ids_are_those_of_sentencepiece(ours, theirs):
    """Bytes in any order too. A space is never written as a byte, so none begins a text as one."""
    draw = random.Random(0)
    pieces, byte_pieces = range(2, len(theirs)), [i for i in range(len(theirs)) if theirs.is_byte(i)]
    for _ in range(2000):
        ids = draw.choices(pieces if draw.random() < 0.5 else byte_pieces, k=draw.randrange(8))
        if ids and theirs.id_to_piece(ids[0]) != "<0x20>":
            assert ours.decode([*ids, 0, 1024], skip_special_tokens=True) == theirs.decode(ids)


def test_texts_come_back_as_sentencepiece_gives_them_back(ours, theirs):
    for text in fuzz(200):
        ids = [i for i in ours(text).input_ids if i != 1]
        assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids)


def test_every_sequence_ends_and_padding_is_one_id_more(ours):
    batch = ours(["Use the folder", "a"], padding=True)
    assert all(0 in ids for ids in batch.input_ids)
    assert ours.pad_token_id == ours.bos_token_id == 1024 == len(ours) - 1
    assert (ours.eos_token_id, ours.unk_token_id) == (0, 1)
    assert batch.input_ids[1][-1] == 1024
    assert batch.attention_mask[1][-1] == 0
    assert ours.config_fields()["decoder_start_token_id"] == 1024


def test_it_is_saved_and_loaded_as_it_is(ours, theirs, tmp_path):
    ours.save_pretrained(tmp_path)
    loaded = RnnAttnTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == ours.get_vocab()
    assert loaded.all_special_tokens == ours.all_special_tokens
    assert_same(loaded, theirs, fuzz(100))
    (tmp_path / "config.json").write_text('{"model_type": "rnnattn"}')
    assert_same(AutoTokenizer.from_pretrained(tmp_path), theirs, SENTENCES)


@pytest.mark.parametrize("sizes", [(60, 60), (60, 75), (75, 60)])
def test_two_vocabularies_stand_side_by_side(sizes, tmp_path):
    source, target = (tmp_path / name for name in ("source.spm", "target.spm"))
    reversed_texts = ["".join(reversed(text)) for text in SENTENCES]
    for path, texts, size in zip((source, target), (SENTENCES, reversed_texts), sizes, strict=True):
        options = {"bos_id": -1, "eos_id": 0, "unk_id": 1, "vocab_size": size, "minloglevel": 9}
        with path.open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=file, **options)
    tokenizer = tokenizer_from_sentencepiece(*map(read_sentencepiece, (source, target)))
    theirs = [sentencepiece.SentencePieceProcessor(model_file=str(path)) for path in (source, target)]
    texts = [*SENTENCES, "<unused 60>", "a <unused 61> <unused 62>b", *fuzz(30)]
    batch = tokenizer(texts, text_target=texts)
    assert [ids[:-1] for ids in batch.input_ids] == theirs[0].encode(texts)
    assert [ids[:-1] for ids in batch.labels] == theirs[1].encode(texts)
    decoded = tokenizer.batch_decode(batch.labels[: len(SENTENCES)], skip_special_tokens=True)
    assert decoded == theirs[1].decode(theirs[1].encode(SENTENCES))
    pad = max(sizes)
    assert tokenizer.pad_token_id == pad
    fields = tokenizer.config_fields()
    assert fields == {
        "vocab_size": pad + 1,
        "encoder_vocab_size": pad + 1,
        "pad_token_id": pad,
        "bos_token_id": pad,
        "eos_token_id": 0,
        "decoder_start_token_id": pad,
    }
    tokenizer.save_pretrained(tmp_path)
    assert RnnAttnTokenizer.from_pretrained(tmp_path)(text_target=texts).input_ids == batch.labels


def test_vocabularies_that_end_with_different_texts_are_refused(tmp_path):
    (tmp_path / "other.spm").write_bytes(train(eos_piece="<e>"))
    two = (read_sentencepiece(path) for path in (VOCABULARY, tmp_path / "other.spm"))
    with pytest.raises(ValueError, match=r"one end and unknown token, got .*</s>.* and .*<e>"):
        tokenizer_from_sentencepiece(*two)


def test_the_padding_token_is_none_of_the_pieces(tmp_path):
    path = tmp_path / "vocab.spm"
    path.write_bytes(train(control_symbols="<pad>", bos_id=-1, eos_id=0, unk_id=1))
    tokenizer = tokenizer_from_sentencepiece(read_sentencepiece(path))
    assert tokenizer.pad_token == "<<pad>>"
    assert tokenizer.pad_token_id == len(read_sentencepiece(path).pieces)


# What is read, and what is refused


def test_pieces_and_scores_are_those_of_the_library(theirs):
    vocabulary = read_sentencepiece(VOCABULARY)
    assert [piece.text for piece in vocabulary.pieces] == [theirs.id_to_piece(i) for i in range(len(theirs))]
    assert [piece.score for piece in vocabulary.pieces] == [theirs.get_score(i) for i in range(len(theirs))]
    assert (vocabulary.eos_token_id, vocabulary.unk_token_id) == (theirs.eos_id(), theirs.unk_id())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: train("bpe"), "must be a Unigram model"),
        (lambda: train("char"), "must be a Unigram model"),
        (lambda: train(treat_whitespace_as_suffix=True), "must be a Unigram model"),
        (lambda: train(user_defined_symbols="folder"), "'folder' .* has type 4"),
        (lambda: train(eos_id=-1), "must have one piece of type 3 b'</s>', got 0"),
        (lambda: b"This is a text and no vocabulary.", "is no SentencePiece model"),
        (lambda: b"\x0a" + b"\xff" * 12, "more than 10 bytes"),
        (lambda: b"\x0a\xff\xff\xff\xff\x0f", "longer than the file"),
        (lambda: b"\x0a\x07\x0a\x01a\x15" + struct.pack("<f", float("nan"))[:2], "is no SentencePiece model"),
        (lambda: b"\x0a\x08\x0a\x01a\x15" + struct.pack("<f", float("nan")), "must have a finite score"),
        (lambda: b"\x12\x00", "it has no pieces"),
        (lambda: VOCABULARY.read_bytes()[:4000], "is no SentencePiece model"),
    ],
)
def test_other_files_are_refused(model, message, tmp_path):
    path = tmp_path / "vocab.spm"
    path.write_bytes(model())
    with pytest.raises(ValueError, match=message):
        read_sentencepiece(path)


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    (tmp_path / "vocab.spm").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(OSError, match="git lfs pull"):
        read_sentencepiece(tmp_path / "vocab.spm")
