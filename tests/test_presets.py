"""Every preset builds, learns, generates, saves and loads, and is what its name says."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

import hf_rnnattn
from hf_rnnattn.__main__ import main
from hf_rnnattn.model.mixers import MIXERS
from hf_rnnattn.preset_table import preset_table
from hf_rnnattn.presets import PRESETS, preset_config, preset_model
from model_zoo import batch
from small_presets import WRITERS, each_preset, inputs_of, small


@each_preset
def test_every_preset_learns(name):
    model = small(name).train()
    inputs = inputs_of(model)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(8):
        output = model(**inputs)
        loss = output.last_hidden_state.square().mean() if "loss" not in output else output.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@each_preset
def test_every_preset_saves_and_loads(name, tmp_path):
    model = small(name).eval()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    inputs = inputs_of(model)
    ours, theirs = (
        [value for value in one(**inputs).values() if isinstance(value, torch.Tensor)] for one in (model, loaded)
    )
    assert_close(theirs, ours, rtol=0.0, atol=1e-5)
    assert loaded.config.to_diff_dict().keys() - {"_name_or_path"} == model.config.to_diff_dict().keys()


@pytest.mark.parametrize("name", WRITERS)
def test_every_preset_that_writes_generates_alone_what_it_does_among_padded_rows(name):
    model = small(name, tie_word_embeddings=False).eval().double()
    given = batch(model.config)
    source = {name: given[name] for name in ("input_ids", "attention_mask")}
    together = model.generate(**source, num_beams=2, min_new_tokens=6, max_new_tokens=6)
    for row in range(3):
        ids = source["input_ids"][row][source["attention_mask"][row].bool()][None]
        alone = model.generate(ids, num_beams=2, min_new_tokens=6, max_new_tokens=6)
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "birnn"])
def test_between_the_two_sides_there_is_one_vector_and_no_attention(name):
    """Sources that end in the same state, or in the same last output, are one to the decoder."""
    model = small(name).eval()
    inputs = inputs_of(model)
    assert not model(**inputs, output_attentions=True).cross_attentions
    encoded = model.get_encoder()(inputs["input_ids"], attention_mask=inputs["attention_mask"])
    if encoded.final_states is not None:  # all that is read: the outputs may be anything
        before = model(
            attention_mask=inputs["attention_mask"], labels=inputs["labels"], encoder_outputs=encoded
        ).logits
        encoded.last_hidden_state = torch.randn_like(encoded.last_hidden_state)
        after = model(attention_mask=inputs["attention_mask"], labels=inputs["labels"], encoder_outputs=encoded).logits
        assert torch.equal(before, after)


def test_the_transformer_is_that_of_torch():
    """Equal outputs of torch.nn.Transformer with the same weights."""
    model = small("transformer").eval().double()
    peer = nn.Transformer(16, 2, 6, 6, 24, 0.0, batch_first=True, dtype=torch.float64).eval()
    peer.encoder.norm = peer.decoder.norm = None  # Vaswani et al. have none at the end of a post-norm stack
    for side, layers in (("encoder", peer.encoder.layers), ("decoder", peer.decoder.layers)):
        for ours, theirs in zip(getattr(model.model, side).layers, layers, strict=True):
            copy_layer(ours, theirs)
    given = batch(model.config)
    source = model.model.encoder.embeddings(given["input_ids"], None, None, torch.arange(7)[None], None)
    target = model.model.decoder.embeddings(given["decoder_input_ids"], None, None, torch.arange(5)[None], None)
    want = peer(source, target, tgt_mask=nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64))
    got = model.model(input_ids=given["input_ids"], decoder_input_ids=given["decoder_input_ids"]).last_hidden_state
    assert_close(got, want, rtol=0.0, atol=1e-10)


def copy_layer(ours: Any, theirs: Any) -> None:
    """Gives a layer of torch the weights of one of ours."""
    attentions = [(ours.mixers[0], theirs.self_attn)]
    norms = [(ours.mixer_connections[0], theirs.norm1)]
    if hasattr(ours, "cross_attention"):
        attentions.append((ours.cross_attention, theirs.multihead_attn))
        norms.append((ours.cross_attention_connection, theirs.norm2))
    last = theirs.norm3 if hasattr(theirs, "norm3") else theirs.norm2
    norms.append((ours.feed_forward_connection, last))
    with torch.no_grad():
        for mine, other in attentions:
            parts = (mine.q_proj, mine.k_proj, mine.v_proj)
            other.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            other.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
            other.out_proj.load_state_dict(mine.out_proj.state_dict())
    for connection, norm in norms:
        norm.load_state_dict(connection.norm_after.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward.fc1.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.fc2.state_dict())


def test_the_encoder_of_bert_has_the_size_of_bert():
    """108,891,648: the base model without its pooler, as google/bert-base-uncased has it."""
    with torch.device("meta"):
        assert preset_model("bert-encoder").num_parameters() == 108_891_648


def test_a_preset_is_a_config_whose_fields_can_be_given_otherwise():
    config = preset_config("bahdanau", hidden_size=64, encoder_hidden_size=128, embedding_size=32)
    assert (config.hidden_size, config.decoder_mixers, config.readout) == (64, ["bahdanau_gru"], "deep")
    with pytest.raises(ValueError, match=r"preset must be one of elman, .*, got 'bahdanow'"):
        preset_config("bahdanow")


def test_classes_of_presets_are_public_and_their_mixers_registered():
    for preset in PRESETS.values():
        assert preset.model in hf_rnnattn.__all__
        for side in ("encoder", "decoder"):
            entries = preset.fields.get(f"{side}_mixers", [])
            assert all(part in MIXERS for entry in entries for part in entry.split("+"))


def test_the_command_prints_every_preset_with_its_size(capsys):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == preset_table().splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    sizes = {line.split()[0]: line.split()[1] for line in lines}
    assert sizes["bert-encoder"] == "108.9"
    for name in ("elman", "ssru-student-tiny"):
        with torch.device("meta"):
            assert sizes[name] == f"{preset_model(name).num_parameters() / 1e6:.1f}"


def test_auto_classes_load_presets(tmp_path):
    for name, auto in (("luong-feed", AutoModelForSeq2SeqLM), ("captioner", AutoModelForCausalLM)):
        small(name).save_pretrained(tmp_path / name)
        assert type(auto.from_pretrained(tmp_path / name)).__name__ == PRESETS[name].model
