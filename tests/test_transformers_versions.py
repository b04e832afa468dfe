"""Both names of the cache, on every supported version of transformers, and static caches that roll back."""

import warnings
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    BertConfig,
    CompileConfig,
    DynamicCache,
    EncoderDecoderCache,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    GenerationConfig,
    GenerationMixin,
    Pipeline,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    StaticCache,
    Trainer,
)
from transformers.utils import generic

from checkpointing import checkpoint_activations
from hf_rnnattn import RnnAttnForCausalLM
from hf_rnnattn.model.decoder_cache import RnnAttnEncoderDecoderCache, new_cache
from hf_rnnattn.model.transformers_versions import (
    CACHE,
    CACHE_NAMES,
    GenerationHooks,
    JsonFileHook,
    TokenizerHooks,
    TrainerHooks,
    VersionedModel,
    one_cache,
)
from lively_models import EXACT, VOCABULARY, generate, lively_model, make_lively, run, sources, targets
from model_zoo import tiny_config

# The older name is given on purpose here, and in no other test.
pytestmark = pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated:FutureWarning")
KINDS = ("ssru", "lstm", "full_attention", "mixed", "fused", "luong_stack")
each_kind = pytest.mark.parametrize("name", KINDS)
each_name = pytest.mark.parametrize("cache_name", CACHE_NAMES)
STATIC_CAN_ROLL_BACK = CACHE == "cache"  # transformers before 5.24 refuses static caches in assisted decoding


def language_model() -> RnnAttnForCausalLM:
    config = tiny_config(vocab_size=VOCABULARY, decoder_mixers=["gru", "full_attention"], decoder_init="zeros")
    torch.manual_seed(0)
    return RnnAttnForCausalLM(config).double().eval()


# The two names


@each_kind
@each_name
def test_forward_takes_the_cache_by_both_names(name: str, cache_name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model)
    whole = run(model, decoder_input_ids=ids, use_cache=False, **inputs).logits
    cache = new_cache(model.config, has_encoder=True)
    for begin, end in ((0, 4), (4, 6)):
        output = run(model, decoder_input_ids=ids[:, begin:end], use_cache=True, **{cache_name: cache}, **inputs)
        torch.testing.assert_close(output.logits, whole[:, begin:end], **EXACT)
        assert output.cache is output.past_key_values is cache


def test_outputs_answer_to_both_names_as_mappings_too() -> None:
    model = lively_model("mixed")
    inputs = {**sources(model), "decoder_input_ids": targets(model), "use_cache": True}
    outputs = [run(model, **inputs), run(model.model, **inputs), run(language_model(), input_ids=targets(model))]
    for output in outputs:
        held = [output.cache, output.past_key_values]
        held += [one for name in CACHE_NAMES for one in (output[name], output.get(name))]
        assert held[0] is not None
        assert all(one is held[0] for one in held)
        assert all(name in output for name in CACHE_NAMES)
        assert list(output).count(CACHE) == 1
        assert len({*output} & {*CACHE_NAMES}) == 1  # as a mapping it has the field once
    without = run(model, **{**inputs, "use_cache": False})
    assert without.cache is without.past_key_values is None
    assert not any(name in without for name in CACHE_NAMES)
    assert without.get("past_key_values", 3) == 3


@each_name
def test_generate_takes_and_returns_the_cache_by_both_names(cache_name: str) -> None:
    model = lively_model("mixed")
    inputs = sources(model)
    expected = generate(model, 9, **inputs)
    cache = new_cache(model.config, has_encoder=True)
    first = model.generate(max_new_tokens=4, return_dict_in_generate=True, **{cache_name: cache}, **inputs)
    assert first.cache is first.past_key_values is cache
    more = generate(model, 5, decoder_input_ids=first.sequences, **{cache_name: cache}, **inputs)
    assert torch.equal(more, expected)


