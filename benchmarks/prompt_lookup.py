"""Prompt lookup against greedy decoding on a task whose outputs copy half of themselves from the input.

    python benchmarks/prompt_lookup.py [--minutes 20] [--threads 1] [--output benchmarks/results/prompt_lookup.json]

The task is real words, read aloud: a line of CMUdict words is written again and then pronounced. The decoder's prompt
The task is real words, read aloud: a line of CMUdict words is written again, then pronounced. The decoder's prompt
``output/prompt-lookup`` for the next time. Prompt lookup proposes what followed the last tokens when they occurred
before, the model checks all proposals in one pass, and its recurrent states roll back behind the first wrong one: the
outputs are those of greedy decoding, which is checked here token for token.
"""

import argparse
import random
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, ROOT, alternate, write
from tqdm.auto import tqdm
from transformers.utils import logging

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.pronunciation import load_cmudict

FOLDER = ROOT / "output" / "prompt-lookup"
PAD, BOS, EOS, SPACE, EQUALS = range(5)
WORDS_A_LINE, LINES, BATCH = 10, 20, 16
PROPOSED = (5, 10, 20)


class Reading:
    """Lines of words, and what is to be written for them."""

    def __init__(self) -> None:
        self.splits = {name: list(zip(rows["source"], rows["target"], strict=True)) for name, rows in _words().items()}
        letters = sorted({letter for word, _ in self.splits["train"] for letter in word})
        phones = sorted({phone for _, spoken in self.splits["train"] for phone in spoken.split()})
        self.ids = {symbol: EQUALS + 1 + i for i, symbol in enumerate([*letters, *(f"/{phone}" for phone in phones)])}
        self.size = EQUALS + 1 + len(self.ids)

    def line(self, split: str, draw: random.Random) -> tuple[list[int], list[int]]:
        """The ids of a line, and those of its pronunciation."""
        words = draw.sample(self.splits[split], WORDS_A_LINE)
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
    """A model trained for some minutes; the learning rate falls with the time."""
    model = build(reading.size).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    draw, end, start = random.Random(0), time.monotonic() + 60 * minutes, time.monotonic()
    with tqdm(total=round(60 * minutes), unit="s", desc="training") as bar:
        while (now := time.monotonic()) < end:
            optimizer.param_groups[0]["lr"] = 1e-3 * (end - now) / (end - start)
            loss = model(**batch(reading, draw)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            bar.n = min(round(now - start), bar.total)
            bar.set_postfix(loss=f"{loss.item():.3f}")
    model.eval().save_pretrained(FOLDER)
    return model


def batch(reading: Reading, draw: random.Random) -> dict[str, torch.Tensor]:
    """Padded tensors; nothing is taught about the prompt."""
    lines = [reading.line("train", draw) for _ in range(BATCH)]
    targets = [[*prompt_of(line), *line, EQUALS, *spoken, EOS] for line, spoken in lines]
    source, target = _padded([line for line, _ in lines]), _padded(targets)
    labels = target[:, 1:].masked_fill(target[:, 1:] == PAD, -100)
    for row, (line, _) in enumerate(lines):
        labels[row, : len(line) + 1] = -100
    return {
        "input_ids": source,
        "attention_mask": source != PAD,
        "decoder_input_ids": target[:, :-1],
        "labels": labels,
    }


def prompt_of(line: list[int]) -> list[int]:
    """What the decoder has read before it writes."""
    return [BOS, *line, EQUALS]


def _padded(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])


def decode(model: Any, lines: list[list[int]], **settings: Any) -> list[list[int]]:
    """What the model writes for each line, one at a time, as prompt lookup wants it."""
    written = []
    for line in lines:
        prompt = torch.tensor([prompt_of(line)])
        output = model.generate(
            torch.tensor([line]), decoder_input_ids=prompt, max_new_tokens=300, do_sample=False, **settings
        )
        written.append(output[0, prompt.shape[1] :].tolist())
    return written


def copied(line: list[int], written: list[int]) -> float:
    """The part of an output that is the line itself, from its beginning on."""
    same = next((i for i, (one, other) in enumerate(zip(line, written, strict=False)) if one != other), len(line))
    return same / len(written)


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
    ways: dict[str, dict[str, Any]] = {"greedy": {}}
    ways |= {f"lookup_{n}": {"prompt_lookup_num_tokens": n, "max_matching_ngram_size": 3} for n in PROPOSED}
    for name, way in ways.items():
        if decode(model, lines, **way) != greedy:
            raise RuntimeError(f"{name} writes something else than greedy decoding")
    calls = {name: lambda way=way: decode(model, lines, **way) for name, way in ways.items()}
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
