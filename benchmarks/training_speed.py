"""Training steps at equal width, depth and feed-forward size: this package against BART, side by side.

    python benchmarks/training_speed.py [--device cuda] [--output benchmarks/results/training_speed.json]

A step is the loss and its gradients, targets as long as sources; on GPUs under autocast to bfloat16. Ours are a
scanned encoder and decoder (minGRU, SSRU), and the same with a self-attention encoder, as Firefox's students have it.
The number of parameters of each is in the result. A ratio is how many times as many tokens a second ours trains on,
taken within a round; every round runs every model once.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, alternate, write
from transformers import BartConfig, BartForConditionalGeneration

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration

WIDTH, DEPTH, INNER, HEADS, VOCABULARY = 512, 6, 2048, 8, 8000
PEER = "bart"
SIDES = {
    **{f"{side}_layers": DEPTH for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": INNER for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": HEADS for side in ("encoder", "decoder")},
}


def models(longest: int) -> dict[str, Any]:
    """Ours and the peer, alike in every size."""
    built: dict[str, Any] = {}
    for name, encoder in (("mingru_ssru", "mingru"), ("attention_ssru", "full_attention")):
        fields = {"hidden_size": WIDTH, "encoder_mixers": encoder, "decoder_mixers": "ssru", **SIDES}
        fields |= {"vocab_size": VOCABULARY, "activation_function": "relu", "max_position_embeddings": longest}
        built[name] = RnnAttnForConditionalGeneration(RnnAttnConfig(**fields))
    bart = BartConfig(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        activation_function="relu",
        max_position_embeddings=longest,
        **SIDES,
    )
    return {**built, PEER: BartForConditionalGeneration(bart)}


def step(model: Any, tokens: torch.Tensor, precision: Callable[[], AbstractContextManager[Any]]) -> Callable[[], None]:
    """A call that computes the loss of (B, T) tokens as source and as target, and its gradients."""
    mask = torch.ones_like(tokens)

    def call() -> None:
        with precision():
            loss = model(input_ids=tokens, attention_mask=mask, labels=tokens).loss
        loss.backward()
        model.zero_grad(set_to_none=True)

    return call


def case(built: dict[str, Any], length: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of every model at one length."""
    batch = max(1, arguments.tokens // length)
    tokens = torch.randint(4, VOCABULARY, (batch, length), device=arguments.device)

    def precision() -> AbstractContextManager[Any]:
        return torch.autocast("cuda", torch.bfloat16) if arguments.device == "cuda" else nullcontext()

    calls = {name: step(model, tokens, precision) for name, model in built.items()}
    times = alternate(calls, arguments.repeats)
    row = {
        "length": length,
        "batch": batch,
        "tokens_per_second": {
            name: round(batch * length / statistics.median(seconds)) for name, seconds in times.items()
        },
        "times_as_many_as_bart": {
            name: round(statistics.median(its / mine for its, mine in zip(times[PEER], seconds, strict=True)), 3)
            for name, seconds in times.items()
            if name != PEER
        },
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measures every length and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512, 2048], help="(default: 128 512 2048)")
    parser.add_argument("--tokens", type=int, default=65536, help="tokens of a batch (default: 65536)")
    parser.add_argument("--repeats", type=int, default=10, help="rounds (default: 10)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--output", type=Path, default=RESULTS / "training_speed.json", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    built = {name: model.train().to(arguments.device) for name, model in models(max(arguments.lengths)).items()}
    write(
        arguments.output,
        {
            "parameters": {name: model.num_parameters() for name, model in built.items()},
            "device": arguments.device,
            "cases": [case(built, length, arguments) for length in arguments.lengths],
        },
    )


if __name__ == "__main__":
    main()
