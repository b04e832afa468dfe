"""Beam search as Marian does it: against Marian's own translations, and against the plainest loop."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.make_marian_rnn import FOLDER as RECURRENT
from fixtures.make_marian_rnn import NAMES
from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_rnn import model_from_marian_rnn
from hf_rnnattn.convert.marian_vocabulary import build_tokenizer, read_vocabulary
from hf_rnnattn.narrowing_beams import narrowing_beam_search
from lively_models import DECODERS, lively_model, sources
from sources import PROJECT

STUDENTS = {
    name: (PROJECT / "tests" / "fixtures" / name, file)
    for name, file in (("marian", "model.intgemm.alphas.bin"), ("marian_trained", "model.intgemm8.bin"))
}
BEAMS = 4


def lines(path: Any) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def translate(model: Any, tokenizer: Any, sentences: list[str], **options: Any) -> list[str]:
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    tokens = model.generate(**batch, num_beams=BEAMS, custom_generate=narrowing_beam_search, **options)
    return tokenizer.batch_decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("name", NAMES)
def test_recurrent_models_choose_what_marian_chooses(name):
    vocabulary = read_vocabulary(RECURRENT / "vocab.spm")
    tokenizer = build_tokenizer(vocabulary, vocabulary)
    model = model_from_marian_rnn(read_marian(RECURRENT / name / "model.npz"))
    found = translate(model, tokenizer, lines(RECURRENT / "sentences.txt"))
    assert found == lines(RECURRENT / name / "marian.beam4.txt")


@pytest.mark.parametrize("name", STUDENTS)
def test_students_choose_what_marian_chooses(name):
    folder, file = STUDENTS[name]
    tokenizer = build_tokenizer(read_vocabulary(folder / "vocab.spm"), None)
    model = model_from_marian(read_marian(folder / file))
    sentences = lines(folder / "sentences.txt")
    assert translate(model, tokenizer, sentences) == lines(folder / "marian.beam4.txt")
    assert (
        translate(model, tokenizer, sentences[3:4]) == lines(folder / "marian.beam4.txt")[3:4]
    )  # alone as in a batch


def by_hand(model: Any, source: Tensor, beams: int, length: int, power: float) -> tuple[list[int], float]:
    """One sentence, without a cache: the hypotheses that go on are lists, the best that ended is kept."""
    end, start = model.config.eos_token_id, model.config.decoder_start_token_id
    going: list[tuple[float, list[int]]] = [(0.0, [start])]
    width, best = beams, (-torch.inf, [start])
    while going:
        steps = []
        for score, ids in going:
            logits = model(input_ids=source, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
            steps += [(score + float(step), [*ids, token]) for token, step in enumerate(logits.log_softmax(-1))]
        kept = sorted(steps, key=lambda step: -step[0])[:width]
        ended = [step for step in kept if step[1][-1] == end or len(step[1]) > length]
        going = [step for step in kept if step not in ended]
        width = len(going)
        best = max([best, *((score / (len(ids) - 1) ** power, ids) for score, ids in ended)])
    return best[1], best[0]


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_every_decoder_finds_what_the_plainest_loop_finds(name):
    model: Any = lively_model(name, eos=5)
    inputs = sources(model)
    found = model.generate(
        **inputs, num_beams=3, length_penalty=2.0, max_new_tokens=8, custom_generate=narrowing_beam_search,
        return_dict_in_generate=True,
    )  # fmt: skip
    for row in range(2):
        source = inputs["input_ids"][row][inputs["attention_mask"][row].bool()][None]
        ids, score = by_hand(model, source, 3, 8, 2.0)
        assert found.sequences[row].tolist()[: len(ids)] == ids
        assert set(found.sequences[row].tolist()[len(ids) :]) <= {model.config.pad_token_id}
        assert float(found.sequences_scores[row]) == pytest.approx(score, abs=1e-5)


def test_one_beam_is_greedy_decoding():
    model: Any = lively_model("mixed", eos=5)
    inputs = sources(model)
    greedy = model.generate(**inputs, max_new_tokens=6)
    assert torch.equal(model.generate(**inputs, max_new_tokens=6, custom_generate=narrowing_beam_search), greedy)


def test_several_translations_a_sentence_are_refused():
    model: Any = lively_model("lstm", eos=5)
    with pytest.raises(ValueError, match="num_return_sequences must be 1, got 2"):
        model.generate(**sources(model), num_beams=2, num_return_sequences=2, custom_generate=narrowing_beam_search)
