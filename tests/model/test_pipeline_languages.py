"""Translation by the multilingual tokenizers and models of transformers, and with their tokenizers by ours."""

import pytest
import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
    pipeline,
)

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration

TEXTS = ["hello", "a longer text", "b"]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
VOCABULARY = 300  # room for every tokenizer's letters and languages
LETTERS = [*"▁abcdefghijklmnopqrstuvwxyz"]
SETTINGS = {"max_new_tokens": 6, "num_beams": 2}


def m2m100_tokenizer(folder):
    sentencepiece = pytest.importorskip("sentencepiece", reason="M2M100's tokenizer is written with it")
    texts = folder / "texts.txt"
    texts.write_text("\n".join([*TEXTS, "abcdefghijklmnopqrstuvwxyz"] * 3), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts), model_prefix=str(folder / "sp"), vocab_size=40, hard_vocab_limit=False, minloglevel=2
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))
    words = SPECIAL + [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text("{" + ", ".join(f'"{w}": {i}' for i, w in enumerate(words)) + "}", encoding="utf-8")
    return M2M100Tokenizer(str(vocabulary), str(folder / "sp.model"))


# Tokenizer, and two languages in its spelling.
TOKENIZERS = {
    "nllb": (lambda _: NllbTokenizer(vocab={c: i for i, c in enumerate(SPECIAL + LETTERS)}), "eng_Latn", "fra_Latn"),
    "mbart": (lambda _: MBartTokenizer(vocab=[(c, -1.0) for c in SPECIAL + LETTERS]), "en_XX", "ro_RO"),
    "mbart50": (lambda _: MBart50Tokenizer(vocab=[(c, -1.0) for c in SPECIAL + LETTERS]), "en_XX", "fr_XX"),
    "m2m100": (m2m100_tokenizer, "en", "fr"),
}
SIZES = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
SIZES |= {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
MODELS = {
    "m2m100": lambda size: M2M100ForConditionalGeneration(M2M100Config(vocab_size=size, d_model=16, **SIZES, **IDS)),
    "mbart": lambda size: MBartForConditionalGeneration(MBartConfig(vocab_size=size, d_model=16, **SIZES, **IDS)),
    "ours": lambda size: RnnAttnForConditionalGeneration(
        RnnAttnConfig(vocab_size=size, hidden_size=16, **SIZES, **IDS)
    ),
}
PAIRS = [("nllb", "m2m100"), ("mbart", "mbart"), ("mbart50", "mbart"), ("m2m100", "m2m100"), ("nllb", "ours")]
PAIRS += [("m2m100", "ours")]
each_pair = pytest.mark.parametrize(("tokenizer", "model"), PAIRS, ids=map("-".join, PAIRS))


@pytest.fixture
def parts(tokenizer, model, tmp_path):
    """A tokenizer, a model with its vocabulary, and two of the tokenizer's languages."""
    build, source, target = TOKENIZERS[tokenizer]
    built = build(tmp_path)
    torch.manual_seed(0)
    network = MODELS[model](VOCABULARY).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn_like(parameter) * (2.0 / parameter.shape[1] ** 0.5))
    return {"model": network, "tokenizer": built}, source, target


def by_hand(parts, text, source, target):
    """Token ids without the pipeline, as the models' documentation tells to make them."""
    tokenizer, model = parts["tokenizer"], parts["model"]
    tokenizer.src_lang = source
    get_id = getattr(tokenizer, "get_lang_id", tokenizer.convert_tokens_to_ids)
    inputs = tokenizer(text, return_tensors="pt")
    ids = model.generate(**inputs, **SETTINGS, forced_bos_token_id=get_id(target))[0]
    assert ids[1] == get_id(target)
    return ids


@each_pair
def test_the_languages_reach_the_tokenizer_and_the_first_token(parts):
    parts, source, target = parts
    wanted = {text: by_hand(parts, text, source, target) for text in TEXTS}
    text_of = {text: parts["tokenizer"].decode(ids, skip_special_tokens=True) for text, ids in wanted.items()}
    pipe = pipeline("translation", **parts, device="cpu", **SETTINGS)
    (record,) = pipe("hello", src_lang=source, tgt_lang=target, return_tensors=True)
    assert torch.equal(record["translation_token_ids"], wanted["hello"])
    fixed = pipeline("translation", **parts, device="cpu", src_lang=source, tgt_lang=target, **SETTINGS)
    translations = [{"translation_text": text_of[text]} for text in TEXTS]
    assert fixed(TEXTS) == translations
    assert fixed(TEXTS, batch_size=3) == translations
    back = fixed("hello", src_lang=target, tgt_lang=source, return_tensors=True)[0]["translation_token_ids"]
    assert torch.equal(back, by_hand(parts, "hello", target, source))
    assert not torch.equal(back, wanted["hello"])


@each_pair
def test_a_missing_language_is_asked_for(parts):
    parts, source, _ = parts
    pipe = pipeline("translation", **parts, device="cpu", **SETTINGS)
    for given in ({}, {"src_lang": source}):
        with pytest.raises(ValueError, match="requires a `src_lang` and a `tgt_lang`"):
            pipe("hello", **given)


@pytest.mark.parametrize(("tokenizer", "model"), [("m2m100", "m2m100")])
def test_the_name_of_the_task_may_say_the_languages(parts):
    parts, source, target = parts
    pipe = pipeline(f"translation_{source}_to_{target}", **parts, device="cpu", **SETTINGS)
    (record,) = pipe("hello", return_tensors=True)
    assert torch.equal(record["translation_token_ids"], by_hand(parts, "hello", source, target))
    (record,) = pipe("hello", return_tensors=True, src_lang=target, tgt_lang=source)
    assert torch.equal(record["translation_token_ids"], by_hand(parts, "hello", target, source))
