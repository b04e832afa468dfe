"""The language model: steps, generation, losses, and its place as the decoder of transformers' wrapper models."""

from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.testing import assert_close

from hf_rnnattn import RnnAttnConfig, RnnAttnForCausalLM
from lively_models import DECODERS, enlarge, fit_output, make_lively, sources, targets
from model_zoo import MEMORY_READERS, build, tiny_config

EXACT = {"rtol": 0.0, "atol": 1e-12}
ALONE = {
    name: fields
    for name, fields in DECODERS.items()
    if not any(reader in " ".join(fields["decoder_mixers"]) for reader in MEMORY_READERS)
    and not fields.keys() & {"decoder_init", "copy_from_source", "hard_attention"}
}
ALONE["deeper than the encoder"] = {"encoder_mixers": ["gru"], "decoder_mixers": ["lstm", "full_attention", "gru"]}
each_decoder = pytest.mark.parametrize("name", ALONE)


def language_model(name: str, **overrides: Any) -> RnnAttnForCausalLM:
    """A float64 model whose outputs vary."""
    torch.manual_seed(0)
    fields = {"vocab_size": 13, "eos_token_id": None, "tie_word_embeddings": False, "output_bias": True}
    model = RnnAttnForCausalLM(tiny_config(**{**fields, **ALONE[name], **overrides})).eval().double()
    generator = torch.Generator().manual_seed(0)
    enlarge(model, generator)
    ids = torch.randint(0, 13, (96, 12), generator=generator)
    fit_output(model, ids, input_ids=ids)
    return model


def prompts(rows: int = 3, length: int = 6) -> torch.Tensor:
    return torch.randint(3, 13, (rows, length), generator=torch.Generator().manual_seed(2))


def greedy(model: Any, ids: torch.Tensor, steps: int = 12, **inputs: Any) -> torch.Tensor:
    return model.generate(input_ids=ids, max_new_tokens=steps, do_sample=False, **inputs)


@each_decoder
def test_steps_with_a_cache_give_what_one_pass_gives(name: str) -> None:
    model, ids = language_model(name), prompts(length=9)
    whole = model(ids, use_cache=False).logits
    cache, steps = None, []
    for part in (ids[:, :4], *ids[:, 4:].split(1, dim=1)):
        outputs = model(part, cache=cache, use_cache=True)
        cache = outputs.cache
        steps.append(outputs.logits)
    assert_close(torch.cat(steps, dim=1), whole, **EXACT)


@each_decoder
def test_every_way_of_caching_generates_what_no_cache_does(name: str) -> None:
    model, ids = language_model(name), prompts()
    wanted = greedy(model, ids, use_cache=False)
    assert len(wanted[:, 6:].unique()) > 2
    ways: list[dict[str, Any]] = [{}, {"cache_implementation": "static", "disable_compile": True}]
    ways.append({"prefill_chunk_size": 4})
    for way in ways:
        assert torch.equal(greedy(model, ids, **way), wanted), way
    one = greedy(model, ids[:1], prompt_lookup_num_tokens=3)
    assert torch.equal(one, wanted[:1])
    assert torch.equal(greedy(model, ids[:1], assistant_model=language_model("gru")), wanted[:1])


@each_decoder
def test_prompts_padded_on_the_left_go_on_as_they_do_alone(name: str) -> None:
    model, ids = language_model(name), prompts()
    lengths = (6, 4, 3)
    mask = torch.tensor([[0] * (6 - length) + [1] * length for length in lengths])
    for ways in ({}, {"num_beams": 3}, {"cache_implementation": "static", "disable_compile": True}):
        together = greedy(model, ids * mask, attention_mask=mask, **ways)
        for row, length in enumerate(lengths):
            alone = greedy(model, ids[row : row + 1, -length:], **ways)
            assert torch.equal(together[row, -12:], alone[0, -12:]), ways


