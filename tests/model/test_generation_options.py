"""What ``generate`` offers beside its searches: processors, warpers, streamers, one's own loop; for every decoder."""

from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TextIteratorStreamer, WatermarkingConfig
from transformers.generation import BaseStreamer

from hf_rnnattn import RnnAttnForConditionalGeneration
from lively_models import DECODERS, generate, lively_model, run, sources
from tiny_seq2seq import character_tokenizer, tiny_model

WARPERS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.6},
    "top_k": {"top_k": 3},
    "top_p": {"top_p": 0.7},
    "min_p": {"min_p": 0.1},
    "typical_p": {"typical_p": 0.6},
    "epsilon_cutoff": {"epsilon_cutoff": 0.05},
    "eta_cutoff": {"eta_cutoff": 0.05},
    "all": {"temperature": 1.4, "top_k": 6, "top_p": 0.9, "min_p": 0.01, "renormalize_logits": True},
}
PROCESSORS: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"repetition_penalty": 1.7},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.5},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
    "bad_words_ids": {"bad_words_ids": [[4], [5, 6]]},
    "suppress_tokens": {"suppress_tokens": [3, 7]},
    "begin_suppress_tokens": {"begin_suppress_tokens": [3, 4, 5, 6]},
    "sequence_bias": {"sequence_bias": [[[8], 5.0], [[9, 8], -9.0]]},
    "forced_bos_token_id": {"forced_bos_token_id": 9},
    "forced_eos_token_id": {"forced_eos_token_id": 2},
    "prefix_allowed_tokens_fn": {"prefix_allowed_tokens_fn": lambda row, ids: [3 + row, 8, 9]},
    "watermarking_config": {"watermarking_config": WatermarkingConfig(bias=4.0)},
    "min_new_tokens": {"min_new_tokens": 5, "eos_token_id": 2},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": (1, 1.5), "eos_token_id": 2},
}


def with_and_without_a_cache(name: str, **options: Any) -> tuple[Any, Any]:
    """What ``generate`` gives in both ways, from the same random numbers."""
    model = lively_model(name)
    found = []
    for use_cache in (True, False):
        torch.manual_seed(5)
        found.append(generate(model, 7, use_cache=use_cache, pad_token_id=0, **options, **sources(model)))
    return found[0], found[1]


@pytest.mark.parametrize("name", DECODERS)
def test_every_warper_gives_the_same_with_and_without_a_cache(name: str) -> None:
    drawn = {}
    for warper, options in WARPERS.items():
        cached, plain = with_and_without_a_cache(name, do_sample=True, **{"top_k": 0, **options})
        assert torch.equal(cached, plain), warper
        drawn[warper] = cached
    unwarped, _ = with_and_without_a_cache(name, do_sample=True, top_k=0)
    assert not all(torch.equal(ids, unwarped) for ids in drawn.values())


@pytest.mark.parametrize(("name", "search"), [*((name, {}) for name in DECODERS), ("mixed", {"num_beams": 3})])
def test_every_processor_gives_the_same_with_and_without_a_cache(name: str, search: dict[str, int]) -> None:
    plain = generate(lively_model(name), 7, pad_token_id=0, **search, **sources(lively_model(name)))
    changed = 0
    for processor, options in PROCESSORS.items():
        cached, uncached = with_and_without_a_cache(name, **search, **options)
        assert torch.equal(cached, uncached), processor
        changed += not torch.equal(cached, plain)
    assert changed >= len(PROCESSORS) / 2


@pytest.mark.parametrize("name", ["lstm", "mixed"])
def test_top_k_draws_from_the_k_likeliest(name: str) -> None:
    model = lively_model(name)
    inputs = sources(model)
    torch.manual_seed(0)
    drawn = generate(model, 10, do_sample=True, top_k=2, num_return_sequences=4, **inputs)
    repeated = {key: value.repeat_interleave(4, 0) for key, value in inputs.items()}
    logits = run(model, decoder_input_ids=drawn[:, :-1], use_cache=False, **repeated).logits
    likeliest = logits.topk(2).indices
    assert (likeliest == drawn[:, 1:, None]).any(-1).all()
    assert not torch.equal(likeliest[..., 0], drawn[:, 1:])


class Kept(BaseStreamer):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.tokens: list[Tensor] = []
        self.ended = False

    def put(self, value: Tensor) -> None:
        self.tokens.append(value.reshape(-1).clone())

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("options", [{}, {"prompt_lookup_num_tokens": 3}, {"do_sample": True}], ids=str)
@pytest.mark.parametrize("name", DECODERS)
def test_a_streamer_gets_every_token_as_it_comes(name: str, options: dict[str, Any]) -> None:
    model, streamer = lively_model(name), Kept()
    inputs = {key: value[:1] for key, value in sources(model).items()}
    found = generate(model, 9, streamer=streamer, **options, **inputs)
    assert torch.equal(torch.cat(streamer.tokens), found[0])
    assert streamer.ended
    assert len(streamer.tokens) == found.shape[1] or options.get("prompt_lookup_num_tokens")


def test_text_is_streamed_from_another_thread() -> None:
    model, tokenizer = tiny_model("rnnattn"), character_tokenizer()
    inputs = tokenizer(["abc"], return_tensors="pt")
    settings = {"max_new_tokens": 8, "do_sample": False}
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=60)
    thread = Thread(target=model.generate, kwargs={**inputs, **settings, "streamer": streamer})
    thread.start()
    streamed = "".join(streamer)
    thread.join()
    whole = tokenizer.decode(model.generate(**inputs, **settings)[0], skip_special_tokens=True)
    assert streamed == whole


def by_hand(model: Any, input_ids: Tensor, generation_config: Any, **kwargs: Any) -> Tensor:
    """A decoding loop of one's own, as ``custom_generate`` takes it: greedy, through the cache."""
    stopping, processors = kwargs.pop("stopping_criteria"), kwargs.pop("logits_processor")
    for unused in ("synced_gpus", "streamer", "negative_prompt_ids", "negative_prompt_attention_mask"):
        kwargs.pop(unused, None)
    past = 0
    while True:
        inputs = model.prepare_inputs_for_generation(input_ids, input_ids.shape[1] - past, **kwargs)
        past = input_ids.shape[1]
        output = model(**inputs, return_dict=True)
        scores = processors(input_ids, output.logits[:, -1].float())
        input_ids = torch.cat([input_ids, scores.argmax(-1, keepdim=True)], dim=1)
        kwargs = model._update_model_kwargs_for_generation(output, kwargs, is_encoder_decoder=True)
        if stopping(input_ids, None).all():
            return input_ids


@pytest.mark.parametrize("name", DECODERS)
def test_a_loop_of_ones_own_decodes_as_the_built_in_one(name: str) -> None:
    model: RnnAttnForConditionalGeneration = lively_model(name)
    inputs = sources(model)
    options = {"repetition_penalty": 1.3, **inputs}
    assert torch.equal(generate(model, 9, custom_generate=by_hand, **options), generate(model, 9, **options))


def test_a_text_can_end_generation() -> None:
    model, tokenizer = tiny_model("rnnattn"), character_tokenizer()
    inputs = tokenizer(["abcabc"], return_tensors="pt")
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    whole = model.generate(**inputs, **settings)[0]
    text = tokenizer.decode(whole[3:4])
    stopped = model.generate(**inputs, **settings, stop_strings=[text], tokenizer=tokenizer)[0]
    first = next(i for i in range(1, len(whole)) if tokenizer.decode(whole[i : i + 1]) == text)
    assert torch.equal(stopped, whole[: first + 1])
