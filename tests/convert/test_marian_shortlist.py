"""Lexical shortlists: the file, the candidates, and what Marian writes with them."""

import struct

import pytest
import torch

from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_shortlist import MAGIC, read_shortlist, write_shortlist
from hf_rnnattn.convert.sentencepiece_tokenizer import tokenizer_from_sentencepiece
from hf_rnnattn.convert.sentencepiece_vocabulary import read_sentencepiece
from hf_rnnattn.model.shortlist_rnnattn import Candidates, LexicalShortlist
from model_zoo import tiny_model
from students import MODEL, SENTENCES, SHORTLIST, VOCABULARY, recorded


@pytest.fixture(scope="module")
def model():
    return model_from_marian(read_marian(MODEL))


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_from_sentencepiece(read_sentencepiece(VOCABULARY))


@pytest.fixture(scope="module")
def shortlist():
    return read_shortlist(SHORTLIST)


def translate(model, tokenizer, batch_size=8, **options):
    found = []
    for at in range(0, len(SENTENCES), batch_size):
        batch = tokenizer(SENTENCES[at : at + batch_size], padding=True, return_tensors="pt")
        found += tokenizer.batch_decode(model.generate(**batch, **options), skip_special_tokens=True)
    return found


@pytest.mark.parametrize("batch_size", [1, 8])
def test_greedy_translations_over_the_shortlist_are_those_of_marian(model, tokenizer, shortlist, batch_size):
    assert recorded("marian.shortlist.txt") != recorded("marian.txt")
    found = translate(model, tokenizer, batch_size, shortlist=shortlist)
    assert found == recorded("marian.shortlist.txt")


def score(model, source, target, shortlist):
    """The mean log-probability of the target's tokens among the candidates."""
    candidates = Candidates(shortlist, None)
    candidates.fill(torch.tensor([source]), model.lm_head, model.config.vocab_size, shared=True)
    ids = torch.tensor([[model.config.decoder_start_token_id, *target[:-1]]])
    with torch.no_grad():
        logits = model(torch.tensor([source]), decoder_input_ids=ids, decoder_candidates=candidates).logits[0]
    return logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None]).mean().item()


def test_4_beams_over_the_shortlist_find_what_marian_finds_or_better(model, tokenizer, shortlist):
    """Beams end at other times than Marian's: among texts that no model would write, some differ."""
    found = translate(model, tokenizer, shortlist=shortlist, num_beams=4)
    theirs = recorded("marian.shortlist.beam4.txt")
    different = [i for i, (text, other) in enumerate(zip(found, theirs, strict=True)) if text != other]
    assert len(different) <= 6
    for i in different:
        source = tokenizer(SENTENCES[i]).input_ids
        ours = model.generate(torch.tensor([source]), shortlist=shortlist, num_beams=4)[0, 1:].tolist()
        other = tokenizer(theirs[i]).input_ids[: 2 * len(source)]
        assert score(model, source, ours, shortlist) >= score(model, source, other, shortlist)


def test_only_the_rows_of_candidates_are_multiplied(model, tokenizer, shortlist, monkeypatch):
    products = []
    monkeypatch.setattr(type(model.lm_head), "forward", counted(type(model.lm_head).forward, products))
    monkeypatch.setattr("hf_rnnattn.model.shortlist_rnnattn.linear", lambda layer, x: layer(x))
    batch = tokenizer(SENTENCES[:3], padding=True, return_tensors="pt")
    model.generate(**batch, shortlist=shortlist, num_beams=2)
    sizes = {rows for rows, layer in products if layer is not model.lm_head and rows not in (128, 256)}
    assert model.lm_head not in [layer for _, layer in products]
    (size,) = sizes
    assert size < 600 < model.config.vocab_size


def counted(forward, products):
    def call(layer, x):
        products.append((layer.out_features, layer))
        return forward(layer, x)

    return call


