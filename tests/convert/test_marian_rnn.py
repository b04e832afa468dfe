"""Recurrent models of Marian: s2s, amun and nematus, against what Marian itself translates."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

from fixtures.make_marian_rnn import FOLDER, NAMES
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_folder import convert_marian
from hf_rnnattn.convert.marian_old_names import with_new_names
from hf_rnnattn.convert.marian_rnn import model_from_marian_rnn
from hf_rnnattn.convert.marian_rnn_options import RULES
from hf_rnnattn.convert.marian_vocabulary import build_tokenizer, read_vocabulary
from hf_rnnattn.convert.marian_writing import binary_bytes, npz_bytes

VOCABULARY = FOLDER / "vocab.spm"
SENTENCES = (FOLDER / "sentences.txt").read_text(encoding="utf-8").splitlines()
each_model = pytest.mark.parametrize("name", NAMES)


def checkpoint_of(name):
    return read_marian(FOLDER / name / "model.npz")


def recorded(name, file="marian.txt"):
    return (FOLDER / name / file).read_text(encoding="utf-8").splitlines()


@each_model
def test_greedy_texts_are_those_of_marian(name):
    model = model_from_marian_rnn(checkpoint_of(name))
    vocabulary = read_vocabulary(VOCABULARY)
    tokenizer = build_tokenizer(vocabulary, vocabulary)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    assert tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True) == recorded(name)


def test_a_converted_folder_translates_through_the_pipeline_as_marian_does(tmp_path):
    convert_marian(FOLDER / "deep" / "model.npz", VOCABULARY, VOCABULARY, output=tmp_path / "deep")
    translator = pipeline("translation", model=str(tmp_path / "deep"))
    assert [record["translation_text"] for record in translator(SENTENCES[:8])] == recorded("deep")[:8]


def test_a_converted_model_goes_on_learning(tmp_path):
    """Every weight gets a gradient, and a step on one pair makes that pair more likely."""
    model = model_from_marian_rnn(checkpoint_of("nematus-ln"))
    vocabulary = read_vocabulary(VOCABULARY)
    tokenizer = build_tokenizer(vocabulary, vocabulary)
    batch = tokenizer(["tomato"], text_target=["T AH M EY T OW"], return_tensors="pt")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        loss = model(**batch).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("container", ["npz", "bin"])
def test_old_and_new_names_give_one_model(container, tmp_path):
    """What type amun says in its own names, type s2s says in Marian's."""
    old = checkpoint_of("amun")
    new = with_new_names(old)
    assert {"decoder_cell2_Wx", "encoder_bi_r_U", "decoder_ff_logit_l1_W2", "encoder_Wemb"} <= new.tensors.keys()
    assert "Wemb_dec" not in new.tensors
    write = {"npz": npz_bytes, "bin": binary_bytes}[container]
    (tmp_path / "s2s").write_bytes(write("type: s2s\ntied-embeddings: false", new.tensors))
    models = [model_from_marian_rnn(one) for one in (old, read_marian(tmp_path / "s2s"))]
    for ours, theirs in zip(*(model.state_dict().items() for model in models), strict=True):
        assert ours[0] == theirs[0]
        assert torch.equal(ours[1], theirs[1])


def test_names_of_deep_transitions_count_on():
    names = ["encoder_r_Ux_drt_1", "decoder_U_nl_drt_2_lns", "decoder_bx_nl_drt_1", "ff_logit_ctx_ln_s", "uidx"]
    old = replace(checkpoint_of("amun"), tensors={name: np.zeros((1, 1), np.float32) for name in names})
    assert list(with_new_names(old).tensors) == [
        "encoder_bi_r_cell2_Ux",
        "decoder_cell4_U_lns",
        "decoder_cell3_bx",
        "decoder_ff_logit_l1_ln_s2",
    ]


FAULTS = {
    "enc-cell": "sru",
    "dec-cell": "mgru",
    "enc-type": "unidirectional",
    "dec-attention-hops": 2,
    "dec-attention-heads": 4,
    "dec-attention-lookup-dim": 64,
    "dec-attention-projection-dim": 64,
    "dec-attention-bilinear-lookup": True,
    "right-left": True,
    "ulr": True,
    "lemma-dim-emb": 8,
    "factors-dim-emb": 8,
    "lemma-dependency": "re-embedding",
    "input-types": ["sequence", "class"],
    "enc-depth": 0,
    "dec-depth": "two",
    "enc-cell-depth": True,
    "dec-cell-base-depth": 1,
    "dec-cell-high-depth": 10**9,
    "layer-normalization": "yes",
    "skip": 1,
    "dim-rnn": 49,
    "dim-emb": 31,
}


@pytest.mark.parametrize(("key", "value"), FAULTS.items(), ids=list(FAULTS))
def test_an_option_without_counterpart_is_refused_with_key_and_value(key, value):
    checkpoint = checkpoint_of("lstm")
    faulty = replace(checkpoint, options={**checkpoint.options, key: value})
    with pytest.raises(ValueError, match=rf"{key}.*{re.escape(repr(value))}") as error:
        model_from_marian_rnn(faulty)
    assert checkpoint.source in str(error.value)


def test_every_rule_has_a_fault_here():
    assert set(RULES) - {"type"} <= set(FAULTS)


