"""A student that Marian trained on real sentences, see fixtures/marian_trained: what Marian says is what we say."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from hf_rnnattn.convert.marian_folder import convert_marian

FOLDER = Path(__file__).parent.parent / "fixtures" / "marian_trained"
SENTENCES = (FOLDER / "sentences.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    convert_marian(FOLDER / "model.intgemm8.bin", FOLDER / "vocab.spm", output=folder)
    return AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def lines(name):
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def translate(translator, texts, **options):
    """Texts, and with several beams the mean log-probability of each."""
    model, tokenizer = translator
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    output = model.generate(**batch, return_dict_in_generate=True, output_scores=True, **options)
    return tokenizer.batch_decode(output.sequences, skip_special_tokens=True), output.get("sequences_scores")


def test_a_trained_student_translates_as_marian_does(translator):
    marian = lines("marian.txt")
    assert len(set(marian)) > len(marian) // 2  # a model that says the same to everything would prove nothing
    texts, _ = translate(translator, SENTENCES)
    assert texts == marian


def test_beams_find_what_marian_finds_or_what_scores_higher(translator):
    """Marian narrows its beam with every translation that ends; transformers does not, and may find a better one."""
    texts, ours = translate(translator, SENTENCES, num_beams=4, early_stopping="never")
    theirs = torch.tensor([float(score) for score in lines("marian.beam4.scores.txt")])
    assert torch.all(ours > theirs - 1e-5)
    same = torch.tensor([text == other for text, other in zip(texts, lines("marian.beam4.txt"), strict=True)])
    torch.testing.assert_close(ours[same], theirs[same], rtol=0, atol=1e-5)
    assert same.float().mean() > 0.8


def test_a_sentence_is_translated_alike_alone_and_in_a_batch(translator):
    alone = [translate(translator, [text])[0][0] for text in SENTENCES[:8]]
    assert alone == translate(translator, SENTENCES[:8])[0]
