"""A cache of fixed size at fixed addresses gives what the growing one gives."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import EncoderDecoderCache, StaticCache

from lively_models import (
    DECODERS,
    EXACT,
    generate,
    lively_model,
    make_lively,
    run,
    sources,
    start,
    targets,
)

STATIC = {"cache_implementation": "static", "disable_compile": True}


def static_cache(model: Any, target: int = 16, source: int = 7) -> EncoderDecoderCache:
    return EncoderDecoderCache(
        StaticCache(config=model.config, max_cache_len=target), StaticCache(config=model.config, max_cache_len=source)
    )


def padded_prompt(model: Any) -> dict[str, Tensor]:
    prompt = torch.cat([start(model, 3), targets(model)], dim=1)
    mask = torch.ones_like(prompt)
    mask[1, 1:3], mask[2, :2] = 0, 0
    return {"decoder_input_ids": prompt, "decoder_attention_mask": mask}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("mode", [{}, {"num_beams": 3}])
def test_generation_with_a_static_cache_equals_the_dynamic_one(name: str, mode: dict[str, int]) -> None:
    model = lively_model(name)
    inputs = sources(model)
    assert torch.equal(generate(model, 9, **STATIC, **mode, **inputs), generate(model, 9, **mode, **inputs))
    inputs |= padded_prompt(model)
    assert torch.equal(generate(model, 9, **STATIC, **mode, **inputs), generate(model, 9, **mode, **inputs))


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("padded", [False, True])
def test_logits_through_a_static_cache_equal_teacher_forcing(name: str, padded: bool) -> None:
    model = lively_model(name)
    inputs, prompt = sources(model), padded_prompt(model)
    ids, mask = prompt["decoder_input_ids"], prompt["decoder_attention_mask"] if padded else None
    whole = run(model, decoder_input_ids=ids, decoder_attention_mask=mask, use_cache=False, **inputs).logits
    cache = static_cache(model)
    pieces = []
    for begin, end in ((0, 4), (4, 5), (5, 7)):
        upto = None if mask is None else mask[:, :end]
        part = {"decoder_input_ids": ids[:, begin:end], "decoder_attention_mask": upto}
        pieces.append(run(model, cache=cache, use_cache=True, **part, **inputs).logits)
    kept = torch.ones_like(ids).bool() if mask is None else mask.bool()
    assert_close(torch.cat(pieces, dim=1)[kept], whole[kept], **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_a_static_cache_is_reset_and_used_again_at_the_same_addresses(name: str) -> None:
    model = lively_model(name)
    inputs = sources(model)
    expected = generate(model, 9, **inputs)
    cache = static_cache(model)

    def addresses() -> list[int]:
        return [
            tensor.data_ptr()
            for part in (cache.self_attention_cache, cache.cross_attention_cache)
            for layer in part.layers
            for tensor in (layer.keys, layer.values, *layer.states.values())
            if tensor is not None
        ]

    generate(model, 9, cache=cache, disable_compile=True, input_ids=inputs["input_ids"].flip(0))
    first = addresses()
    cache.reset()
    assert int(cache.get_seq_length()) == 0
    assert torch.equal(generate(model, 9, cache=cache, disable_compile=True, **inputs), expected)
    assert addresses() == first


def test_a_static_cache_follows_beams() -> None:
    model = lively_model("mixed")
    inputs, ids, rows = sources(model), targets(model), torch.tensor([1, 1, 0])
    cache = static_cache(model)
    run(model, decoder_input_ids=ids[:, :4], cache=cache, use_cache=True, **inputs)
    cache.reorder_cache(rows)
    chosen = {key: value[rows] for key, value in inputs.items()}
    after = run(model, decoder_input_ids=ids[rows, 4:], cache=cache, use_cache=True, **chosen).logits
    whole = run(model, decoder_input_ids=ids[rows], use_cache=False, **chosen).logits
    assert_close(after, whole[:, 4:], **EXACT)


def test_a_static_cache_is_continued() -> None:
    model = lively_model("gru+full_attention")
    inputs = sources(model)
    cache = static_cache(model)
    first = generate(model, 5, cache=cache, disable_compile=True, **inputs)
    more = generate(model, 6, cache=cache, disable_compile=True, decoder_input_ids=first, **inputs)
    assert torch.equal(more, generate(model, 11, **inputs))


def generate_compiled(name: str, backend: Any) -> None:
    """Steps run in a compiled graph without breaks, the prompt is read without; as transformers does on GPUs."""
    model = make_lively(eos_token_id=None, **DECODERS[name])
    inputs = {**sources(model), **padded_prompt(model)}
    expected = generate(model, 9, **inputs)
    plain = model.forward
    torch._dynamo.reset()
    compiled = torch.compile(plain, fullgraph=True, dynamic=False, backend=backend)
    model.forward = lambda **kwargs: (compiled if kwargs["decoder_input_ids"].shape[1] == 1 else plain)(**kwargs)
    # generate looks at the names of forward's arguments
    model.forward.__signature__ = inspect.signature(plain)
    cache = static_cache(model, target=20)
    assert torch.equal(generate(model, 9, cache=cache, disable_compile=True, **inputs), expected)


@pytest.mark.parametrize("name", DECODERS)
def test_all_steps_with_a_static_cache_are_one_graph(name: str) -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, example_inputs: list[Any]) -> Any:
        graphs.append(graph)
        return graph.forward

    generate_compiled(name, backend)
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssru", "mixed", "gru+full_attention"])
def test_compiled_generation_equals_eager_generation(name: str) -> None:
    generate_compiled(name, "inductor")
