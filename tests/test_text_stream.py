"""An answer word by word: the whole of it, an exception at once, and no thread left behind."""

import queue
import threading

import pytest
import torch
from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.text_stream import stream_text
from hf_rnnattn.tokenizer_training import train_tokenizers
from lively_models import enlarge

PHONES = ["HH AH L OW", "Y EH L OW", "S IY K", "T UW F", "B AE D"]
STEPS = 12
AT_ONCE = 20  # seconds: far more than a step takes, and what waits for ever would take longer


class RefusedError(Exception):
    """What goes wrong in the middle."""


class Counted(StoppingCriteria):
    """Counts the steps, waits for a signal after some of them, or fails at one."""

    def __init__(self, fail_at: int | None = None, hold_at: int | None = None) -> None:
        self.steps, self.fail_at, self.hold_at = 0, fail_at, hold_at
        self.go = threading.Event()

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        self.steps += 1
        if self.steps == self.hold_at:
            assert self.go.wait(AT_ONCE)
        if self.steps == self.fail_at:
            raise RefusedError("no more")
        return torch.full((len(input_ids),), False)


@pytest.fixture(scope="module")
def pair():
    tokenizer = train_tokenizers(["hello", "yellow"], PHONES, source_kind="char", target_kind="whitespace")
    fields = {**tokenizer.config_fields(), "eos_token_id": None}  # every answer has all the steps
    sizes = {"hidden_size": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_mixers": ["gru"]}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = RnnAttnConfig(**sizes, **heads, decoder_mixers=["gru", "ssru+full_attention"], **fields)
    torch.manual_seed(0)  # a fixture of the module comes before that of each test
    model = RnnAttnForConditionalGeneration(config).eval()
    enlarge(model, torch.Generator().manual_seed(3))
    model.generation_config.suppress_tokens = tokenizer.all_special_ids  # every step writes a word
    return model, tokenizer


def whole(pair, text="hello", **generation):
    model, tokenizer = pair
    output = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=STEPS, **generation)
    return tokenizer.decode(output[0], skip_special_tokens=True)


def stream(pair, *criteria, text="hello", **generation):
    return stream_text(
        *pair, text, max_new_tokens=STEPS, stopping_criteria=StoppingCriteriaList(criteria), **generation
    )


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "stream_text"]


@pytest.mark.parametrize("text", ["hello", "yellow", "low"])
def test_the_pieces_are_the_answer_in_words(pair, text):
    expected = whole(pair, text)
    pieces = list(stream(pair, text=text))
    assert "".join(pieces) == expected
    assert len(pieces) == len(expected.split()) > 5
    assert not threads()


def test_a_word_is_there_before_the_next_one_is_made(pair):
    counted = Counted(hold_at=8)
    pieces = stream(pair, counted)
    first = next(pieces)
    assert counted.steps <= 8 < STEPS
    counted.go.set()
    assert first + "".join(pieces) == whole(pair)


def test_an_exception_comes_at_once_after_what_came_before_it(pair):
    pieces, found = stream(pair, Counted(fail_at=6)), []
    failure: list[BaseException] = []

    def consume() -> None:
        try:
            found.extend(pieces)
        except RefusedError as error:
            failure.append(error)

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    consumer.join(AT_ONCE)
    assert not consumer.is_alive()
    assert str(failure[0]) == "no more"
    assert found
    assert whole(pair).startswith("".join(found))
    assert next(pieces, None) is None  # closed
    assert not threads()
    assert "".join(stream(pair)) == whole(pair)  # and the model is as it was


def test_transformers_own_streamer_waits_for_ever(pair):
    """What this is for: its queue stays empty when ``generate`` has failed."""
    model, tokenizer = pair
    streamer = TextIteratorStreamer(tokenizer, timeout=0.5)
    inputs = tokenizer("hello", return_tensors="pt")
    with pytest.raises(RefusedError):
        model.generate(**inputs, streamer=streamer, stopping_criteria=StoppingCriteriaList([Counted(fail_at=1)]))
    with pytest.raises(queue.Empty):
        list(streamer)


def test_beams_are_refused_by_generate_and_heard_here(pair):
    with pytest.raises(ValueError, match="streamer"):
        next(stream(pair, num_beams=2))
    assert not threads()


@pytest.mark.parametrize("leave", ["close", "drop", "interrupt"])
def test_leaving_the_iterator_ends_the_thread(pair, leave):
    counted = Counted(hold_at=5)
    pieces = stream(pair, counted)
    next(pieces)
    counted.go.set()
    if leave == "close":
        pieces.close()
    elif leave == "drop":
        del pieces
    else:
        with pytest.raises(KeyboardInterrupt):
            pieces.throw(KeyboardInterrupt)
    assert not threads()
    assert counted.steps < STEPS
    assert "".join(stream(pair)) == whole(pair)


def test_sampling_streams_what_it_generates(pair):
    torch.manual_seed(5)
    expected = whole(pair, do_sample=True)
    torch.manual_seed(5)
    assert "".join(stream(pair, do_sample=True)) == expected != whole(pair)