def test_a_wrapped_output_matrix_is_called_whole_and_gives_the_same(model, tokenizer, shortlist):
    calls = []
    handle = model.lm_head.register_forward_hook(lambda *args: calls.append(1))
    try:
        assert translate(model, tokenizer, shortlist=shortlist) == recorded("marian.shortlist.txt")
    finally:
        handle.remove()
    assert calls


def test_candidates_are_the_first_the_lists_and_the_source_filled_up_to_a_multiple_of_8():
    lists = LexicalShortlist(2, 3, torch.tensor([0, 0, 3, 4]), torch.tensor([7, 9, 20, 30]))
    assert lists.candidates(torch.tensor([1, 2]), 40, shared=True).tolist() == [0, 1, 2, 3, 7, 9, 20, 30]
    assert lists.candidates(torch.tensor([1]), 40, shared=False).tolist() == [0, 1, 2, 3, 4, 7, 9, 20]
    assert lists.candidates(torch.tensor([35]), 40, shared=True).tolist() == [0, 1, 2, 3, 4, 5, 6, 35]
    with pytest.raises(ValueError, match="has id 30, the vocabulary 25 tokens"):
        lists.candidates(torch.tensor([2]), 25, shared=False)


def test_the_last_source_token_may_have_no_list():
    """Some files have as many offsets as tokens: the last list is not closed."""
    lists = LexicalShortlist(8, 1, torch.tensor([0, 1]), torch.tensor([20, 21]))
    assert lists.candidates(torch.tensor([0, 1]), 40, shared=False).tolist() == [*range(15), 20]


def test_a_row_may_not_use_the_candidates_of_another():
    model = tiny_model()
    lists = LexicalShortlist(
        0, 8, torch.tensor([*range(0, 24 * 8, 8)]), torch.arange(23 * 8) // 8 % 2 * 11 + torch.arange(23 * 8) % 8
    )
    candidates = Candidates(lists, None)
    candidates.fill(torch.tensor([[2], [3]]), model.lm_head, 23, shared=False)
    x = torch.randn(4, 1, 16)
    logits = candidates.logits(model.lm_head, x)
    expected = model.lm_head(x)
    for row, allowed in enumerate([range(8), range(8), range(11, 19), range(11, 19)]):
        finite = logits[row, 0].isfinite()
        assert finite.nonzero().flatten().tolist() == list(allowed)
        torch.testing.assert_close(logits[row, 0][finite], expected[row, 0][finite])


def test_a_source_without_ids_is_refused(model, shortlist):
    encoded = model.get_encoder()(torch.tensor([[5, 0]]))
    with pytest.raises(ValueError, match="needs the source's input_ids"):
        model.generate(encoder_outputs=encoded, shortlist=shortlist)


# The file


def test_a_file_of_marian_written_again_is_the_same(shortlist, tmp_path):
    write_shortlist(shortlist, tmp_path / "lex.bin")
    assert (tmp_path / "lex.bin").read_bytes() == SHORTLIST.read_bytes()
    assert (shortlist.first, shortlist.best) == (50, 50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:40], "it has 40 bytes"),
        (lambda data: b"12345678" + data[8:], f"must begin with {MAGIC:#x}"),
        (lambda data: data[:-4], "its header tells of 1025 offsets and 10240 ids"),
        (lambda data: data[:32] + struct.pack("<Q", 2**61) + data[40:], "its header tells of"),
        (lambda data: data[:-8] + bytes(8), "has checksum 0x"),
        (lambda data: data[:60] + b"\x01" + data[61:], "has checksum 0x"),
    ],
)
def test_a_damaged_file_is_refused(change, message, tmp_path):
    (tmp_path / "lex.bin").write_bytes(change(SHORTLIST.read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_shortlist(tmp_path / "lex.bin")


@pytest.mark.parametrize("offsets", [[], [0, 3, 2], [1, 2], [0, 5]])
def test_offsets_must_rise(offsets):
    with pytest.raises(ValueError, match="offsets must rise from 0 to at most 4"):
        LexicalShortlist(1, 1, torch.tensor(offsets), torch.arange(4))
