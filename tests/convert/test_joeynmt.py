"""Recurrent models of JoeyNMT: what is read, and what is refused by its name."""

import pytest
import torch
from transformers import AutoTokenizer

from hf_rnnattn.convert.joeynmt import convert_joeynmt, model_from_joeynmt
from hf_rnnattn.convert.joeynmt_checkpoint import read_joeynmt
from toolkit_models import assembled


def changed(folder, keys=(), value=None, name="gru_bridge", tensors=lambda held: None):
    """A model with another value for an option, or with other weights."""

    def change(options, held):
        tensors(held)
        place = options
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        if keys:
            place[keys[-1]] = value

    return assembled("joeynmt", name, folder, change)


def generation(folder, *option, name="gru_bridge"):
    return model_from_joeynmt(read_joeynmt(changed(folder, *option, name=name))).generation_config


def test_a_folder_stands_for_its_best_checkpoint(tmp_path):
    path = changed(tmp_path / "joey")
    convert_joeynmt(path.parent, output=tmp_path / "folder")
    convert_joeynmt(path, output=tmp_path / "file")
    for file in (tmp_path / "file").iterdir():
        assert (tmp_path / "folder" / file.name).read_bytes() == file.read_bytes(), file.name


def test_words_may_lie_elsewhere(tmp_path):
    path = changed(tmp_path / "joey")
    moved = [path.with_name(name).rename(tmp_path / name) for name in ("src_vocab.txt", "trg_vocab.txt")]
    with pytest.raises(OSError, match=r"no file .*src_vocab.txt: give the words of both sides"):
        convert_joeynmt(path, output=tmp_path / "ours")
    convert_joeynmt(path, *moved, output=tmp_path / "ours")
    assert (tmp_path / "ours" / "target_tokenizer.json").is_file()


def test_characters_and_lower_case_are_read_as_the_config_says(tmp_path):
    path = changed(tmp_path / "joey", ("data", "src", "lowercase"), True)
    convert_joeynmt(path, output=tmp_path / "ours")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert tokenizer("Ab").input_ids == tokenizer("ab").input_ids == [*map(tokenizer.get_src_vocab().get, "ab"), 3]


def test_decoding_is_bounded_as_the_config_says(tmp_path):
    key = ("testing", "max_output_length")
    assert generation(tmp_path / "a").max_length_factor == 1.5
    bounded = generation(tmp_path / "b", key, 40)
    assert bounded.max_new_tokens == 40
    assert getattr(bounded, "max_length_factor", None) is None


def test_start_and_padding_are_never_written_and_unknown_words_as_the_config_says(tmp_path):
    assert generation(tmp_path / "a").suppress_tokens == [2, 1]
    assert generation(tmp_path / "b", ("testing", "generate_unk"), False).suppress_tokens == [2, 1, 0]
    assert generation(tmp_path / "c").min_new_tokens == 1


def test_tied_tables_are_one_parameter(tmp_path):
    model = model_from_joeynmt(read_joeynmt(changed(tmp_path, name="lstm_last")))
    assert model.lm_head.weight is model.get_decoder().get_input_embeddings().weight


ENCODER, DECODER = ("model", "encoder"), ("model", "decoder")
REFUSED = [
    ((*ENCODER, "type"), "transformer", "model.encoder.type is 'transformer' in"),
    ((*DECODER, "type"), "transformer", "model.decoder.type is 'transformer' in"),
    ((*DECODER, "rnn_type"), "rnn", "model.decoder.rnn_type is 'rnn' in .*: only gru and lstm are read"),
    ((*ENCODER, "bidirectional"), False, "model.encoder.bidirectional is False"),
    ((*DECODER, "attention"), "dot", "model.decoder.attention is 'dot'"),
    ((*DECODER, "init_hidden"), "mean", "model.decoder.init_hidden is 'mean'"),
    ((*DECODER, "activation"), "relu", "model.decoder.activation is 'relu'"),
    ((*DECODER, "input_feeding"), "yes", "model.decoder.input_feeding must be true or false, got 'yes'"),
    ((*DECODER, "num_layers"), 0, "model.decoder.num_layers must be an integer in .*, got 0"),
    ((*DECODER, "embeddings", "scale"), True, "both embeddings must be scaled or none"),
    (
        (*DECODER, "embeddings", "embedding_dim"),
        20,
        r"trg_embed\.lut\.weight in .* must have width 20, got",
    ),
    (("model", "tied_softmax"), True, "model.tied_softmax is true in .*, but decoder.output_layer.weight is not"),
    (("data", "src", "level"), "bpe", "data.src.level is 'bpe' in .*: only words and characters are read"),
    (("data", "trg", "normalize"), True, "data.trg.normalize is True"),
    (("data", "src", "tokenizer_cfg"), {"pretokenizer": "moses"}, "data.src.tokenizer_cfg.pretokenizer is 'moses'"),
    (("data", "trg", "has_prompt"), True, "data.trg.has_prompt is True"),
    (("data", "special_symbols"), {"sep_token": "<sep>"}, "data.special_symbols.sep_token is '<sep>'"),
    (("data", "special_symbols"), {"lang_tags": ["<de>"]}, r"data.special_symbols.lang_tags is \['<de>'\]"),
    (("data", "special_symbols"), {"unk_id": 4}, "unk_id is 4 in .*, but its words have it at 0"),
    (("joeynmt_version",), "1.3", "joeynmt_version is '1.3'"),
]