def test_the_older_name_warns_where_transformers_warns_and_the_newer_one_never(monkeypatch: Any) -> None:
    model = lively_model("ssru")
    inputs = {**sources(model), "max_new_tokens": 3, "return_dict_in_generate": True}
    logged: list[str] = []
    monkeypatch.setattr(generic.logger, "warning_once", logged.append)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model.generate(cache=new_cache(model.config, has_encoder=True), **inputs)
        assert not [one for one in warned if "past_key_values" in str(one.message)]
        model.generate(past_key_values=new_cache(model.config, has_encoder=True), **inputs)
    assert any("past_key_values" in str(one.message) for one in warned) == (CACHE == "cache")
    assert not [text for text in logged if "past_key_values" in text]  # nobody read an output by its older name


@each_name
@pytest.mark.parametrize("mode", [{}, {"num_beams": 3}, {"do_sample": True}])
def test_every_kind_of_result_of_generate_answers_to_both_names(mode: dict[str, Any], cache_name: str) -> None:
    for model, inputs in (
        (lively_model("ssru"), sources(lively_model("ssru"))),
        (language_model(), {"input_ids": targets(lively_model("ssru"))}),
    ):
        output = model.generate(max_new_tokens=3, return_dict_in_generate=True, **mode, **inputs)
        assert isinstance(getattr(output, cache_name), DynamicCache | EncoderDecoderCache)


@each_name
def test_steps_of_ones_own_take_the_cache_by_both_names(cache_name: str) -> None:
    model = lively_model("mixed")
    cache = new_cache(model.config, has_encoder=True)
    ids = targets(model)
    run(model, decoder_input_ids=ids[:, :4], use_cache=True, cache=cache, **sources(model))
    prepared = model.prepare_inputs_for_generation(ids, **{cache_name: cache})
    assert torch.equal(prepared["decoder_input_ids"], ids[:, 4:])
    assert prepared[CACHE] is cache
    masks = model.create_masks_for_generate(model.config, torch.zeros(3, 2, 0), None, **{cache_name: cache})
    assert masks["positions"].tolist() == [[4, 5]]


def test_two_different_caches_are_refused() -> None:
    one, other = DynamicCache(), DynamicCache()
    assert one_cache(one, None) is one
    warns = pytest.warns(FutureWarning, match="past_key_values") if CACHE == "cache" else nullcontext()
    with warns:  # as transformers does
        assert one_cache(None, one) is one_cache(one, one) is one
    assert one_cache(None, None) is None
    with pytest.raises(ValueError, match="two different ones"):
        one_cache(one, other)
    model = lively_model("ssru")
    caches = {name: new_cache(model.config, has_encoder=True) for name in CACHE_NAMES}
    with pytest.raises(ValueError, match="two different ones"):
        generate(model, 3, **caches, **sources(model))


@each_name
def test_gradient_checkpointing_drops_a_cache_of_either_name(cache_name: str) -> None:
    """Read again in the backward pass, it would hold the tokens already."""
    model = make_lively(decoder_mixers=["gru", "full_attention"])
    inputs = {**sources(model), "labels": targets(model)}
    model(**inputs).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    model.train()
    checkpoint_activations(model)
    cache = new_cache(model.config, has_encoder=True)
    model(**inputs, **{cache_name: cache}).loss.backward()
    assert int(cache.get_seq_length()) == 0
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=0.0, atol=1e-12)


def test_transformers_wrappers_hand_the_cache_to_a_decoder_of_the_family() -> None:
    config = tiny_config(vocab_size=VOCABULARY, decoder_init="zeros")
    decoder = tiny_config(
        vocab_size=VOCABULARY,
        decoder_init="zeros",
        is_decoder=True,
        add_cross_attention=True,
        is_encoder_decoder=False,
    )
    torch.manual_seed(0)
    model = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(encoder_of(config), decoder)).eval()
    ids = torch.tensor([[3, 4, 5]])
    arguments = {"max_new_tokens": 6, "decoder_start_token_id": 1, "pad_token_id": 0, "eos_token_id": None}
    cached = model.generate(ids, use_cache=True, **arguments)
    assert torch.equal(cached, model.generate(ids, use_cache=False, **arguments))


