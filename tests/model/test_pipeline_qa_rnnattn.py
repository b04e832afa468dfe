"""Questions are answered as transformers 4 answered them, by models of transformers and ours."""

import itertools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertModel,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    PreTrainedTokenizerFast,
    pipeline,
)
from transformers.pipelines.pt_utils import KeyDataset

from hf_rnnattn import QuestionAnsweringPipeline, RnnAttnConfig, RnnAttnForQuestionAnswering
from hf_rnnattn.tokenizer_training import train_tokenizer

CONTEXT = "my name is wolfgang and i live in berlin. who are you? "
QUESTION = "where do i live"
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "where", "do", "i", "live", "my", "name", "is", "wolf"]
WORDS += ["gang", "and", "in", "who", "are", "you", ".", "?", "##gang", "##lin", "ber", "##fg"]
SIZES = {"vocab_size": len(WORDS), "hidden_size": 16}
BERT_SIZES = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "initializer_range": 0.6}
FAMILIES = {
    "bert": lambda: BertForQuestionAnswering(BertConfig(**SIZES, **BERT_SIZES)),
    "distilbert": lambda: DistilBertForQuestionAnswering(
        DistilBertConfig(vocab_size=len(WORDS), dim=16, n_layers=1, n_heads=2, hidden_dim=16, initializer_range=0.6)
    ),
    "ours": lambda: RnnAttnForQuestionAnswering(
        RnnAttnConfig(**SIZES, encoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, init_std=0.6)
    ),
}
each_family = pytest.mark.parametrize("family", FAMILIES)
each_side = pytest.mark.parametrize("side", ["right", "left"])


def tokenizer(side="right"):
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side=side, model_input_names=names, **special)


def make(family="bert", side="right", **kwargs):
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    return pipeline("question-answering", model=model, tokenizer=tokenizer(side), device="cpu", **kwargs)


