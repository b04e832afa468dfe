"""From this family back to Marian's files, and to an engine that is not ours."""

import copy
import tempfile

import fxtranslate
import numpy as np
import pytest
import sentencepiece
import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_export import FORMATS, export_marian, table_of
from hf_rnnattn.convert.sentencepiece_tokenizer import tokenizer_from_sentencepiece
from hf_rnnattn.convert.sentencepiece_vocabulary import read_sentencepiece
from model_zoo import tiny_model
from students import MODEL, SENTENCES, VOCABULARY, student


@pytest.fixture(scope="module")
def model():
    return model_from_marian(read_marian(MODEL))


def alphas_of(model):
    """Any multipliers, one a matrix."""
    names = [name for weight in table_of(model.config) if weight.form == "matrix" for name in weight.sources]
    output = ["Wemb", "none"]
    return {f"{name}_QuantMultA": np.full((1, 1), 20 + i, np.float32) for i, name in enumerate(names + output)}


def exported(model, file):
    alphas = alphas_of(model) if file.name.endswith("alphas.bin") else None
    export_marian(model, file, alphas)
    return read_marian(file)


OPTIONS = [
    {},
    {"shared": False},
    {"shared": False, "source_pieces": 9},
    {"shared": False, "source_pieces": 17},
    {"tied_output": False},
    {"shared": False, "tied_output": False, "source_pieces": 17},
    {"transformer_ffn_activation": "swish", "transformer_guided_alignment_layer": "1"},
]


@pytest.mark.parametrize(
    ("kind", "options"),
    [(kind, options) for kind in FORMATS for options in OPTIONS if "int" not in kind or "tied_output" not in options],
)
def test_import_export_import_is_the_identity(kind, options, tmp_path):
    checkpoint = student(**options, pieces=16)
    if "int" in kind:  # the weights of a file in 8 bits
        checkpoint = exported(model_from_marian(checkpoint), tmp_path / f"rounded.{kind}")
    first = model_from_marian(checkpoint)
    read = exported(first, tmp_path / f"model.{kind}")
    assert read.tensors.keys() == checkpoint.tensors.keys()
    assert read.dropped == checkpoint.dropped
    for name, values in checkpoint.tensors.items():
        assert np.array_equal(read.tensors[name], values), name
    second = model_from_marian(read)
    assert second.config.to_dict() == first.config.to_dict()
    assert second.generation_config.to_dict() == first.generation_config.to_dict()
    for (name, ours), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(ours, other), name
    if "int" in kind:
        assert (tmp_path / f"model.{kind}").read_bytes() == (tmp_path / f"rounded.{kind}").read_bytes()


@pytest.mark.parametrize("kind", ["intgemm8.bin", "intgemm.alphas.bin"])
def test_a_file_in_8_bits_comes_back_bit_for_bit(kind, model, tmp_path):
    found, original = exported(model, tmp_path / f"model.{kind}"), read_marian(MODEL)
    assert found.dropped == (original.dropped if "alphas" in kind else ())
    for name, values in original.tensors.items():
        assert np.array_equal(found.tensors[name], values), name


def fine_tuned(model):
    """The model with every weight that Marian has changed a little, as training changes them."""
    torch.manual_seed(0)
    changed = model_from_marian(read_marian(MODEL))
    with torch.no_grad():
        for name, weight in changed.named_parameters():
            change = 0.02 * torch.randn_like(weight) * weight.std().clamp(min=1e-3)
            if "word_embeddings" in name or name == "lm_head.bias":
                change[-1] = 0
            weight += change
    return changed


def trained(model, **more):
    """The model after some steps of the Trainer, with weight decay."""
    model, tokenizer = copy.deepcopy(model), tokenizer_from_sentencepiece(read_sentencepiece(VOCABULARY))
    rows = dict(tokenizer(SENTENCES, text_target=[text[::-1] for text in SENTENCES]))
    settings = {"max_steps": 5, "learning_rate": 3e-4, "weight_decay": 0.1, "per_device_train_batch_size": 6, **more}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Seq2SeqTrainer(
            model=model,
            args=Seq2SeqTrainingArguments(
                folder, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, **settings
            ),
            train_dataset=Dataset.from_dict(rows),
            data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        )
        trainer.train()
    return model.eval()