def test_vectors_in_place_of_tokens_generate_the_same() -> None:
    model, ids = language_model("gru+full_attention"), prompts()
    vectors = model.get_input_embeddings()(ids)
    from_vectors = model.generate(inputs_embeds=vectors, max_new_tokens=8, do_sample=False)
    assert torch.equal(from_vectors, greedy(model, ids, steps=8)[:, 6:])


def test_labels_are_what_follows() -> None:
    model, ids = language_model("ssru"), prompts()
    labels = ids.clone()
    labels[1, 3:] = -100
    outputs = model(ids, labels=labels)
    wanted = nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert_close(outputs.loss, wanted, **EXACT)
    assert_close(model(ids, labels=labels, num_items_in_batch=4).loss, wanted * 12 / 4, **EXACT)
    assert model(ids[:, :1], labels=ids[:, :1]).loss.item() == 0.0


def test_only_the_last_logits_are_made_if_no_others_are_asked_for() -> None:
    model, ids = language_model("lstm"), prompts()
    whole = model(ids).logits
    assert_close(model(ids, logits_to_keep=2).logits, whole[:, -2:], **EXACT)
    assert_close(model(ids, logits_to_keep=torch.tensor([0, 3])).logits, whole[:, [0, 3]], **EXACT)


def test_what_needs_an_encoder_is_refused_without_one() -> None:
    with pytest.raises(ValueError, match="'bahdanau_gru', which reads an encoder: add_cross_attention must be True"):
        RnnAttnForCausalLM(tiny_config(decoder_mixers=["ssru", "bahdanau_gru"]))
    with pytest.raises(ValueError, match="decoder_init 'mean' starts from an encoder's output"):
        RnnAttnForCausalLM(tiny_config(decoder_init="mean"))
    with pytest.raises(ValueError, match="has no encoder: encoder_hidden_states must be None"):
        language_model("gru")(prompts(), encoder_hidden_states=torch.zeros(3, 4, 16).double())
    names = [name for name, _ in language_model("gru").named_parameters()]
    assert not [name for name in names if "cross_attention" in name]


# Of another width, or reading of their encoder what another one does not tell.
OF_THEIR_ENCODER = ("widths", "init_last", "luong_stack", "copying", "source_reversed")


@pytest.mark.parametrize("name", [name for name in DECODERS if name not in OF_THEIR_ENCODER])
def test_the_decoder_of_an_encoder_decoder_loads_as_a_language_model(name: str, tmp_path: Any) -> None:
    seq2seq = make_lively(**DECODERS[name])
    seq2seq.save_pretrained(tmp_path)
    config = RnnAttnConfig.from_pretrained(tmp_path, is_decoder=True, add_cross_attention=True)
    loaded, report = RnnAttnForCausalLM.from_pretrained(
        tmp_path, config=config, dtype=torch.float64, output_loading_info=True
    )
    assert not report["missing_keys"]
    ids, inputs = targets(seq2seq), sources(seq2seq)
    wanted = seq2seq(**inputs, decoder_input_ids=ids)
    memory = {"encoder_hidden_states": wanted.encoder_last_hidden_state}
    memory["encoder_attention_mask"] = inputs["attention_mask"]
    assert_close(loaded.eval()(ids, **memory).logits, wanted.logits, **EXACT)


def test_resizing_keeps_the_old_logits_and_the_tie() -> None:
    model = language_model("ssru", tie_word_embeddings=True)
    before = model(prompts()).logits
    model.resize_token_embeddings(17)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert model.config.vocab_size == model.config.encoder_vocab_size == 17
    assert_close(model(prompts()).logits[..., :13], before, **EXACT)
    RnnAttnConfig.from_dict(model.config.to_dict())


def bert() -> Any:
    config = transformers.BertConfig(
        vocab_size=19, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    return transformers.BertModel(config), {
        "input_ids": prompts(),
        "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 6]),
    }


def vit() -> Any:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
    )
    return transformers.ViTModel(config), {"pixel_values": torch.randn(3, 3, 8, 8)}


def wav2vec2() -> Any:
    config = transformers.Wav2Vec2Config(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(4, 4),
        conv_kernel=(8, 4),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0,
    )
    mask = torch.ones(3, 400).long()
    mask[1, 200:] = 0
    return transformers.Wav2Vec2Model(config), {"input_values": torch.randn(3, 400) * mask, "attention_mask": mask}


