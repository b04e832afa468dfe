"""Greedy decoding with ``generate()``: this package against BART, T5 and Marian of transformers, side by side.

    python benchmarks/decoding.py [--threads 2] [--batches 1 16 64] [--output benchmarks/results/decoding.json]
    python benchmarks/decoding.py --device cuda --peers bart --output benchmarks/results/gpu_decoding.json

All models have the same width, depth, feed-forward size, heads and vocabulary; the number of parameters of each is in
the result. They are untrained: how long a token takes does not depend on what the weights say. A ratio is how many
times as many tokens a second ours decodes, taken within a round; every round runs every model once.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, alternate, write
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    DynamicCache,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration

WIDTH, DEPTH, INNER, HEADS = 512, 6, 2048, 8
OURS = "rnnattn"
# batch, new tokens, rounds: long outputs take long
CASES = [(1, 64, 15), (1, 256, 5), (16, 64, 5), (16, 512, 3), (16, 1024, 1), (64, 64, 3), (64, 256, 1)]


def models(vocabulary: int) -> dict[str, Any]:
    """One model a family, alike in every size."""
    sides = {
        "encoder_layers": DEPTH,
        "decoder_layers": DEPTH,
        "encoder_ffn_dim": INNER,
        "decoder_ffn_dim": INNER,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
    }
    ours = RnnAttnConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        encoder_mixers="full_attention",
        decoder_mixers="ssru",
        activation_function="relu",
        max_position_embeddings=1100,
        **sides,
    )
    bart = BartConfig(
        vocab_size=vocabulary,
        d_model=WIDTH,
        activation_function="relu",
        max_position_embeddings=1100,
        forced_eos_token_id=None,
        **sides,
    )
    marian = MarianConfig(
        vocab_size=vocabulary,
        d_model=WIDTH,
        activation_function="relu",
        max_position_embeddings=1100,
        forced_eos_token_id=None,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
        **sides,
    )
    t5 = T5Config(
        vocab_size=vocabulary,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=INNER,
        num_layers=DEPTH,
        num_decoder_layers=DEPTH,
        num_heads=HEADS,
        decoder_start_token_id=0,
    )
    built = {
        OURS: RnnAttnForConditionalGeneration(ours),
        "bart": BartForConditionalGeneration(bart),
        "t5": T5ForConditionalGeneration(t5),
        "marian": MarianMTModel(marian),
    }
    return {name: model.eval() for name, model in built.items()}


def decoding(model: Any, source: torch.Tensor, tokens: int) -> Callable[[], Any]:
    """A call that decodes exactly ``tokens`` tokens for each row of ``source`` (B, S)."""
    mask = torch.ones_like(source)
    settings = {"max_new_tokens": tokens, "eos_token_id": None, "do_sample": False, "num_beams": 1}
    return lambda: model.generate(source, attention_mask=mask, **settings)


def cached_floats(cache: DynamicCache) -> int:
    """Numbers that a decoder keeps of its own past, its cross-attention not counted."""
    held = []
    for layer in cache.layers:
        held += [layer.keys, layer.values, *getattr(layer, "states", {}).values()]
    return sum(tensor.numel() for tensor in held if tensor is not None)


def memory(model: Any, source: torch.Tensor) -> dict[str, int]:
    """Bytes of the decoder's own state after 64 and after 256 tokens, for one sequence, and what each token adds."""
    sizes = []
    for tokens in (64, 256):
        output = model.generate(
            source[:1], max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, return_dict_in_generate=True
        )
        sizes.append(4 * cached_floats(output.past_key_values.self_attention_cache))
    return {"after_64_tokens": sizes[0], "after_256_tokens": sizes[1], "per_token": (sizes[1] - sizes[0]) // 192}


def case(built: dict[str, Any], batch: int, tokens: int, source_length: int, rounds: int) -> dict[str, Any]:
    """Tokens per second of every model, and how many times as many ours decodes."""
    vocabulary = built[OURS].config.vocab_size
    source = torch.randint(4, vocabulary, (batch, source_length), device=built[OURS].device)
    for model in built.values():
        decoding(model, source, 4)()
    times = alternate({name: decoding(model, source, tokens) for name, model in built.items()}, rounds, warmup=0)
    speed = {name: round(batch * tokens / statistics.median(seconds), 1) for name, seconds in times.items()}
    ratio = {
        name: round(statistics.median(its / mine for its, mine in zip(seconds, times[OURS], strict=True)), 3)
        for name, seconds in times.items()
        if name != OURS
    }
    row = {"batch": batch, "new_tokens": tokens, "source_tokens": source_length, "rounds": rounds}
    print(f"batch {batch:3}, {tokens:5} tokens: {speed[OURS]:9.1f} tokens/s; times as many as", ratio, flush=True)
    return {**row, "tokens_per_second": speed, "times_as_many_as": ratio}


def main() -> None:
    """Measures every case and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--vocabulary", type=int, default=8000, help="size of the vocabulary (default: 8000)")
    parser.add_argument("--source_length", type=int, default=32, help="tokens of the source (default: 32)")
    parser.add_argument("--batches", type=int, nargs="*", help="only these batch sizes")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--peers", nargs="*", default=["bart", "t5", "marian"], help="(default: bart t5 marian)")
    parser.add_argument("--rounds", type=int, help="rounds of every case (default: more of short ones)")
    parser.add_argument("--output", type=Path, default=RESULTS / "decoding.json", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    built = {
        name: model.to(arguments.device)
        for name, model in models(arguments.vocabulary).items()
        if name in (OURS, *arguments.peers)
    }
    source = torch.randint(4, arguments.vocabulary, (1, arguments.source_length), device=arguments.device)
    write(
        arguments.output,
        {
            "parameters": {name: model.num_parameters() for name, model in built.items()},
            "vocabulary": arguments.vocabulary,
            "device": arguments.device,
            "decoder_state_bytes": {name: memory(model, source) for name, model in built.items()},
            "cases": [
                case(built, batch, tokens, arguments.source_length, arguments.rounds or rounds)
                for batch, tokens, rounds in CASES
                if not arguments.batches or batch in arguments.batches
            ],
        },
    )


if __name__ == "__main__":
    main()
