"""Shortlists of aligned texts: what is counted and kept, and what translations with them are."""

import importlib.util
from collections import Counter

import fxtranslate
import pytest
import torch

from bergamot import bergamot, install_bergamot
from hf_rnnattn.convert.marian_export import export_marian
from hf_rnnattn.convert.marian_folder import convert_marian
from hf_rnnattn.convert.marian_shortlist import read_shortlist
from hf_rnnattn.generating import load_checkpoint
from hf_rnnattn.shortlist_building import build_shortlist, count_pairs, links_of_lines, links_of_model
from hf_rnnattn.word_alignment import PairAligner, pharaoh
from sources import PROJECT
from students import MODEL, SENTENCES, VOCABULARY, recorded

TRANSLATIONS = recorded("marian.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "student"
    convert_marian(MODEL, VOCABULARY, output=folder)
    for name, lines in (("source.txt", SENTENCES), ("target.txt", TRANSLATIONS)):
        (folder.parent / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder):
    return load_checkpoint(str(folder), device="cpu")


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("script", PROJECT / "scripts" / "build_shortlist.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def built(main, folder):
    """The files that the script makes of the sentences and their translations."""
    outputs = ["--output", str(folder.parent / "lex.bin"), "--text_output", str(folder.parent / "lex.txt")]
    assert main([*flags(folder), *outputs, "--first", "8", "--best", "20"]) == 0
    return folder.parent


def flags(folder):
    files = {"source_file": folder.parent / "source.txt", "target_file": folder.parent / "target.txt"}
    return ["--model", str(folder), *(part for name, path in files.items() for part in (f"--{name}", str(path)))]


# Counting and keeping


def test_the_most_frequent_targets_of_a_source_are_kept():
    counts = count_pairs([(3, 9)] * 3 + [(3, 7)] * 2 + [(3, 5), (3, 4), (3, 6)] + [(1, 20)])
    shortlist = build_shortlist(counts, source_size=5, first=2, best=3)
    assert shortlist.offsets.tolist() == [0, 0, 1, 1, 4, 4]
    assert shortlist.ids.tolist() == [20, 4, 7, 9]  # of those seen once the lowest
    assert (shortlist.first, shortlist.best) == (2, 3)


@pytest.mark.parametrize(
    ("links", "settings", "message"),
    [
        ([], {}, "at least one link"),
        ([(5, 1)], {}, "source ids must be below 5, got 5"),
        ([(1, 1)], {"first": 0}, "first must be at least 1, got 0"),
        ([(1, 1)], {"best": -1}, "best must be at least 1, got -1"),
    ],
)
def test_what_makes_no_shortlist_is_refused(links, settings, message):
    with pytest.raises(ValueError, match=message):
        build_shortlist(count_pairs(links), **{"source_size": 5, "first": 1, "best": 1, **settings})


@pytest.mark.parametrize("pieces", [False, True])
def test_links_of_a_file_are_counted_as_those_of_the_model(checkpoint, pieces):
    model, tokenizer = checkpoint
    lines = map(pharaoh, PairAligner(model, tokenizer, unit="piece")(SENTENCES, TRANSLATIONS))
    texts = list(zip(SENTENCES, TRANSLATIONS, strict=True))
    given = [tuple(" ".join(tokenizer.tokenize(text)) for text in pair) for pair in texts] if pieces else texts
    of_file = Counter(links_of_lines(tokenizer, given, lines, pieces=pieces))
    of_model = Counter(links_of_model(model, tokenizer, texts, batch_size=7))
    end = tokenizer.eos_token_id
    assert of_file == {pair: count for pair, count in of_model.items() if end not in pair}
    assert of_file.total() > 500


def test_links_beyond_a_sentence_are_refused(checkpoint):
    _, tokenizer = checkpoint
    with pytest.raises(ValueError, match="line 2 links 0-99"):
        list(links_of_lines(tokenizer, [("a", "b"), ("a", "b")], ["0-0", "0-99"]))


# The files, and what engines make of them


def test_nearly_all_sentences_that_it_was_made_of_are_translated_as_without_it(built, checkpoint):
    model, tokenizer = checkpoint
    shortlist = read_shortlist(built / "lex.bin")
    same, sizes = 0, []
    for text, translation in zip(SENTENCES, TRANSLATIONS, strict=True):
        batch = tokenizer(text, return_tensors="pt")
        output = model.generate(**batch, shortlist=shortlist)[0]
        same += tokenizer.decode(output, skip_special_tokens=True) == translation
        sizes.append(len(shortlist.candidates(batch.input_ids[0], model.config.vocab_size, shared=True)))
    assert same >= 0.85 * len(SENTENCES)
    assert max(sizes) < model.config.vocab_size / 4


def test_another_engine_reads_the_file_and_translates_alike(built, checkpoint):
    model, tokenizer = checkpoint
    export_marian(model, built / "model.bin")
    vocabulary, shortlist = VOCABULARY.read_bytes(), read_shortlist(built / "lex.bin")
    files = {"model": (built / "model.bin").read_bytes(), "shortlist": (built / "lex.bin").read_bytes()}
    engine = fxtranslate.Translator(src_vocab=vocabulary, trg_vocab=vocabulary, **files)
    limit = {"max_length_factor": None}
    for text in SENTENCES:
        batch = tokenizer(text, return_tensors="pt")
        limit["max_new_tokens"] = min(2 * batch.input_ids.shape[1] + 4, 256)
        output = model.generate(**batch, shortlist=shortlist, suppress_tokens=[1024], **limit)[0]
        theirs = engine.translate(text)
        if "<0x" not in theirs:  # it prints bytes by their names
            assert theirs == tokenizer.decode(output, skip_special_tokens=True)


@pytest.mark.slow
def test_bergamot_reads_the_file_and_translates_alike(built, checkpoint, tmp_path):
    model, tokenizer = checkpoint
    export_marian(model, tmp_path / "model.bin")
    shortlist = read_shortlist(built / "lex.bin")
    outputs = [model.generate(**tokenizer(text, return_tensors="pt"), shortlist=shortlist)[0] for text in SENTENCES]
    files = (tmp_path / "model.bin", VOCABULARY)
    theirs = bergamot(install_bergamot(tmp_path), SENTENCES, *files, shortlist=built / "lex.bin")
    assert theirs == tokenizer.batch_decode(outputs, skip_special_tokens=True)


def test_the_text_form_has_the_probabilities_of_every_source_piece(built, checkpoint):
    _, tokenizer = checkpoint
    rows = [line.split(" ") for line in (built / "lex.txt").read_text(encoding="utf-8").splitlines()]
    totals = Counter()
    for target, source, share in rows:
        assert {target, source} <= tokenizer.get_vocab().keys()
        totals[source] += float(share)
    assert all(abs(total - 1) < 1e-6 for total in totals.values())
    shortlist = read_shortlist(built / "lex.bin")
    for source, token in tokenizer.get_vocab().items():
        likely = [tokenizer.convert_tokens_to_ids(target) for target, of, _ in rows if of == source][:20]
        if token < 1024:
            assert shortlist.ids[slice(*shortlist.offsets[token : token + 2])].tolist() == sorted(likely)


def test_the_script_counts_the_links_of_a_file(main, folder, checkpoint, tmp_path, capsys):
    model, tokenizer = checkpoint
    links = PairAligner(model, tokenizer, unit="piece")(SENTENCES, TRANSLATIONS)
    (tmp_path / "links").write_text("".join(f"{pharaoh(pairs)}\n" for pairs in links))
    output = str(tmp_path / "lex.bin")
    assert main([*flags(folder), "--output", output, "--alignment_file", str(tmp_path / "links")]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == output
    assert "30/30" in captured.err
    pairs = list(zip(SENTENCES, TRANSLATIONS, strict=True))
    counts = count_pairs(links_of_lines(tokenizer, pairs, map(pharaoh, links)))
    expected, found = build_shortlist(counts, source_size=1024, first=50, best=50), read_shortlist(output)
    assert torch.equal(found.ids, expected.ids)
    assert torch.equal(found.offsets, expected.offsets)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--alignment_file", "links"], "alignment_file has 1 lines, the texts have 30"),
        (["--pieces", "true"], "pieces needs an alignment_file"),
        (["--source_file", "links"], "the source ends after 1 lines"),
        (["--best", "0"], "best must be at least 1, got 0"),
        (["--batch_size", "0"], "batch_size must be >= 1, got 0"),
        (["--target_file", "none"], "No such file"),
    ],
)
def test_bad_input_is_one_line(main, folder, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "links").write_text("0-0\n")
    assert main([*flags(folder), "--output", "lex.bin", *more]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("build_shortlist.py: error: ")
    assert message in line
    assert not (tmp_path / "lex.bin").exists()