def encoder_of(config: Any) -> BertConfig:
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=config.hidden_size,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )


def test_both_names_are_left_on_their_device_and_out_of_predictions() -> None:
    """accelerate would copy a cache for each device, and ``Trainer.predict`` gather it."""
    model = lively_model("ssru")
    assert {*model._skip_keys_device_placement} == {*CACHE_NAMES}
    assert CACHE in model._skip_keys_device_placement
    assert {*CACHE_NAMES} <= {*model.config.keys_to_ignore_at_inference}


# What is overridden must be there


# Attributes, and methods that transformers calls where a class has them.
CALLED_IF_THERE = {"_tokenizer", "_switch_to_target_mode", "_switch_to_input_mode", "_in_target_context_manager"}
HOOKS = [
    (VersionedModel, PreTrainedModel),
    (GenerationHooks, GenerationMixin),
    (TokenizerHooks, PreTrainedTokenizerFast),
    (JsonFileHook, PreTrainedConfig),
    (TrainerHooks, Trainer),
]


@pytest.mark.parametrize(("ours", "theirs"), HOOKS)
def test_what_is_overridden_is_there(ours: type, theirs: type) -> None:
    private = [name for name in vars(ours) if name.startswith("_") and not name.startswith("__")]
    assert private
    assert not [name for name in private if not hasattr(theirs, name) and name not in CALLED_IF_THERE]
    called = source_names(theirs, PreTrainedTokenizerBase)
    assert not set(private) & CALLED_IF_THERE - called


def test_what_is_read_is_there(tmp_path: Any) -> None:
    model = lively_model("ssru")
    assert isinstance(model.config._attn_implementation, str)
    assert {"_get_resized_embeddings", "_get_resized_lm_head", "_can_set_attn_implementation"} <= {*dir(model)}
    assert hasattr(GenerationMixin, "_update_model_kwargs_for_generation")
    assert {"_registered_impl", "_auto_class"} <= {*source_names(Pipeline, PreTrainedModel)}
    model.save_pretrained(tmp_path)
    assert isinstance(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)._weight_conversions, list)


def source_names(*classes: type) -> set[str]:
    """The names that the source files of these classes use."""
    import inspect
    import re
    import sys

    return {name for one in classes for name in re.findall(r"\w+", inspect.getsource(sys.modules[one.__module__]))}


# Static caches that roll back


def static_cache(model: Any, target: int = 40, source: int = 7) -> EncoderDecoderCache:
    return EncoderDecoderCache(
        StaticCache(config=model.config, max_cache_len=target), StaticCache(config=model.config, max_cache_len=source)
    )


@each_kind
def test_a_static_cache_rolls_back_at_its_addresses(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model)
    whole = run(model, decoder_input_ids=ids, use_cache=False, **inputs).logits
    cache = static_cache(model, target=16)
    cache.activate_past_recording()
    wrong = torch.cat([ids[:, :3], (ids[:, 3:5] + 1) % VOCABULARY], dim=1)
    run(model, decoder_input_ids=ids[:, :2], cache=cache, use_cache=True, **inputs)
    run(model, decoder_input_ids=wrong[:, 2:], cache=cache, use_cache=True, **inputs)
    before = [state.data_ptr() for layer in cache.self_attention_cache.layers for state in layer.states.values()]
    for layer in cache.self_attention_cache.layers:
        layer.crop(-2)
    assert int(cache.get_seq_length()) == 3
    after = run(model, decoder_input_ids=ids[:, 3:], cache=cache, use_cache=True, **inputs).logits
    torch.testing.assert_close(after, whole[:, 3:], **EXACT)
    assert before == [
        state.data_ptr() for layer in cache.self_attention_cache.layers for state in layer.states.values()
    ]


def test_a_static_cache_that_cannot_roll_back_is_refused() -> None:
    model = lively_model("ssru")
    inputs = one_row(model)
    arguments = {"prompt_lookup_num_tokens": 3, "cache": static_cache(model), **inputs}
    with pytest.raises(ValueError, match="give a RnnAttnEncoderDecoderCache of the same parts"):
        generate(model, 20, **arguments)
    parts = static_cache(model)
    arguments["cache"] = RnnAttnEncoderDecoderCache(parts.self_attention_cache, parts.cross_attention_cache)
    assert torch.equal(generate(model, 20, **arguments), generate(model, 20, **inputs))