def test_what_only_nematus_does_is_refused_elsewhere():
    checkpoint = checkpoint_of("nematus-ln")
    for changed in ({"type": "s2s"}, {"dec-cell": "gru"}):
        with pytest.raises(ValueError, match="layer-normalization with cells"):
            model_from_marian_rnn(replace(checkpoint, options={**checkpoint.options, **changed}))
    options = {**checkpoint_of("alternating").options, "enc-type": "bi-unidirectional"}
    with pytest.raises(ValueError, match="enc-type is 'bi-unidirectional' with enc-depth 3"):
        model_from_marian_rnn(replace(checkpoint_of("alternating"), options=options))


def test_weights_that_are_missing_left_over_or_of_another_shape_are_named():
    checkpoint = checkpoint_of("gru-ln")
    tensors = dict(checkpoint.tensors)
    gamma = tensors.pop("decoder_cell2_gamma2")
    with pytest.raises(ValueError, match=r"missing: decoder_cell2_gamma2; not understood: none"):
        model_from_marian_rnn(replace(checkpoint, tensors=tensors))
    with pytest.raises(ValueError, match=r"missing: none; not understood: decoder_cell9_U"):
        model_from_marian_rnn(replace(checkpoint, tensors={**checkpoint.tensors, "decoder_cell9_U": gamma}))
    with pytest.raises(ValueError, match=r"decoder_cell2_gamma2 in .* must give shape \(144,\), got \(143,\)"):
        model_from_marian_rnn(
            replace(checkpoint, tensors={**checkpoint.tensors, "decoder_cell2_gamma2": gamma[:, 1:]})
        )
    for name in ("decoder_cell1_U", "decoder_Wemb", "decoder_ff_logit_l2_Wt"):
        tensors = {key: values for key, values in checkpoint.tensors.items() if key != name}
        with pytest.raises(ValueError, match=name):
            model_from_marian_rnn(replace(checkpoint, tensors=tensors))


def test_an_output_without_bias_still_never_writes_padding():
    checkpoint = checkpoint_of("lstm")
    tensors = {name: values for name, values in checkpoint.tensors.items() if name != "decoder_ff_logit_l2_b"}
    bias = model_from_marian_rnn(replace(checkpoint, tensors=tensors)).lm_head.bias
    assert not bias[:-1].any()
    assert bias[-1] == -1e4


WORDS = '"</s>": 0\n"<unk>": 1\n"no": 2\n"3": 3\n"it@@": 4\n'


def test_a_list_of_words_becomes_the_tokenizer(tmp_path):
    (tmp_path / "words.yml").write_text(WORDS, encoding="utf-8")
    tokenizer = build_tokenizer(read_vocabulary(tmp_path / "words.yml"), None)
    assert tokenizer("no 3 it@@ what").input_ids == [2, 3, 4, 1, 0]
    assert tokenizer.pad_token_id == 5
    assert tokenizer.decode([4, 2, 0, 5], skip_special_tokens=True) == "it@@ no"


def test_a_list_of_words_is_cut_to_the_embeddings_and_converts(tmp_path):
    """As Marian's --dim-vocabs cuts it; the lists of both sides may differ in length."""
    checkpoint = checkpoint_of("lstm")
    words = "".join(f'"{word}": {i}\n' for i, word in enumerate(["eos", "UNK", *(f"w{i}" for i in range(250))]))
    (tmp_path / "words.yml").write_text(words, encoding="utf-8")
    shorter = {**checkpoint.tensors, "encoder_Wemb": checkpoint.tensors["encoder_Wemb"][:150]}
    (tmp_path / "model.npz").write_bytes(npz_bytes("type: s2s\nenc-cell: lstm\ndec-cell: lstm", shorter))
    lists = tmp_path / "words.yml"
    convert_marian(tmp_path / "model.npz", lists, lists, output=tmp_path / "made")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "made")
    assert tokenizer("w0 w147 w148").input_ids == [2, 149, 1, 0]
    assert tokenizer(text_target="w147 w197 w198").input_ids == [149, 199, 1, 0]
    batch = tokenizer(["w0", "w1 w2"], padding=True, return_tensors="pt")
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "made").generate(**batch).max() <= 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "must map words to numbers, got list"),
        ('"</s>": 0\n"<unk>": one', "must map words to numbers, got 'one' for '<unk>'"),
        ('"</s>": 0\n"<unk>": 2', "must number its words from 0 without a gap"),
        ('"</s>": 0\n"a": 0', "has 'a' and '</s>' as number 0"),
        ('"<unk>": 0\n"</s>": 1', "word 0 of .* must be one of </s>, eos, <eos>"),
        ('"</s>": 0', "word 1 of .* must be one of <unk>, UNK"),
        ("{", "is no YAML"),
    ],
)
def test_a_list_that_is_none_is_refused(text, message, tmp_path):
    (tmp_path / "words.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_vocabulary(tmp_path / "words.yml")


def test_vocabularies_of_two_kinds_and_of_factors_are_refused(tmp_path):
    (tmp_path / "words.yml").write_text(WORDS, encoding="utf-8")
    with pytest.raises(ValueError, match="must be of one kind"):
        build_tokenizer(read_vocabulary(VOCABULARY), read_vocabulary(tmp_path / "words.yml"))
    with pytest.raises(ValueError, match="factors are not read"):
        read_vocabulary(tmp_path / "words.fsv")
