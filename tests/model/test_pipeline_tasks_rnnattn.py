"""Summaries and translations have the names, keys, languages and warnings that transformers 4 gave them."""

import logging

import pytest
import torch
from transformers import MBartConfig, MBartForConditionalGeneration, PreTrainedTokenizerFast, pipeline
from transformers.pipelines import check_task

from hf_rnnattn import SummarizationPipeline, TranslationPipeline
from tiny_seq2seq import EOS, FAMILIES, PAD, VOCABULARY, character_tokenizer, tiny_model

KEYS = {"summarization": "summary", "translation": "translation", "translation_en_to_fr": "translation"}
CLASSES = {"summary": SummarizationPipeline, "translation": TranslationPipeline}


def make(task, family="bart", tokenizer=None, model=None, **kwargs):
    model = tiny_model(family) if model is None else model
    settings = {"max_new_tokens": 8, "num_beams": 2, "device": "cpu", **kwargs}
    return pipeline(task, model=model, tokenizer=tokenizer or character_tokenizer(), **settings)


@pytest.mark.parametrize("task", KEYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_records_have_the_keys_of_their_task_and_the_text_of_text2text(task, family):
    pipe, texts, name = make(task, family), ["hello", "a longer text"], KEYS[task]
    assert type(pipe) is CLASSES[name]
    plain = make("text2text-generation", family)
    assert pipe("hello") == [{f"{name}_text": plain("hello")[0]["generated_text"]}]
    assert pipe(texts, batch_size=2) == [{f"{name}_text": record["generated_text"]} for record in plain(texts)]
    several = pipe(texts, num_return_sequences=2)
    assert [[list(record) for record in records] for records in several] == [[[f"{name}_text"]] * 2] * 2
    (record,) = pipe("hello", return_tensors=True)
    assert list(record) == [f"{name}_token_ids"]
    assert isinstance(record[f"{name}_token_ids"], torch.Tensor)


@pytest.mark.parametrize("family", ["t5", "rnnattn"])
def test_the_prefix_of_a_pair_of_languages_goes_before_the_text(family):
    model = tiny_model(family)
    model.config.task_specific_params = {
        "translation_en_to_fr": {"prefix": "fr ", "num_beams": 1, "max_new_tokens": 5},
        "translation_en_to_de": {"prefix": "de ", "max_new_tokens": 5},
    }
    plain = pipeline("text2text-generation", model=tiny_model(family), tokenizer=character_tokenizer(), device="cpu")
    for task, prefix, beams in (("translation_en_to_fr", "fr ", 1), ("translation_en_to_de", "de ", 4)):
        pipe = pipeline(task, model=model, tokenizer=character_tokenizer(), device="cpu")
        wanted = plain(prefix + "hello", max_new_tokens=5, num_beams=beams)[0]["generated_text"]
        assert pipe("hello") == [{"translation_text": wanted}]
    with pytest.warns(UserWarning, match="translation_en_to_fr is taken"):
        pipe = pipeline("translation", model=model, tokenizer=character_tokenizer(), device="cpu")
    assert pipe.prefix == "fr "


def test_translation_of_any_pair_is_the_task_translation():
    assert check_task("translation_en_to_fr")[::2] == ("translation", ("en", "fr"))
    assert check_task("translation")[0] == "translation"
    for wrong in ("translation_en_fr", "translation_en_to", "translation_eng_Latn_to_fra_Latn", "translations"):
        with pytest.raises(KeyError, match=f"{wrong}, use 'translation_XX_to_YY' format"):
            check_task(wrong)


def test_defaults_are_those_of_version_4():
    defaults = {task: check_task(task)[1]["default"] for task in ("summarization", "translation")}
    assert defaults["summarization"]["model"][0] == "sshleifer/distilbart-cnn-12-6"
    assert {pair: entry["model"][0] for pair, entry in defaults["translation"].items()} == {
        ("en", "fr"): "google-t5/t5-base",
        ("en", "de"): "google-t5/t5-base",
        ("en", "ro"): "google-t5/t5-base",
    }
    with pytest.raises(ValueError, match=r"options \('en', 'it'\)"):
        pipeline("translation_en_to_it")
    with pytest.raises(ValueError, match="defaults can't be correctly selected"):
        pipeline("translation")


class LanguageTokenizer(PreTrainedTokenizerFast):
    """What multilingual tokenizers of transformers do for the pipeline: languages are tokens before the text."""

    def _build_translation_inputs(self, raw_inputs, return_tensors, src_lang, tgt_lang, **kwargs):
        if src_lang is None or tgt_lang is None:
            raise ValueError("Translation requires a `src_lang` and a `tgt_lang` for this model")
        encoded = self(src_lang + raw_inputs, return_tensors=return_tensors, **kwargs)
        encoded["forced_bos_token_id"] = self.convert_tokens_to_ids(tgt_lang)
        return encoded


def multilingual():
    tokenizer = LanguageTokenizer(
        tokenizer_object=character_tokenizer().backend_tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    torch.manual_seed(0)
    config = MBartConfig(
        vocab_size=len(VOCABULARY),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        init_std=0.5,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=EOS,
    )
    return MBartForConditionalGeneration(config).eval(), tokenizer


@pytest.mark.parametrize("batch_size", [1, 2])
def test_languages_of_the_call_or_the_task_reach_a_multilingual_tokenizer(batch_size):
    model, tokenizer = multilingual()
    pipe = make("translation_a_to_b", model=model, tokenizer=tokenizer, return_tensors=True)
    texts, letter = ["hello", "you there"], tokenizer.convert_tokens_to_ids
    for record in pipe(texts, batch_size=batch_size):
        assert record["translation_token_ids"][1] == letter("b")
    for record in pipe(texts, batch_size=batch_size, src_lang="c", tgt_lang="d"):
        assert record["translation_token_ids"][1] == letter("d")
    other = make("translation", model=model, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="requires a `src_lang` and a `tgt_lang`"):
        other("hello")


def test_unlikely_lengths_are_warned_of(caplog):
    summarize, translate = make("summarization", max_new_tokens=None), make("translation", max_new_tokens=None)
    with caplog.at_level(logging.WARNING):
        summarize("hello you", max_length=40)
    assert "max_length is 40, but a text of the batch has only 10 tokens" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="hf_rnnattn"):
        summarize.check_inputs(50, 30, 20)
    assert "min_length 30 is above max_length 20" in caplog.text
    with caplog.at_level(logging.WARNING):
        translate("hello you", max_length=11)
    assert "max_length is 11, and a text of the batch has 10 tokens" in caplog.text
    caplog.clear()
    translate("hello you", max_length=40)
    assert not [record for record in caplog.records if record.name.startswith("hf_rnnattn")]