def test_a_static_cache_without_a_record_says_so_and_changes_nothing() -> None:
    model = lively_model("ssru")
    inputs, ids = sources(model), targets(model)
    cache = static_cache(model)
    run(model, decoder_input_ids=ids[:, :4], cache=cache, use_cache=True, **inputs)
    fresh = static_cache(model).self_attention_cache.layers[0]
    fresh.crop(-1)  # nothing was read: nothing to forget
    assert int(fresh.get_seq_length()) == 0
    layer = cache.self_attention_cache.layers[0]
    with pytest.raises(ValueError, match="0 were recorded"):
        layer.crop(-1)
    with pytest.raises(ValueError, match="positive 1"):
        layer.crop(1)
    assert int(cache.get_seq_length()) == 4


def one_row(model: Any) -> dict[str, Tensor]:
    return {key: value[1:2] for key, value in sources(model).items()}


ASSISTED = ({"prompt_lookup_num_tokens": 3, "max_matching_ngram_size": 2}, {"assistant": True})


@each_kind
@pytest.mark.parametrize("mode", ASSISTED)
def test_assisted_decoding_with_a_static_cache_is_greedy_or_refused(name: str, mode: dict[str, Any]) -> None:
    model = lively_model(name)
    mode = {"assistant_model": stranger()} if "assistant" in mode else mode
    arguments = {"cache_implementation": "static", **mode, **one_row(model)}
    if not STATIC_CAN_ROLL_BACK:
        with pytest.raises(ValueError, match=r"(?i)static cache"):
            generate(model, 5, **arguments)
        return
    assert torch.equal(generate(model, 30, **arguments), generate(model, 30, **one_row(model)))


def test_assisted_decoding_without_an_encoder_takes_a_static_cache_too() -> None:
    model = language_model()
    inputs = {"input_ids": targets(model, rows=1)}
    arguments = {"cache_implementation": "static", "prompt_lookup_num_tokens": 3, **inputs}
    if STATIC_CAN_ROLL_BACK:
        assert torch.equal(generate(model, 30, **arguments), generate(model, 30, **inputs))
    else:
        with pytest.raises(ValueError, match=r"(?i)static cache"):
            generate(model, 5, **arguments)


@pytest.mark.skipif(not STATIC_CAN_ROLL_BACK, reason="this transformers refuses it, as the test above sees")
@pytest.mark.parametrize("name", ["ssru", "mixed"])
def test_assisted_decoding_compiles_with_a_static_cache(name: str) -> None:
    """On a CPU transformers compiles only if it is asked to; on a GPU it does by itself."""
    model = make_lively(
        eos_token_id=None,
        **{
            "ssru": {"decoder_mixers": ["ssru", "ssru"]},
            "mixed": {"decoder_mixers": ["gru", "full_attention", "ssru", "bahdanau_gru"]},
        }[name],
    )
    graphs = []

    def backend(graph: torch.fx.GraphModule, example_inputs: list[Any]) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = CompileConfig(fullgraph=True, dynamic=True, backend=backend, mode=None)
    compiled._compile_all_devices = True
    settings = GenerationConfig(cache_implementation="static", compile_config=compiled, max_new_tokens=20)
    inputs = one_row(model)
    got = model.generate(generation_config=settings, prompt_lookup_num_tokens=3, max_matching_ngram_size=2, **inputs)
    assert torch.equal(got, generate(model, 20, **inputs))
    assert graphs


def stranger() -> Any:
    """An assistant that guesses three tokens a round, most of them wrong, so that states roll back all the time."""
    model = make_lively(seed=1, eos_token_id=None, decoder_mixers=["gru"])
    model.generation_config.num_assistant_tokens = 3
    model.generation_config.num_assistant_tokens_schedule = "constant"
    return model
