"""One text in, its answer out word by word, while ``generate`` works in a thread that cannot fail unheard."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)


class _Words(TextStreamer):
    """Puts every word into a queue as soon as it is whole."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, words: "queue.SimpleQueue[Any]") -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.words = words

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self.words.put(text)


class _Closed(StoppingCriteria):
    """Ends generation after the step in which nobody listens any more."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self.event.is_set(), device=input_ids.device)


def stream_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, **generation: Any
) -> Iterator[str]:
    """Yields the answer to one text piece by piece; joined, the pieces are the whole answer.

    ``generate`` starts with the first piece that is asked for, in a thread of its own. Whatever it raises is raised
    here, as soon as it happens and after the pieces that came before it; with transformers' ``TextIteratorStreamer``
    the consumer would wait for ever. An iterator that is closed, dropped or left by an exception (Ctrl-C, say) ends
    the thread after the step that is under way. Any model of transformers will do, a decoder alone too.

    Args:
        model, tokenizer: as ``generating.load_checkpoint`` returns them.
        text: the source, or the prompt of a decoder.
        **generation: for ``model.generate`` (greedy or sampling: beams have no word that stands until the end).
    """
    words: queue.SimpleQueue[Any] = queue.SimpleQueue()
    closed, end = _Closed(), object()
    inputs = tokenizer(text, return_tensors="pt").to(model.device)
    criteria = StoppingCriteriaList([*(generation.pop("stopping_criteria", None) or []), closed])

    def work() -> None:
        try:
            model.generate(**inputs, **generation, stopping_criteria=criteria, streamer=_Words(tokenizer, words))
            words.put(end)
        except BaseException as error:
            words.put(error)

    thread = threading.Thread(target=work, name="stream_text", daemon=True)
    thread.start()
    try:
        while (item := words.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.event.set()
        thread.join()