@pytest.mark.parametrize(("keys", "value", "message"), REFUSED)
def test_what_has_no_counterpart_is_refused(keys, value, message, tmp_path):
    path = changed(tmp_path / "joey", keys, value)
    with pytest.raises(ValueError, match=message):
        convert_joeynmt(path, output=tmp_path / "ours")
    assert {file.name for file in tmp_path.iterdir()} == {"joey"}


def test_embeddings_of_two_widths_go_neither_with_a_scale_nor_with_ties(tmp_path):
    def change(options, held):
        options["model"]["encoder"]["embeddings"]["embedding_dim"] = 20

    path = assembled("joeynmt", "lstm_last", tmp_path / "tied", change)
    with pytest.raises(ValueError, match=r"one width where they are tied, got \S+ 20, \S+ 16 in"):
        convert_joeynmt(path, output=tmp_path / "ours")
    path = assembled("joeynmt", "lstm_no_feed", tmp_path / "scaled", change)
    with pytest.raises(ValueError, match="one width where they are scaled"):
        convert_joeynmt(path, output=tmp_path / "ours")


def rename(held):
    held["decoder.rnn.weight_ih_l1"] = held.pop("decoder.rnn.weight_ih_l0")


def cut(held):
    held["decoder.att_vector_layer.weight"] = held["decoder.att_vector_layer.weight"][:, :-1].clone()


def spoil(held):
    held["decoder.bridge_layer.bias"][0] = torch.inf


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (rename, "missing: decoder.rnn.weight_ih_l0; not understood: decoder.rnn.weight_ih_l1"),
        (cut, r"decoder.att_vector_layer.weight in .* must give shape \(24, 64\), got \(24, 63\)"),
        (spoil, "decoder.bridge_layer.bias in .* not finite"),
        (dict.clear, "missing: decoder.att_vector_layer.bias, "),
    ],
)
def test_weights_must_be_all_of_them_and_fit(tensors, message, tmp_path):
    path = changed(tmp_path / "joey", tensors=tensors)
    with pytest.raises(ValueError, match=message):
        convert_joeynmt(path, output=tmp_path / "ours")


def test_words_must_be_as_many_as_rows(tmp_path):
    path = changed(tmp_path / "joey")
    with path.with_name("src_vocab.txt").open("a", encoding="utf-8") as file:
        file.write("new\n")
    with pytest.raises(ValueError, match=r"src_embed.lut.weight in .* must give shape \(31, 16\), got \(30, 16\)"):
        convert_joeynmt(path, output=tmp_path / "ours")


def test_files_that_are_none_are_refused(tmp_path):
    path = changed(tmp_path / "joey")
    torch.save({"weights": {}}, path)
    with pytest.raises(ValueError, match="has no model_state of tensors"):
        convert_joeynmt(path, output=tmp_path / "ours")
    path.with_name("config.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.yaml is no YAML"):
        convert_joeynmt(path, output=tmp_path / "ours")
    path.with_name("config.yaml").write_text("just text", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.yaml must be a mapping, got str"):
        convert_joeynmt(path, output=tmp_path / "ours")
    path.with_name("config.yaml").unlink()
    with pytest.raises(OSError, match=r"no file .*config.yaml: JoeyNMT writes it beside its checkpoints"):
        convert_joeynmt(path, output=tmp_path / "ours")
