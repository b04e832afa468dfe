"""Word alignments of given pairs: those of Marian, of words, and what the script prints."""

import importlib.util
import io
import sys

import pytest
import torch

from hf_rnnattn.alignment import align, align_pairs, guided_head
from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_folder import convert_marian
from hf_rnnattn.convert.sentencepiece_tokenizer import tokenizer_from_sentencepiece
from hf_rnnattn.convert.sentencepiece_vocabulary import read_sentencepiece
from hf_rnnattn.word_alignment import PairAligner, hard_links, pharaoh, read_pharaoh, words_of
from sources import PROJECT
from students import MODEL, SENTENCES, VOCABULARY, recorded, student
from tiny_seq2seq import FAMILIES, character_tokenizer, tiny_model


@pytest.fixture(scope="module")
def model():
    return model_from_marian(read_marian(MODEL))


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_from_sentencepiece(read_sentencepiece(VOCABULARY))


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("script_align", PROJECT / "scripts" / "align.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize(
    ("name", "threshold"), [("marian.alignment.txt", None), ("marian.alignment.0.2.txt", 0.2)], ids=["hard", "0.2"]
)
def test_alignments_of_translations_are_those_of_marian(model, tokenizer, name, threshold):
    layer, head = guided_head(model)
    assert (layer, head) == (1, 0)
    found = align(model, tokenizer, SENTENCES, layer=layer, head=head)
    assert [pharaoh(hard_links(alignment, threshold)) for alignment in found] == recorded(name)


def test_another_head_aligns_otherwise(model, tokenizer):
    """Otherwise the comparison above would not tell heads apart."""
    for which in ({"layer": 1, "head": 1}, {"layer": 0, "head": 0}, {"layer": 1, "head": None}):
        found = align(model, tokenizer, SENTENCES, **which)
        assert [pharaoh(hard_links(alignment)) for alignment in found] != recorded("marian.alignment.txt")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pair_is_aligned_as_if_the_target_had_been_generated(family):
    model, tokenizer = tiny_model(family), character_tokenizer()
    sources = ["hello", "a longer source", "b"]
    generated = align(model, tokenizer, sources, num_beams=1, max_new_tokens=9, suppress_tokens=[0, 1, 2, 3])
    targets = ["".join(alignment.target_tokens) for alignment in generated]
    pairs = align_pairs(model, tokenizer, sources, targets)
    for one, other in zip(generated, pairs, strict=True):
        assert other.target_tokens == [*one.target_tokens, "</s>"]
        assert other.source_tokens == one.source_tokens
        torch.testing.assert_close(other.weights[:-1], one.weights, atol=1e-5, rtol=0)


def test_sides_of_different_number_and_models_without_weights_are_refused(model, tokenizer):
    with pytest.raises(ValueError, match="must be as many, got 2 and 1"):
        align_pairs(model, tokenizer, ["a", "b"], ["c"])
    with pytest.raises(ValueError, match=r"head must be in \[-8, 8\), got 8"):
        align_pairs(model, tokenizer, ["a"], ["c"], head=8)


# Words


@pytest.mark.parametrize(
    "text",
    [*SENTENCES, " two  spaces ", "e\u0301te\u0301 \u00bd x", "한국어 \uff76\uff9e \ufb01n", "A.\u3000B \u00a8 c"],
)
def test_every_piece_belongs_to_the_word_that_it_spells(tokenizer, text):
    """A word alone has the pieces that it has in its sentence."""
    words = text.split()
    offsets = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    expected = [i for i, word in enumerate(words) for _ in tokenizer(word, add_special_tokens=False).input_ids]
    assert words_of(text, offsets) == expected


def test_words_are_linked_where_their_pieces_are(model, tokenizer):
    pieces, words = (PairAligner(model, tokenizer, unit=unit) for unit in ("piece", "word"))
    targets = recorded("marian.txt")
    assert any(len(text.split()) < len(tokenizer(text).input_ids) - 1 for text in SENTENCES)
    for source, target, links, found in zip(
        SENTENCES, targets, pieces(SENTENCES, targets), words(SENTENCES, targets), strict=True
    ):
        places = []
        for text in (source, target):
            starts = [token.startswith("▁") for token in tokenizer.tokenize(text)]
            places.append([sum(starts[: i + 1]) - 1 for i in range(len(starts))])
        assert found == sorted({(places[0][s], places[1][t]) for s, t in links})
        assert max(s for s, _ in found) < len(source.split())


