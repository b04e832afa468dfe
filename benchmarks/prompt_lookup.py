"""Prompt lookup against greedy decoding on a task whose outputs copy half of themselves from the source.

    python benchmarks/prompt_lookup.py [--minutes 20] [--threads 1] [--output benchmarks/results/prompt_lookup.json]

The task is real words, read aloud: a line of CMUdict words is written again, then pronounced. The model is trained
first, and kept in ``output/prompt-lookup`` for the next time. Prompt lookup proposes what followed the last tokens
where they occurred before, in the source or in what was written; the model checks all proposals in one pass, and its
recurrent states roll back behind the first wrong one. The outputs are those of greedy decoding, which is checked here
token for token. transformers' own way of proposing, which does not look at the source, is measured beside it.
"""

import argparse
import difflib
import random
import statistics
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, ROOT, alternate, write
from tqdm.auto import tqdm
from transformers.generation import GenerationMixin
from transformers.utils import logging

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.pronunciation import load_cmudict

FOLDER = ROOT / "output" / "prompt-lookup"
PAD, BOS, EOS, SPACE = range(4)
WORDS_A_LINE, LINES, BATCH = 8, 20, 12
PROPOSED = (5, 10, 20)


class Reading:
    """Lines of words, and what is to be written for them."""

    def __init__(self) -> None:
        self.splits = {name: list(zip(rows["source"], rows["target"], strict=True)) for name, rows in _words().items()}
        letters = sorted({letter for word, _ in self.splits["train"] for letter in word})
        phones = sorted({phone for _, spoken in self.splits["train"] for phone in spoken.split()})
        self.ids = {symbol: SPACE + 1 + i for i, symbol in enumerate([*letters, *(f"/{phone}" for phone in phones)])}
        self.turn = SPACE + 1 + len(self.ids)  # between the line and its pronunciation
        self.size = self.turn + 1

    def line(self, split: str, draw: random.Random, count: int = WORDS_A_LINE) -> tuple[list[int], list[int]]:
        """The ids of a line of ``count`` words, and those of its pronunciation."""
        words = draw.sample(self.splits[split], count)
        written = [[self.ids[letter] for letter in word] for word, _ in words]
        spoken = [[self.ids[f"/{phone}"] for phone in phones.split()] for _, phones in words]
        return _joined(written), _joined(spoken)


def _words() -> Any:
    """Words whose letters all words share."""
    return {
        name: rows.filter(lambda row: row["source"].isascii() and row["source"].isalpha())
        for name, rows in load_cmudict().items()
    }


def _joined(words: list[list[int]]) -> list[int]:
    return [token for word in words for token in [*word, SPACE]][:-1]


def build(size: int) -> RnnAttnForConditionalGeneration:
    """A recurrent encoder and a recurrent decoder that attends to it."""
    torch.manual_seed(0)
    return RnnAttnForConditionalGeneration(
        RnnAttnConfig(
            vocab_size=size,
            hidden_size=512,
            encoder_mixers=["gru", "gru"],
            decoder_mixers=["ssru", "ssru"],
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=0,
            decoder_ffn_dim=2048,
            encoder_position_embedding="none",
            type_vocab_size=0,
            dropout=0.0,
            eos_token_id=EOS,
        )
    )


def train(reading: Reading, minutes: float) -> RnnAttnForConditionalGeneration:
    """A model trained for some minutes; the lines grow, and the learning rate falls, with the time."""
    model = build(reading.size).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    draw, end, start = random.Random(0), time.monotonic() + 60 * minutes, time.monotonic()
    with tqdm(total=round(60 * minutes), unit="s", desc="training") as bar:
        while (now := time.monotonic()) < end:
            left = (end - now) / (end - start)
            optimizer.param_groups[0]["lr"] = 1e-3 * left
            loss = model(**batch(reading, draw, words=min(WORDS_A_LINE, 1 + int(12 * (1 - left))))).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            bar.n = min(round(now - start), bar.total)
            bar.set_postfix(loss=f"{loss.item():.3f}")
    model.eval().save_pretrained(FOLDER)
    return model


def batch(reading: Reading, draw: random.Random, words: int) -> dict[str, torch.Tensor]:
    """Padded tensors; about as many tokens whatever the lines' length."""
    lines = [reading.line("train", draw, words) for _ in range(BATCH * WORDS_A_LINE // words)]
    source = _padded([line for line, _ in lines])
    target = _padded([[*line, reading.turn, *spoken, EOS] for line, spoken in lines])
    return {"input_ids": source, "attention_mask": source != PAD, "labels": target.masked_fill(target == PAD, -100)}


def _padded(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])


def decode(model: Any, lines: list[list[int]], **settings: Any) -> list[list[int]]:
    """What the model writes for each line, one at a time, as assisted decoding wants it."""
    settings = {"max_new_tokens": 300, "do_sample": False, **settings}
    return [model.generate(torch.tensor([line]), **settings)[0, 1:].tolist() for line in lines]


class AsTransformersDoes(RnnAttnForConditionalGeneration):
    """The same model with transformers' own way of proposing."""

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> Any:
        return GenerationMixin._get_candidate_generator(self, *args, **kwargs)


def copied(line: list[int], written: list[int]) -> float:
    """The part of an output that stands in the line too, in the same order, in pieces of at least three tokens."""
    blocks = difflib.SequenceMatcher(None, line, written, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= 3) / len(written)


def main() -> None:
    """Trains if there is no model yet, measures, and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="training time (default: 20)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch while measuring (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the measurement (default: 5)")
    parser.add_argument("--output", type=Path, default=RESULTS / "prompt_lookup.json", help="where the JSON goes")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    reading = Reading()
    if (FOLDER / "config.json").exists():
        model: Any = RnnAttnForConditionalGeneration.from_pretrained(FOLDER).eval()
    else:
        model = train(reading, arguments.minutes)
    torch.set_num_threads(arguments.threads)
    draw = random.Random(1)
    lines = [reading.line("test", draw)[0] for _ in range(LINES)]
    greedy = decode(model, lines)
    other = AsTransformersDoes.from_pretrained(FOLDER).eval()
    calls = {"greedy": partial(decode, model, lines)}
    for count in PROPOSED:
        way = {"prompt_lookup_num_tokens": count, "max_matching_ngram_size": 3}
        calls |= {f"lookup_{count}": partial(decode, model, lines, **way)}
        calls |= {f"transformers_{count}": partial(decode, other, lines, **way)}
    for name, call in calls.items():
        if call() != greedy:
            raise RuntimeError(f"{name} writes something else than greedy decoding")
    times = alternate(calls, arguments.rounds, warmup=0)
    tokens = sum(map(len, greedy))
    results = {
        "model": "2 x GRU, 2 x SSRU, width 512, feed-forward 2,048",
        "lines": LINES,
        "tokens": tokens,
        "copied_part_of_the_output": round(
            statistics.mean(copied(line, written) for line, written in zip(lines, greedy, strict=True)), 3
        ),
        "tokens_per_second": {name: round(tokens / statistics.median(found), 1) for name, found in times.items()},
        "times_as_fast_as_greedy": {
            name: round(statistics.median(g / s for g, s in zip(times["greedy"], found, strict=True)), 3)
            for name, found in times.items()
            if name != "greedy"
        },
    }
    print(results)
    write(arguments.output, results)


if __name__ == "__main__":
    main()
