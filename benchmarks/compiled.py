"""One step of decoding: eager with a growing cache, eager with a static one, compiled with a static one.

    python benchmarks/compiled.py [--threads 1] [--tokens 64] [--output benchmarks/results/compiled.json]
    python benchmarks/compiled.py --device cuda --output benchmarks/results/gpu_compiled.json

All decode the same tokens, which is checked. The compiled step is one graph, made before the clock starts; how long
that took is in the result. On a GPU ``generate`` compiles the step by itself when it is asked for a static cache, and
replays it as a CUDA graph.
"""

import argparse
import inspect
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, alternate, settle, write
from transformers import EncoderDecoderCache, StaticCache
from transformers.utils import logging

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration

DECODERS = ("ssru", "lstm", "gru+full_attention", "full_attention")
BATCHES = (1, 16)
SOURCE = 32
GROWING, STATIC, BY_ITSELF = "dynamic cache", "static cache", "compiled by generate, static cache"


def build(decoder: str, device: str) -> RnnAttnForConditionalGeneration:
    """Six layers of width 512."""
    torch.manual_seed(0)
    config = RnnAttnConfig(
        vocab_size=8000,
        encoder_mixers=["gru", "gru"],
        decoder_layers=6,
        decoder_mixers=decoder,
        eos_token_id=None,
    )
    return RnnAttnForConditionalGeneration(config).eval().to(device)


def decoding(model: Any, source: torch.Tensor, tokens: int, kind: str) -> Callable[[], torch.Tensor]:
    """A call that decodes ``tokens`` tokens greedily."""

    def call() -> torch.Tensor:
        cache: dict[str, Any] = {"cache_implementation": "static"} if kind == BY_ITSELF else {}
        if kind == STATIC:
            lengths = (tokens + 1, source.shape[1])
            parts = [StaticCache(config=model.config, max_cache_len=length) for length in lengths]
            cache = {"cache": EncoderDecoderCache(*parts), "disable_compile": True}
        found = model.generate(
            source, attention_mask=torch.ones_like(source), max_new_tokens=tokens, do_sample=False, **cache
        )
        settle()
        return found

    return call


def compiled(model: RnnAttnForConditionalGeneration) -> RnnAttnForConditionalGeneration:
    """The model with steps of one token compiled; prompts run as they are."""
    plain = model.forward
    step = torch.compile(plain, fullgraph=True, dynamic=False)
    model.forward = lambda **kwargs: (step if kwargs["decoder_input_ids"].shape[1] == 1 else plain)(**kwargs)
    model.forward.__signature__ = inspect.signature(plain)  # generate looks at the names of forward's arguments
    return model


def case(name: str, batch: int, tokens: int, rounds: int, device: str) -> dict[str, Any]:
    """Milliseconds a step of the three ways."""
    torch._dynamo.reset()
    model, other = build(name, device), compiled(build(name, device))
    source = torch.randint(4, 8000, (batch, SOURCE), device=device)
    calls = {
        "eager, dynamic cache": decoding(model, source, tokens, GROWING),
        "eager, static cache": decoding(model, source, tokens, STATIC),
        "compiled, static cache": decoding(other, source, tokens, STATIC),
    }
    if device == "cuda":
        calls[BY_ITSELF] = decoding(build(name, device), source, tokens, BY_ITSELF)
    start = time.perf_counter()
    calls["compiled, static cache"]()
    seconds = time.perf_counter() - start
    outputs = [call() for call in calls.values()]
    equal = all(torch.equal(output, outputs[0]) for output in outputs)
    times = alternate(calls, rounds, warmup=0)
    row = {
        "decoder": name,
        "batch": batch,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "same_tokens": equal,
        "seconds_to_compile": round(seconds, 1),
        "milliseconds_a_step": {k: round(1e3 * statistics.median(v) / tokens, 3) for k, v in times.items()},
        "times_as_fast_as_eager": {
            k: round(statistics.median(e / s for e, s in zip(times["eager, dynamic cache"], v, strict=True)), 3)
            for k, v in times.items()
            if k != "eager, dynamic cache"
        },
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measures every case and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode (default: 64)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the measurement (default: 3)")
    parser.add_argument("--decoders", nargs="*", default=DECODERS, choices=DECODERS)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES, help="(default: 1 16)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--output", type=Path, default=RESULTS / "compiled.json", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    rows = [
        case(name, batch, arguments.tokens, arguments.rounds, arguments.device)
        for name in arguments.decoders
        for batch in arguments.batches
    ]
    write(arguments.output, {"layers": 6, "width": 512, "tokens": arguments.tokens, "cases": rows})


if __name__ == "__main__":
    main()
