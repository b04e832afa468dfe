"""Questions about stories that need one fact or two: the preset ``memory-network`` with one hop and with three.

The stories are those of ``stories.py``. Half of the questions need one fact, half two, and only answers are taught.

    python benchmarks/learn_stories.py
"""

import random
from collections.abc import Iterator
from typing import Any

import torch
from learning import Batch, Measured, run, train
from stories import IDS, WORDS, Story, tell

from hf_rnnattn.presets import preset_model

START, IGNORED = IDS["<start>"], -100
BUDGET = {
    "steps": 1200,
    "rows": 32,
    "learning_rate": 1e-2,
    "clip": 10.0,
    "hidden_size": 32,
    "tested_stories": 500,
}
HOPS = {"one_hop": 1, "three_hops": 3}
FACTS = {"one_fact": 1, "two_facts": 2}


def model_of(hops: int) -> Any:
    """The preset at a small width."""
    return preset_model(
        "memory-network",
        vocab_size=len(WORDS),
        hidden_size=BUDGET["hidden_size"],
        type_vocab_size=8,
        dropout=0.0,
        attention_hops=hops,
    )


def as_batch(stories: list[Story]) -> Batch:
    """Sentences numbered from the newest, questions as the decoder's prompt, answers as the last label."""
    sources, segments, prompts, labels = [], [], [], []
    for story in stories:
        count = len(story.sentences)
        sources.append([IDS[word] for sentence in story.sentences for word in sentence])
        segments.append([count - 1 - i for i, sentence in enumerate(story.sentences) for _ in sentence])
        prompts.append([START, *(IDS[word] for word in story.question)])
        labels.append([IGNORED] * len(story.question) + [IDS[story.answer]])
    return {
        "input_ids": torch.tensor(sources),
        "token_type_ids": torch.tensor(segments),
        "decoder_input_ids": torch.tensor(prompts),
        "labels": torch.tensor(labels),
    }


def batches(draw: random.Random) -> Iterator[Batch]:
    while True:
        yield as_batch([tell(draw, facts=1 + i % 2) for i in range(BUDGET["rows"])])


@torch.no_grad()
def share_answered(model: Any, facts: int, draw: random.Random) -> float:
    """The share of new stories whose question ``generate`` answers."""
    batch = dict(as_batch([tell(draw, facts) for _ in range(BUDGET["tested_stories"])]))
    answers = batch.pop("labels")[:, -1]
    written = model.generate(**batch, do_sample=False, max_new_tokens=1)
    return round(float((written[:, -1] == answers).float().mean()), 4)


def learn(seed: int) -> Measured:
    """Trains both models on the same stories."""
    measured: Measured = {}
    for name, hops in HOPS.items():
        torch.manual_seed(seed)
        draw = random.Random(seed)
        model = model_of(hops)
        train(model, batches(draw), **{key: BUDGET[key] for key in ("steps", "learning_rate", "clip")})
        draw.seed(seed + 1000)
        measured[name] = {kind: share_answered(model, facts, draw) for kind, facts in FACTS.items()}
    return measured


if __name__ == "__main__":
    run("stories", __doc__ or "", learn, BUDGET)