def every_span(pipe, max_answer_len):
    """Score and characters of every span of the context, by looking at all of them."""
    right = pipe.tokenizer.padding_side == "right"
    texts = (QUESTION, CONTEXT) if right else (CONTEXT, QUESTION)
    encoded = pipe.tokenizer(*texts, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    inside = [i for i, place in enumerate(encoded.sequence_ids(0)) if place == int(right)]
    taken = {
        name: encoded[name] for name in encoded if name != "token_type_ids" or "Distil" not in str(type(pipe.model))
    }
    outputs = pipe.model(**taken)
    kept = [0, *inside]  # [CLS] stands for no answer, and has its part of the probability
    start, end = (outputs[name][0, kept].double().softmax(-1) for name in ("start_logits", "end_logits"))
    for (i, first), (j, last) in itertools.product(enumerate(inside), repeat=2):
        if 0 <= j - i < max_answer_len:
            yield (start[i + 1] * end[j + 1]).item(), offsets[first][0], offsets[last][1]


@each_family
@each_side
@pytest.mark.parametrize("max_answer_len", [1, 3, 15])
def test_the_best_spans_of_all_are_returned(family, side, max_answer_len):
    pipe = make(family, side, align_to_words=False, max_answer_len=max_answer_len)
    wanted = sorted(every_span(pipe, max_answer_len), reverse=True)
    answers = pipe(question=QUESTION, context=CONTEXT, top_k=3)
    (score, start, end), best = wanted[0], answers[0]
    assert best == {"score": pytest.approx(score, abs=1e-5), "start": start, "end": end, "answer": CONTEXT[start:end]}
    assert [answer["start"] for answer in answers] == [start for _, start, _ in wanted[:3]]


@each_family
@each_side
def test_outputs_have_the_shapes_of_version_4(family, side):
    pipe = make(family, side)
    one = pipe(question=QUESTION, context=CONTEXT)
    assert {key: type(value) for key, value in one.items()} == {
        "score": float,
        "start": int,
        "end": int,
        "answer": str,
    }
    assert one["answer"] == CONTEXT[one["start"] : one["end"]]
    sample = {"question": QUESTION, "context": CONTEXT}
    for same in (pipe(sample), pipe([sample]), pipe(QUESTION, CONTEXT), pipe(question=[QUESTION], context=[CONTEXT])):
        assert same == one
    two = pipe(question=[QUESTION, "who"], context=CONTEXT)
    assert two == [one, pipe(question="who", context=CONTEXT)]
    three = pipe(question=QUESTION, context=CONTEXT, top_k=3)
    assert isinstance(three, list)
    assert len(three) == 3
    assert three[0] == one
    assert pipe(question=[QUESTION, "who"], context=CONTEXT, top_k=3)[0] == three
    assert list(pipe(iter_of(sample))) == [one, one]
    assert list(pipe(KeyDataset([{"sample": sample}] * 2, "sample"))) == [one, one]


def iter_of(sample):
    yield sample
    yield sample


# BERT and its like count positions over padding on the left, and then answer otherwise in a batch
@pytest.mark.parametrize(
    ("family", "side"), [("bert", "right"), ("distilbert", "right"), ("ours", "right"), ("ours", "left")]
)
def test_a_long_context_is_read_in_overlapping_pieces_whatever_the_batch(family, side):
    pipe = make(family, side)
    long = {"question": QUESTION, "context": CONTEXT * 6}
    alone = pipe(long, max_seq_len=24, doc_stride=6, top_k=4)
    short = {"question": "who", "context": CONTEXT}
    together = pipe([long, short], max_seq_len=24, doc_stride=6, top_k=4, batch_size=3)
    assert [answer["answer"] for answer in together[0]] == [answer["answer"] for answer in alone]
    for one, other in zip(together[0], alone, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    for answer in alone:
        assert answer["answer"] == long["context"][answer["start"] : answer["end"]]
    pieces = list(pipe.preprocess(long, max_seq_len=24, doc_stride=6))
    assert len(pieces) > 5
    assert [piece["is_last"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_answers_are_widened_to_words_and_equal_ones_added_up():
    pipe = make()
    for answer in pipe(question=QUESTION, context=CONTEXT, top_k=8):
        start, end = answer["start"], answer["end"]
        assert start == 0 or not (CONTEXT[start - 1].isalpha() and CONTEXT[start].isalpha())
        assert end == len(CONTEXT) or not (CONTEXT[end - 1].isalpha() and CONTEXT[end].isalpha())
    twice = pipe(question=QUESTION, context="berlin berlin", top_k=10, max_answer_len=2)
    assert [answer["answer"] for answer in twice].count("berlin") == 1


def test_no_answer_is_an_answer_if_it_is_asked_for():
    pipe = make()
    with torch.no_grad():
        pipe.model.qa_outputs.weight.zero_()
    answers = pipe(question=QUESTION, context=CONTEXT, handle_impossible_answer=True, top_k=20, max_answer_len=1)
    nothing = [answer for answer in answers if answer["answer"] == ""]
    places = sum(place != 0 for place in pipe.tokenizer(QUESTION, CONTEXT).sequence_ids(0) if place is not None)
    assert nothing == [{"score": pytest.approx((1 / (places + 1)) ** 2), "start": 0, "end": 0, "answer": ""}]


@pytest.mark.parametrize("side", ["right", "left"])
def test_no_answer_has_the_same_score_whatever_the_batch(side):
    pipe = make("ours", side, handle_impossible_answer=True, top_k=500)
    samples = [{"question": "who", "context": "my name"}, {"question": QUESTION, "context": CONTEXT}]
    alone, together = pipe(samples), pipe(samples, batch_size=2)
    for one, other in zip(alone, together, strict=True):
        (none,), (same,) = ([answer for answer in answers if answer["answer"] == ""] for answers in (one, other))
        assert none["score"] > 0
        assert same["score"] == pytest.approx(none["score"], abs=1e-6)


def test_without_a_token_for_no_answer_it_is_never_the_answer():
    pipe = make()
    pipe.tokenizer.cls_token = None
    answers = pipe(question=QUESTION, context=CONTEXT, handle_impossible_answer=True, top_k=500)
    assert answers[-1] == {"score": 0.0, "start": 0, "end": 0, "answer": ""}
    assert pipe(question=QUESTION, context="my")["score"] == 1.0


def test_pieces_overlap_by_no_more_than_they_hold():
    pipe, long = make(), {"question": QUESTION, "context": CONTEXT * 4}
    pieces = list(pipe.preprocess(long, max_seq_len=12, doc_stride=10))
    insides = [[i for i, outside in enumerate(piece["p_mask"][0].tolist()) if not outside] for piece in pieces]
    firsts = [piece["encoding"].offsets[inside[0]][0] for piece, inside in zip(pieces, insides, strict=True)]
    assert len(insides[0]) == 5  # 12, less 4 of the question and 3 special tokens
    offsets = pipe.tokenizer(long["context"], add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert firsts == [start for start, _ in offsets[: len(firsts)]]  # 4 of 5 tokens are shared
    assert pieces[-1]["encoding"].offsets[insides[-1][-1]][1] == offsets[-1][1]


@pytest.mark.parametrize(("limit", "positions", "expected"), [(10**30, 512, 384), (40, 512, 40), (10**30, 30, 30)])
def test_pieces_are_no_longer_than_tokenizer_and_model_allow(limit, positions, expected):
    pipe = make()
    pipe.tokenizer.model_max_length = limit
    pipe.model.config.max_position_embeddings = positions
    pieces = list(pipe.preprocess({"question": QUESTION, "context": CONTEXT * 40}))
    assert pieces[0]["input_ids"].shape == (1, expected)


def test_a_row_of_squad_a_squad_example_and_lone_surrogates_are_samples():
    pipe = make()
    one = pipe(question=QUESTION, context=CONTEXT)
    assert pipe({"id": "1", "title": "", "question": QUESTION, "context": CONTEXT, "answers": {}}) == one
    assert pipe(SimpleNamespace(question_text=QUESTION, context_text=CONTEXT)) == one
    assert pipe(question="who \ud800", context=CONTEXT) == pipe(question="who \ufffd", context=CONTEXT)


def test_no_questions_have_no_answers():
    pipe = make()
    assert pipe([]) == []
    assert pipe(question=[], context=CONTEXT) == []


def test_answers_are_parts_of_the_context_with_every_tokenizer_of_ours():
    texts = [QUESTION, CONTEXT]
    for kind in ("char", "whitespace", "wordpiece", "bpe"):
        trained = train_tokenizer(texts, kind=kind)
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        model = RnnAttnForQuestionAnswering(RnnAttnConfig(**sizes, **trained.config_fields())).eval()
        pipe = pipeline("question-answering", model=model, tokenizer=trained, device="cpu", top_k=5)
        samples = [{"question": QUESTION, "context": CONTEXT}, {"question": "who", "context": CONTEXT * 2}]
        for answers, sample in zip(pipe(samples), samples, strict=True):
            assert len(answers) == 5
            for answer in answers:
                assert answer["answer"]
                assert answer["answer"] == sample["context"][answer["start"] : answer["end"]]


def test_any_model_with_start_and_end_scores_will_do_and_no_other():
    pipe = make()
    one = pipe(question=QUESTION, context=CONTEXT)
    pipe.model.config.return_dict = False
    assert pipe(question=QUESTION, context=CONTEXT) == one
    model = BertModel(BertConfig(**SIZES, **BERT_SIZES))
    other = pipeline("question-answering", model=model, tokenizer=tokenizer(), device="cpu")
    with pytest.raises(ValueError, match="model must give start_logits and end_logits, got BertModel"):
        other(question=QUESTION, context=CONTEXT)


def test_a_long_question_is_cut():
    pipe = make()
    asked = pipe(question="where do i live who are you", context=CONTEXT, max_question_len=4)
    assert asked == pipe(question=QUESTION, context=CONTEXT)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"question": "", "context": CONTEXT}, ValueError, "question must be a string that is not empty"),
        ({"question": QUESTION, "context": ""}, ValueError, "context must be a string that is not empty"),
        ({"question": QUESTION}, ValueError, "question and context must be given"),
        ({"question": [QUESTION] * 2, "context": [CONTEXT]}, ValueError, "one for each of 2 questions"),
        ({"question": QUESTION, "context": CONTEXT, "top_k": 0}, ValueError, "top_k must be at least 1, got 0"),
        ({"question": QUESTION, "context": CONTEXT, "max_answer_len": 0}, ValueError, "max_answer_len must be"),
        (
            {"question": QUESTION, "context": CONTEXT, "max_seq_len": 20, "doc_stride": 30},
            ValueError,
            r"doc_stride must be at most max_seq_len \(20\), got 30",
        ),
        (
            {"question": QUESTION, "context": CONTEXT, "max_seq_len": 7},
            ValueError,
            "the question has 4 tokens, max_seq_len is 7",
        ),
        ({"question": 3, "context": CONTEXT}, ValueError, "question must be a string or a list of strings, got 3"),
    ],
)
def test_wrong_inputs_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        make()(**arguments)


def test_a_sample_without_its_keys_is_refused():
    with pytest.raises(KeyError, match="question and context"):
        make()({"question": QUESTION})
    with pytest.warns(UserWarning, match="topk is called top_k"):
        assert len(make()(question=QUESTION, context=CONTEXT, topk=2)) == 2


def test_a_pipeline_saves_and_loads(tmp_path):
    pipe = make("ours")
    assert type(pipe) is QuestionAnsweringPipeline
    pipe.save_pretrained(tmp_path)
    again = pipeline("question-answering", model=str(tmp_path), device="cpu")
    wanted, found = (one(question=QUESTION, context=CONTEXT) for one in (pipe, again))
    assert found["answer"] == wanted["answer"]
    assert not list(tmp_path.glob("*.py"))


def test_a_pipeline_can_be_saved_with_its_code(tmp_path):
    pipe = make("distilbert")
    pipe.save_pretrained(tmp_path, with_code=True)
    names = {"pipeline_qa_rnnattn", "pipeline_inputs", "pipeline_samples", "pipeline_saving", "pipeline_spans"}
    names |= {"transformers_versions"}
    assert {path.stem for path in tmp_path.glob("*.py")} == names
    entry = json.loads((tmp_path / "config.json").read_text())["custom_pipelines"]["question-answering"]
    assert entry["impl"] == "pipeline_qa_rnnattn.QuestionAnsweringPipeline"
    assert entry["pt"] == ["AutoModelForQuestionAnswering"]
    assert not hasattr(pipe.model.config, "custom_pipelines")
    with pytest.raises(ValueError, match="trust_remote_code"):
        pipeline("question-answering", model=str(tmp_path), device="cpu")
    code = "import sys, json; from transformers import pipeline; " + (
        "pipe = pipeline('question-answering', model=sys.argv[1], device='cpu', trust_remote_code=True); "
        "print(json.dumps(pipe(question=sys.argv[2], context=sys.argv[3]))); assert 'hf_rnnattn' not in sys.modules"
    )
    variables = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    command = [sys.executable, "-c", code, str(tmp_path), QUESTION, CONTEXT]
    run = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    wanted = pipe(question=QUESTION, context=CONTEXT)
    assert json.loads(run.stdout) == {**wanted, "score": pytest.approx(wanted["score"])}
