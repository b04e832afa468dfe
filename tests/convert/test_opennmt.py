"""Recurrent models of OpenNMT-py: what is read, and what is refused by its name."""

import argparse

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from hf_rnnattn.convert.opennmt import convert_opennmt, model_from_opennmt, tokenizer_from_opennmt
from hf_rnnattn.convert.opennmt_checkpoint import SOURCE_WORDS, TARGET_WORDS, read_opennmt
from hf_rnnattn.convert.torch_checkpoint import plain, read_torch
from toolkit_models import FIXTURES, assembled


def changed(folder, tensors=lambda held: None, name="lstm_general", **options):
    """A model with other values for some options, or with other weights."""

    def change(opt, held):
        opt.update(options)
        tensors(held)

    return assembled("opennmt", name, folder, change)


def resaved(path, change):
    """The same file with something else in it."""
    saved = read_torch(path)
    saved["opt"] = argparse.Namespace(**plain(saved["opt"]))
    change(saved)
    torch.save(saved, path)
    return path


def test_weights_may_lie_beside_the_checkpoint_in_several_safetensors(tmp_path):
    path = changed(tmp_path / "theirs")
    convert_opennmt(path, output=tmp_path / "one")
    tensors = load_file(FIXTURES / "opennmt" / "lstm_general" / "weights.safetensors")
    for number, names in enumerate((sorted(tensors)[:5], sorted(tensors)[5:])):
        shard = path.with_name(f"model_step_3000.0{number}.safetensors")
        save_file({name: tensors[name] for name in names}, shard)
    resaved(path, lambda saved: [saved.pop(part) for part in ("model", "generator")])
    convert_opennmt(path, output=tmp_path / "several")
    for file in (tmp_path / "one").iterdir():
        assert (tmp_path / "several" / file.name).read_bytes() == file.read_bytes(), file.name
    save_file(tensors, path.with_name("model_step_3000.02.safetensors"))
    with pytest.raises(ValueError, match=r"several files of .* hold decoder\.attn\.linear_in\.weight"):
        read_opennmt(path)
    path.with_name("model_step_3000.02.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"02\.safetensors is damaged, or no safetensors"):
        read_opennmt(path)


def test_missing_safetensors_are_an_error(tmp_path):
    path = resaved(changed(tmp_path), lambda saved: saved.pop("model"))
    with pytest.raises(OSError, match=r"no weights in .*: no file model_step_3000\.\*\.safetensors"):
        read_opennmt(path)


def test_the_names_of_version_2_are_understood(tmp_path):
    def rename(saved):
        saved["generator"] = {f"0.{name}": tensor for name, tensor in saved["generator"].items()}

    path = changed(tmp_path)
    want = read_opennmt(path).tensors
    assert read_opennmt(resaved(path, rename)).tensors.keys() == want.keys()


def tie(held):
    held["generator.weight"] = held[TARGET_WORDS].clone()


def test_a_tied_output_is_one_parameter_and_must_be_equal(tmp_path):
    sizes = {"word_vec_size": 24, "src_word_vec_size": 24, "tgt_word_vec_size": 24}

    def widen(held):
        for name in (SOURCE_WORDS, TARGET_WORDS):
            held[name] = torch.randn(len(held[name]), 24)
        for layer in ("encoder", "decoder"):
            held[f"{layer}.rnn.weight_ih_l0"] = torch.randn(72, 24)
        tie(held)

    options = {"share_decoder_embeddings": True, **sizes, "name": "gru_dot"}
    model = model_from_opennmt(read_opennmt(changed(tmp_path / "a", widen, **options)))
    assert model.lm_head.weight is model.get_decoder().get_input_embeddings().weight
    with pytest.raises(ValueError, match=r"share_decoder_embeddings is true in .*, but generator\.weight is not"):
        model_from_opennmt(read_opennmt(changed(tmp_path / "b", share_decoder_embeddings=True)))


def test_one_vocabulary_and_one_table_serve_both_sides(tmp_path):
    def share(saved):
        saved["vocab"]["src"] = saved["vocab"]["tgt"]
        saved["model"][SOURCE_WORDS] = saved["model"][TARGET_WORDS]

    path = resaved(changed(tmp_path / "theirs", share_embeddings=True), share)
    checkpoint = read_opennmt(path)
    model = model_from_opennmt(checkpoint)
    encoder, decoder = model.get_encoder(), model.get_decoder()
    assert encoder.get_input_embeddings().weight is decoder.get_input_embeddings().weight
    tokenizer = tokenizer_from_opennmt(checkpoint)
    assert tokenizer("AH N", text_target="AH N").data == {
        "input_ids": [4, 5],
        "attention_mask": [1, 1],
        "labels": [4, 5, 3],
    }


def test_sources_have_no_end_and_decoding_is_bounded_as_the_toolkits(tmp_path):
    convert_opennmt(changed(tmp_path / "theirs", transforms=["filtertoolong"]), output=tmp_path / "ours")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert tokenizer("e a ?").input_ids == [4, 5, 0]
    settings = model_from_opennmt(read_opennmt(tmp_path / "theirs" / "model_step_3000.pt")).generation_config
    assert (settings.max_length_factor, settings.max_length_offset, settings.max_new_tokens) == (1.25, 5, 250)


REFUSED = [
    ({"encoder_type": "transformer"}, "encoder_type is 'transformer' in .*: only recurrent models are read"),
    ({"decoder_type": "cnn"}, "decoder_type is 'cnn'"),
    ({"model_task": "lm"}, "model_task is 'lm'"),
    ({"rnn_type": "SRU"}, "rnn_type is 'SRU' in .*: only GRU, LSTM are read"),
    ({"global_attention": "none"}, "global_attention is 'none' in .*: only dot, general, mlp are read"),
    ({"global_attention_function": "sparsemax"}, "global_attention_function is 'sparsemax'"),
    ({"generator_function": "sparsemax"}, "generator_function is 'sparsemax'"),
    ({"bridge": True}, "bridge is True"),
    ({"context_gate": "both"}, "context_gate is 'both'"),
    ({"coverage_attn": True}, "coverage_attn is True"),
    ({"copy_attn": True}, "copy_attn is True"),
    ({"position_encoding": True}, "position_encoding is True"),
    ({"n_src_feats": 1}, "n_src_feats is 1"),
    ({"lora_layers": ["linear_in"]}, r"lora_layers is \['linear_in'\]"),
    ({"quant_layers": ["w_1"]}, r"quant_layers is \['w_1'\]"),
    ({"transforms": ["sentencepiece"]}, "transforms has 'sentencepiece' in .*: split texts yourself"),
    ({"data": {"corpus_1": {"transforms": ["prefix"]}}}, "transforms has 'prefix'"),
    ({"dec_layers": 3}, "as many layers as the encoder.* got enc_layers 2, dec_layers 3"),
    ({"tgt_word_vec_size": 8}, r"emb_luts\.0\.weight in .* must have width 8, got shape \(48, 12\)"),
    ({"input_feed": 2}, "input_feed must be true or false, got 2"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_has_no_counterpart_is_refused(options, message, tmp_path):
    path = changed(tmp_path / "theirs", **options)
    with pytest.raises(ValueError, match=message):
        convert_opennmt(path, output=tmp_path / "ours")
    assert {file.name for file in tmp_path.iterdir()} == {"theirs"}


def leave_over(held):
    held["decoder.copy_attn.linear_in.weight"] = torch.zeros(16, 16)


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        (leave_over, {}, r"missing: none; not understood: decoder\.copy_attn\.linear_in\.weight"),
        (lambda held: held.pop("generator.bias"), {}, r"missing: generator\.bias;"),
        (lambda held: None, {"input_feed": 0}, r"missing: decoder\.rnn\.bias_hh_l0"),
        (lambda held: None, {"rnn_type": "GRU"}, r"encoder\.rnn\.\S+ in .* must give shape"),
    ],
)
def test_weights_must_be_all_of_them_and_fit_the_options(tensors, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        convert_opennmt(changed(tmp_path / "theirs", tensors, **options), output=tmp_path / "ours")


def test_the_checkpoint_has_its_own_words(tmp_path):
    path = changed(tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"has its own words: give no words\.txt"):
        convert_opennmt(path, "words.txt", output=tmp_path / "ours")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda saved: saved.pop("opt"), "has no opt and vocab: it is no checkpoint of OpenNMT-py"),
        (lambda saved: saved.update(vocab={"src": "fields"}), "only checkpoints of OpenNMT-py 3 are read"),
        (lambda saved: saved["vocab"].update(src_feats=[["a"]]), "has src_feats: features of words"),
        (lambda saved: saved.update(generator=None), "has no model and generator of tensors"),
        (lambda saved: saved["vocab"].update(decoder_start_token="<2de>"), "'<2de>' is no word of the target"),
        (lambda saved: saved["vocab"]["tgt"].remove("<blank>"), "must give shape|'<blank>' is no word"),
    ],
)
def test_files_that_are_none_are_refused(change, message, tmp_path):
    path = resaved(changed(tmp_path / "theirs"), change)
    with pytest.raises(ValueError, match=message):
        convert_opennmt(path, output=tmp_path / "ours")
