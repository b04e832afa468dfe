"""Training of tokenizers: what each kind gives back, over all of Unicode."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from hf_rnnattn.tokenizer_training import KINDS, SPECIAL_TOKENS, train_tokenizer, train_tokenizers

CORPUS = ["the quick brown fox, it's 12 o'clock", "über den Wolken 東京 ☃", "</s> a\nb\t#c ##d"]
TRAINED = {kind: train_tokenizer(CORPUS, kind=kind, vocab_size=400) for kind in KINDS}

# every code point, lone surrogates included, and the spellings that could be mistaken for something else
fragments = st.one_of(
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from([*SPECIAL_TOKENS, " ", "##", "the", "fox", "'", "\0", "\u2581", "\u0120", "\ufffd", "\r\n"]),
)
texts = st.lists(fragments, max_size=8).map("".join)


def round_trip(tokenizer, text: str) -> str:
    return tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)


def clean(text: str) -> str:
    return "".join("\ufffd" if 0xD800 <= ord(character) < 0xE000 else character for character in text)


def whitespace_split(text: str) -> list[str]:
    return [piece for piece, _ in pre_tokenizers.WhitespaceSplit().pre_tokenize_str(text)]


def bert_split(text: str) -> list[str]:
    normal = normalizers.BertNormalizer(strip_accents=False, lowercase=False).normalize_str(text)
    return [piece for piece, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normal)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(text=texts)
@example(text="")
@example(text="</s><pad> </s> <unk>")
def test_any_text_is_encoded_into_known_ids_and_ends_once(kind, text):
    tokenizer = TRAINED[kind]
    ids = tokenizer(text)["input_ids"]
    assert all(0 <= i < len(tokenizer) for i in ids)
    assert ids[-1] == tokenizer.eos_token_id
    assert not {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id} & set(ids[:-1])
    normal = round_trip(tokenizer, text)
    assert round_trip(tokenizer, normal) == normal


@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_bytes_give_any_text_back(text):
    assert round_trip(TRAINED["bpe"], text) == clean(text)


@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_characters_give_back_what_training_saw(text):
    known = set("".join(CORPUS))
    assert round_trip(TRAINED["char"], text) == "".join(character for character in clean(text) if character in known)


@settings(max_examples=60, deadline=None)
@given(text=texts.filter(bool))
def test_characters_trained_on_a_text_give_it_back(text):
    assert round_trip(train_tokenizer([text], kind="char"), text) == clean(text)


@settings(max_examples=60, deadline=None)
@given(text=texts)
def test_symbols_are_joined_by_single_spaces(text):
    tokenizer = train_tokenizer([text, "x"], kind="whitespace")
    symbols = [symbol for symbol in whitespace_split(clean(text)) if symbol not in SPECIAL_TOKENS]
    assert round_trip(tokenizer, text) == " ".join(symbols)


@settings(max_examples=60, deadline=None)
@given(text=texts)
def test_word_pieces_give_back_words_and_marks(text):
    tokenizer = train_tokenizer([text, "x"], kind="wordpiece", vocab_size=3000)
    assert round_trip(tokenizer, text) == " ".join(bert_split(clean(text)))


def test_word_pieces_split_a_word_that_training_did_not_see():
    tokenizer = train_tokenizer(["low lower lowest", "newer"], kind="wordpiece", vocab_size=40)
    assert len(tokenizer.tokenize("newest")) > 1
    assert round_trip(tokenizer, "newest lower") == "newest lower"


def test_frequent_pairs_are_merged():
    tokenizer = train_tokenizer(["banana bandana"] * 5, kind="bpe", vocab_size=300)
    assert len(tokenizer.tokenize("banana")) < len("banana")


def test_special_tokens_have_the_first_ids_on_both_sides():
    tokenizer = train_tokenizers(["ab"], ["A B"], source_kind="char", target_kind="whitespace")
    for vocab in (tokenizer.get_src_vocab(), tokenizer.get_tgt_vocab()):
        assert [vocab[token] for token in SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


def test_shared_training_reads_both_sides():
    tokenizer = train_tokenizers(["ab"], ["cd"], source_kind="char", shared=True)
    assert not tokenizer.has_target_vocabulary
    assert set("abcd") <= set(tokenizer.get_src_vocab())


def test_the_vocabulary_is_bounded_by_frequency():
    tokenizer = train_tokenizer(["aaab bbac", "aab d"], kind="char", vocab_size=6)
    assert set(tokenizer.get_src_vocab()) == {*SPECIAL_TOKENS, "a", "b"}
    often = train_tokenizer(["aab"], kind="char", min_frequency=2)
    assert set(often.get_src_vocab()) == {*SPECIAL_TOKENS, "a"}


def test_lower_case_is_kept_in_the_file(tmp_path):
    tokenizer = train_tokenizers(["ab"], ["A B"], source_kind="char", target_kind="whitespace", source_lowercase=True)
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert again("AB")["input_ids"] == tokenizer("ab")["input_ids"]
    assert again(text_target="a")["input_ids"][0] == again.unk_token_id


@pytest.mark.parametrize("kind", KINDS)
def test_training_again_gives_the_same_file(kind):
    files = {train_tokenizer(iter(CORPUS), kind=kind, vocab_size=400).backend_tokenizer.to_str() for _ in range(4)}
    assert len(files) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_vocabulary_is_larger_than_asked_for(kind):
    bound = 270 if kind == "bpe" else 30
    assert len(train_tokenizer(CORPUS, kind=kind, vocab_size=bound)) <= bound


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": ["a"], "kind": "words"}, "unknown tokenizer kind 'words'; choose from char, whitespace"),
        (
            {"texts": ["a"], "kind": "bpe", "vocab_size": 100},
            "vocab_size must be at least 260 for kind 'bpe', got 100",
        ),
        ({"texts": ["a"], "kind": "char", "vocab_size": 4}, "vocab_size must be at least 5 for kind 'char', got 4"),
        ({"texts": ["a"], "min_frequency": 0}, "min_frequency must be at least 1, got 0"),
        ({"texts": []}, "texts is empty"),
        ({"texts": ["a", None]}, r"texts\[1\] must be a str, got NoneType"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source_kind": "char", "target_kind": "bpe"}, "shared needs one kind on both sides, got 'char' and 'bpe'"),
        ({"source_vocab_size": 300, "target_vocab_size": 400}, "shared needs one vocabulary size, got 300 and 400"),
        ({"source_lowercase": True}, "source_lowercase needs a source vocabulary of its own"),
    ],
)
def test_a_shared_vocabulary_has_one_setting(arguments, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizers(["a"], ["b"], shared=True, **arguments)


def test_an_empty_target_side_is_named():
    with pytest.raises(ValueError, match="targets is empty"):
        train_tokenizers(["a"], [], source_kind="char")