WRAPPERS = {"EncoderDecoderModel": bert, "VisionEncoderDecoderModel": vit, "SpeechEncoderDecoderModel": wav2vec2}
WRAPPED = ("gru", "bahdanau_gru", "gru+full_attention", "full_attention+ssru", "additive", "init_mean", "init_last")


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", WRAPPED)
def test_transformers_wrappers_take_it_as_their_decoder(wrapper: str, name: str, tmp_path: Any) -> None:
    torch.manual_seed(0)
    encoder, inputs = WRAPPERS[wrapper]()
    fields = {**DECODERS[name], "is_decoder": True, "add_cross_attention": True, "eos_token_id": None}
    decoder = transformers.AutoModelForCausalLM.from_config(tiny_config(**fields))
    model = getattr(transformers, wrapper)(encoder=encoder, decoder=decoder).eval()
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, None
    outputs = model(**inputs, labels=prompts())
    outputs.loss.backward()
    lacking = [name for name, p in model.decoder.named_parameters() if p.grad is None]
    assert not lacking

    wanted = model.generate(**inputs, max_new_tokens=8, do_sample=False, use_cache=False)
    assert torch.equal(model.generate(**inputs, max_new_tokens=8, do_sample=False), wanted)
    beams = model.generate(**inputs, max_new_tokens=8, num_beams=3, do_sample=False, use_cache=False)
    assert torch.equal(model.generate(**inputs, max_new_tokens=8, num_beams=3, do_sample=False), beams)

    model.save_pretrained(tmp_path)
    loaded = getattr(transformers, wrapper).from_pretrained(tmp_path).eval()
    assert_close(loaded(**inputs, labels=prompts()).logits, outputs.logits, rtol=0, atol=1e-5)
    assert torch.equal(loaded.generate(**inputs, max_new_tokens=8, do_sample=False), wanted)


def test_padding_of_the_wrapped_encoder_changes_nothing() -> None:
    torch.manual_seed(0)
    encoder, inputs = bert()
    fields = {
        "is_decoder": True,
        "add_cross_attention": True,
        "decoder_init": "last",
        "decoder_mixers": ["lstm", "bahdanau_gru"],
    }
    decoder = transformers.AutoModelForCausalLM.from_config(tiny_config(**fields))
    model = transformers.EncoderDecoderModel(encoder=encoder, decoder=decoder).eval().double()
    ids = prompts()
    together = model(**inputs, decoder_input_ids=ids).logits[1]
    alone = model(input_ids=inputs["input_ids"][1:2, :4], decoder_input_ids=ids[1:2]).logits[0]
    assert_close(together, alone, **EXACT)


def test_it_is_built_from_the_wrappers_config_alone() -> None:
    encoder, inputs = bert()
    decoder = tiny_config(decoder_mixers=["gru"], is_decoder=True, add_cross_attention=True)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder)
    config.decoder_start_token_id, config.pad_token_id = 1, 0
    model = transformers.EncoderDecoderModel(config=config).eval()
    assert isinstance(model.decoder, RnnAttnForCausalLM)
    model.generation_config.decoder_start_token_id = 1
    assert model.generate(**inputs, max_new_tokens=4, num_beams=2).shape[0] == 3


def test_the_language_model_learns_a_batch_by_heart() -> None:
    torch.manual_seed(0)
    model, ids = RnnAttnForCausalLM(tiny_config(decoder_mixers=["ssru", "gru+full_attention"])).train(), prompts()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(80):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.5  # the first tokens of the rows cannot all be told apart
    assert torch.equal(greedy(model.eval(), ids[:, :2], steps=4), ids)


def test_building_it_leaves_other_models_of_the_config_alone() -> None:
    config = tiny_config()
    seq2seq = build(config)
    RnnAttnForCausalLM(config)
    assert seq2seq.config.is_encoder_decoder
    assert not getattr(config, "is_decoder", False)