def test_training_moves_every_weight(model):
    """Otherwise what is exported below were the model that was converted."""
    for (name, before), after in zip(model.named_parameters(), trained(model).parameters(), strict=True):
        assert not torch.equal(before, after), name


def smoothed(model):
    """The same with label smoothing, which pulls at the logits of all tokens that are ever written."""
    return trained(model, label_smoothing_factor=0.1)


@pytest.mark.parametrize("change", [lambda model: model, fine_tuned, trained, smoothed])
def test_another_engine_translates_the_exported_file_token_for_token(model, change, tmp_path):
    """fxtranslate stops at min(2 L + 4, 256) tokens, may write the unknown token, and prints bytes by their names."""
    exported = change(model)
    export_marian(exported, tmp_path / "model.bin")
    vocabulary = VOCABULARY.read_bytes()
    engine = fxtranslate.Translator(
        model=(tmp_path / "model.bin").read_bytes(), src_vocab=vocabulary, trg_vocab=vocabulary
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(VOCABULARY))
    for text in SENTENCES:
        source = [*pieces.encode(text), 0]
        limit = {"max_length_factor": None, "max_new_tokens": min(2 * len(source) + 4, 256)}
        ids = exported.generate(torch.tensor([source]), suppress_tokens=[1024], **limit)[0, 1:].tolist()
        ours = "".join(pieces.id_to_piece(token) for token in ids if token not in (0, 1024))
        assert engine.translate(text).strip() == ours.replace("▁", " ").strip()


def test_the_same_sentences_are_translated_by_many_tokens(model):
    """The comparison above is not one of empty texts."""
    output = model.generate(torch.tensor([[5, 6, 7, 8, 0]]))
    assert output.shape[1] > 5
    assert len(set(output[0].tolist())) > 3


# What Marian cannot compute


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"norm_position": "pre"}, "norm_position"),
        ({"decoder_mixers": ["gru", "ssru"]}, "cross_attention|decoder_mixers|norm_position"),
        ({"scale_embedding": False}, "norm_position|scale_embedding"),
    ],
)
def test_models_of_other_designs_are_refused_by_the_field(fields, name, tmp_path):
    with pytest.raises(ValueError, match=f"({name}) must be"):
        export_marian(tiny_model(**fields), tmp_path / "model.bin")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("model.decoder.embeddings.word_embeddings.weight", -1, 0.5, "starts from a vector of zeros"),
        ("model.encoder.embeddings.word_embeddings.weight", -1, 0.5, "padding must be a row of zeros"),
        ("lm_head.bias", -1, 0.0, "padding must never be written"),
        ("lm_head.bias", 0, float("nan"), "not finite"),
    ],
)
def test_weights_that_marian_takes_for_zero_must_be(name, place, value, message, tmp_path):
    changed = model_from_marian(student(shared=False))
    with torch.no_grad():
        changed.get_parameter(name)[place] = value
    with pytest.raises(ValueError, match=message):
        export_marian(changed, tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tied_output": False, "pieces": 16}, "tie_word_embeddings must be True"), ({}, "a multiple of 8 pieces .* 13")],
)
def test_what_engines_cannot_read_in_8_bits_is_refused(options, message, tmp_path):
    model = model_from_marian(student(**options))
    export_marian(model, tmp_path / "model.bin")
    with pytest.raises(ValueError, match=message):
        export_marian(model, tmp_path / "model.intgemm8.bin")


def test_another_ending_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of \.npz, \.bin, \.intgemm8\.bin, .* got model\.pt"):
        export_marian(model, tmp_path / "model.pt")