def test_what_the_tokenizer_adds_is_linked_to_nothing(model, tokenizer):
    (links,) = PairAligner(model, tokenizer, unit="piece", threshold=0.0)(["a b"], ["c"])
    lengths = [len(tokenizer(text, add_special_tokens=False).input_ids) for text in ("a b", "c")]
    assert {s for s, _ in links} == {*range(lengths[0])}
    assert {t for _, t in links} == {*range(lengths[1])}


def test_blank_sides_have_no_links(model, tokenizer):
    found = PairAligner(model, tokenizer)(["a b", " ", "c", ""], ["x", "y", "", ""])
    assert found[0]
    assert found[1:] == [[], [], []]


def test_models_without_a_guided_head_are_read_by_the_mean_of_their_last_layer():
    model, tokenizer = tiny_model("bart"), character_tokenizer()
    assert guided_head(model) == (-1, None)
    aligner = PairAligner(model, tokenizer, unit="piece")
    (expected,) = align_pairs(model, tokenizer, ["abc"], ["de"])
    links = [(s, t) for s, t in hard_links(expected) if s < 3 and t < 2]
    assert aligner(["abc"], ["de"]) == [links]


def test_the_guided_layer_is_the_options(tokenizer):
    assert guided_head(model_from_marian(student(transformer_guided_alignment_layer="1"))) == (0, 0)
    for value in ("first", "3", "0"):
        with pytest.raises(ValueError, match=rf"transformer-guided-alignment-layer must be .* got '{value}'"):
            model_from_marian(student(transformer_guided_alignment_layer=value))


def test_links_are_written_and_read():
    assert read_pharaoh(pharaoh([(0, 0), (12, 3)])) == [(0, 0), (12, 3)]
    for line in ("0", "0-1-2", "a-b", "0--1"):
        with pytest.raises(ValueError, match="must be two numbers"):
            read_pharaoh(line)


# The script


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "student"
    convert_marian(MODEL, VOCABULARY, output=folder)
    return folder


def test_the_script_aligns_two_files_or_the_columns_of_its_input(main, folder, model, tokenizer, tmp_path, capsys):
    sources, targets = SENTENCES[:5], recorded("marian.txt")[:5]
    for name, lines in (("source", [*sources, ""]), ("target", [*targets, "x"])):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    expected = [*map(pharaoh, PairAligner(model, tokenizer)(sources, targets)), ""]
    files = ["--source_file", str(tmp_path / "source"), "--target_file", str(tmp_path / "target")]
    assert main(["--model", str(folder), *files, "--batch_size", "2"]) == 0
    output = capsys.readouterr()
    assert output.out.split("\n")[:-1] == expected
    assert "6/6" in output.err
    lines = "".join(f"{source}\t{target}\n" for source, target in zip([*sources, ""], [*targets, "x"], strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(lines))
        assert main(["--model", str(folder), "--head", "3", "--unit", "piece", "--threshold", "0.3"]) == 0
    with_options = PairAligner(model, tokenizer, head=3, unit="piece", threshold=0.3)(sources, targets)
    assert capsys.readouterr().out.split("\n")[:-1] == [*map(pharaoh, with_options), ""]


@pytest.mark.parametrize(
    ("flags", "text", "message"),
    [
        (["--source_file", "one"], "", "source_file and target_file must be given together"),
        (["--source_file", "one", "--target_file", "two"], "", "the source ends after 1 lines, the target does not"),
        (["--source_file", "one", "--target_file", "none"], "", "No such file"),
        ([], "a\tb\nno tab\n", "line 2 must be a source, one tab and its target, got 0 tabs"),
        (["--threshold", "1.5"], "", r"threshold must be in [0, 1), got 1.5"),
        (["--unit", "letter"], "", "unit must be one of word, piece, got 'letter'"),
        (["--head", "9"], "a\tb\n", "head must be in [-8, 8), got 9"),
        (["--batch_size", "0"], "", "batch_size must be >= 1, got 0"),
    ],
)
def test_bad_input_is_one_line(main, folder, tmp_path, monkeypatch, capsys, flags, text, message):
    (tmp_path / "one").write_text("a\n")
    (tmp_path / "two").write_text("a\nb\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["--model", str(folder), *flags]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("align.py: error: ")
    assert message in line
