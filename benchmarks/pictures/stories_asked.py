"""Which sentences of a story each hop of a memory network looked at."""

import random
from pathlib import Path

import learn_stories
from learning import train
from stories import tell
from transformers import set_seed

from hf_rnnattn import RnnAttnForConditionalGeneration

from .drawing import Panel
from .looking import attention
from .pronouncing import kept

HOPS = 3


def hopping(folder: Path) -> list[Panel]:
    """The weight of every sentence in every hop, for a question that needs two facts."""

    def make() -> RnnAttnForConditionalGeneration:
        set_seed(0)
        budget = {key: learn_stories.BUDGET[key] for key in ("steps", "learning_rate", "clip")}
        model = learn_stories.model_of(HOPS)
        train(model, learn_stories.batches(random.Random(0)), **budget)
        return model

    model = kept("memory-network", folder, RnnAttnForConditionalGeneration, make)
    story = tell(random.Random(7), facts=2)
    batch = learn_stories.as_batch([story])
    weights = attention(model, batch)[0][:, -1]  # (hops, S), where the answer is written
    segments = batch["token_type_ids"][0]
    slots = [int((segments == number).nonzero()[-1]) for number in segments.unique().flip(0)]  # the oldest first
    answer = model.generate(**{k: v for k, v in batch.items() if k != "labels"}, do_sample=False, max_new_tokens=1)
    rows = [" ".join(sentence) for sentence in story.sentences]
    title = f"{' '.join(story.question)}? {learn_stories.WORDS[int(answer[0, -1])]}"
    return [Panel(weights[:, slots].T, rows, [str(hop + 1) for hop in range(HOPS)], title, "", "hop")]
