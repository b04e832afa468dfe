"""Generation that is stopped, fails or is interrupted: what came before is right, and nothing stays behind."""

import copy
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from hf_rnnattn import RnnAttnForConditionalGeneration
from lively_models import DECODERS, generate, lively_model, sources

STEPS = 10
QUICK = ("mixed", "gru+full_attention", "positions")  # recurrent, attending and joined layers, and positions
each_decoder = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in DECODERS]
)
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "sampling": {"do_sample": True},
    "static cache": {"cache_implementation": "static"},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
}


class Heard(BaseStreamer):
    """Keeps the tokens that come out while generation goes on."""

    def __init__(self) -> None:
        self.tokens: list[Tensor] = []

    def put(self, value: Tensor) -> None:
        self.tokens.append(value.reshape(-1))

    def end(self) -> None:
        pass

    @property
    def ids(self) -> Tensor:
        """All of them, (T,)."""
        return torch.cat(self.tokens)


class At(StoppingCriteria):
    """Does something when the target has a length: says that it is the end, or raises."""

    def __init__(self, length: int, error: BaseException | None = None) -> None:
        self.length, self.error = length, error

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        reached = input_ids.shape[1] >= self.length
        if reached and self.error is not None:
            raise self.error
        return torch.full((len(input_ids),), reached)


def fresh(model: RnnAttnForConditionalGeneration) -> RnnAttnForConditionalGeneration:
    """A model with the same weights that has never generated anything."""
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    again = type(model)(copy.deepcopy(model.config)).double().eval()
    again.generation_config = copy.deepcopy(model.generation_config)
    again.load_state_dict(weights)
    return again


def seeded(model: RnnAttnForConditionalGeneration, **options: Any) -> Tensor:
    """Generates from fixed random numbers."""
    torch.manual_seed(3)
    return generate(model, STEPS, **options)


def one_row(model: RnnAttnForConditionalGeneration) -> dict[str, Tensor]:
    """A source alone."""
    return {key: value[:1] for key, value in sources(model).items()}


@each_decoder
@pytest.mark.parametrize("mode", ["greedy", "sampling", "prompt lookup"])
@pytest.mark.parametrize("length", [2, 6])
def test_a_criterion_leaves_a_prefix(name: str, mode: str, length: int) -> None:
    model = lively_model(name)
    inputs = {**one_row(model), **MODES[mode]}
    expected = seeded(model, **inputs)
    stopped = seeded(model, stopping_criteria=StoppingCriteriaList([At(length)]), **inputs)
    assert length <= stopped.shape[1] <= expected.shape[1]
    assert torch.equal(stopped, expected[:, : stopped.shape[1]])


@each_decoder
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [RuntimeError("no more memory"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_the_call_after_a_failure_equals_a_new_models(name: str, mode: str, error: BaseException) -> None:
    model = fresh(lively_model(name))
    inputs = {**(one_row(model) if mode == "prompt lookup" else sources(model)), **MODES[mode]}
    with pytest.raises(type(error)):
        seeded(model, stopping_criteria=StoppingCriteriaList([At(6, error)]), **inputs)
    assert torch.equal(seeded(model, **inputs), seeded(fresh(model), **inputs))


@each_decoder
def test_a_failure_in_the_middle_of_a_step_is_forgotten(name: str) -> None:
    """The last layer of the decoder fails when the layers below have already written to the cache."""
    model = fresh(lively_model(name))
    inputs, calls, heard = one_row(model), [], Heard()

    def fail(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 4:
            raise RuntimeError("no more memory")

    hook = model.model.decoder.layers[-1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="no more memory"):
        generate(model, STEPS, streamer=heard, **inputs)
    hook.remove()
    expected = generate(fresh(model), STEPS, **inputs)
    assert torch.equal(heard.ids, expected[0, :4])  # the start and three tokens: a prefix
    assert torch.equal(generate(model, STEPS, **inputs), expected)


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="the platform has no signals")
def test_ctrl_c_stops_generation_and_the_next_call_is_as_ever() -> None:
    """The signal itself, in the middle of a long generation."""
    model = fresh(lively_model("mixed"))
    inputs, heard = one_row(model), Heard()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            generate(model, 100_000, streamer=heard, **inputs)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    again = fresh(model)
    count = min(len(heard.ids), 40)
    assert torch.equal(heard.ids[:count], generate(again, 40, **inputs)[0, :count])
    assert torch.equal(generate(model, STEPS, **inputs), generate(again, STEPS, **inputs))


@each_decoder
def test_four_threads_on_one_model_give_what_they_give_in_turn(name: str) -> None:
    model = lively_model(name)
    whole = sources(model)
    calls = [
        {**{key: value[row : row + 1] for key, value in whole.items()}, **MODES[mode]}
        for row in range(3)
        for mode in ("greedy", "beams", "static cache", "prompt lookup")
    ]
    expected = [generate(model, STEPS, **call) for call in calls]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda call: generate(model, STEPS, **call), calls))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
