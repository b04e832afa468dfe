"""Decoding with onnxruntime against eager PyTorch: what the exported graphs weigh, and how fast they are.

    python benchmarks/onnx_decoding.py [--threads 1] [--tokens 64] [--output benchmarks/results/onnx.json]

Both decode the same tokens, greedily and with beams, which is checked: PyTorch with ``generate()``, onnxruntime with
the numpy loop of ``hf_rnnattn.onnx_generation``. The models have the width and vocabulary of benchmarks/decoding.py
and are untrained. A ratio is how many times as many tokens a second onnxruntime decodes, taken within a round.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, alternate, write
from transformers.utils import logging

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.onnx_export import export_onnx
from hf_rnnattn.onnx_generation import OnnxSeq2Seq

DECODERS = ("ssru", "lstm", "gru+full_attention", "full_attention", "bahdanau_gru")
CASES = [(1, 1), (1, 4), (16, 1)]  # batch, beams
TORCH, ONNX = "torch, eager", "onnxruntime"
LAYERS, VOCABULARY, SOURCE = 6, 8000, 32


def build(decoder: str) -> RnnAttnForConditionalGeneration:
    """Six layers of width 512 behind an encoder of two bidirectional ones."""
    torch.manual_seed(0)
    config = RnnAttnConfig(
        vocab_size=VOCABULARY,
        encoder_mixers=["gru", "gru"],
        decoder_layers=LAYERS,
        decoder_mixers=decoder,
        eos_token_id=None,
    )
    return RnnAttnForConditionalGeneration(config).eval()


def calls(model: Any, exported: OnnxSeq2Seq, batch: int, beams: int, tokens: int) -> dict[str, Callable[[], Any]]:
    """The same decoding both ways; each call returns the tokens as a list."""
    source = torch.randint(4, VOCABULARY, (batch, SOURCE), generator=torch.Generator().manual_seed(batch))
    mask, settings = torch.ones_like(source), {"max_new_tokens": tokens, "num_beams": beams}
    arrays = source.numpy(), mask.numpy()
    return {
        TORCH: lambda: model.generate(source, attention_mask=mask, do_sample=False, **settings).tolist(),
        ONNX: lambda: exported.generate(*arrays, **settings).sequences.tolist(),
    }


def case(model: Any, exported: OnnxSeq2Seq, batch: int, beams: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Tokens per second of both, and their ratio."""
    both = calls(model, exported, batch, beams, tokens)
    outputs = [call() for call in both.values()]
    times = alternate(both, rounds, warmup=0)
    ratio = statistics.median(slow / fast for slow, fast in zip(times[TORCH], times[ONNX], strict=True))
    row = {
        "batch": batch,
        "beams": beams,
        "same_tokens": outputs[0] == outputs[1],
        "tokens_per_second": {k: round(batch * tokens / statistics.median(v), 1) for k, v in times.items()},
        "times_as_many": round(ratio, 3),
    }
    print(row, flush=True)
    return row


def decoder(name: str, threads: int, tokens: int, rounds: int) -> dict[str, Any]:
    """One model: how long its export takes, what it weighs, and how fast it is."""
    model = build(name)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        export_onnx(model, folder)
        seconds = time.perf_counter() - start
        sizes = {path.name: path.stat().st_size for path in sorted(Path(folder).glob("*.onnx*"))}
        exported = OnnxSeq2Seq(folder, threads=threads)
    weights = {id(parameter): parameter.nbytes for parameter in model.parameters()}
    row = {
        "decoder": name,
        "seconds_to_export": round(seconds, 1),
        "bytes": {"weights in torch": sum(weights.values()), **sizes},
    }
    print(row, flush=True)
    return {**row, "cases": [case(model, exported, batch, beams, tokens, rounds) for batch, beams in CASES]}


def main() -> None:
    """Measures every decoder and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of both (default: 1)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode (default: 64)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the measurement (default: 5)")
    parser.add_argument("--decoders", nargs="*", default=DECODERS, choices=DECODERS)
    parser.add_argument("--output", type=Path, default=RESULTS / "onnx.json", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    rows = [decoder(name, arguments.threads, arguments.tokens, arguments.rounds) for name in arguments.decoders]
    facts = {"onnxruntime": version("onnxruntime"), "onnx": version("onnx"), "layers": LAYERS, "width": 512}
    write(arguments.output, {**facts, "source_tokens": SOURCE, "new_tokens": arguments.tokens, "models": rows})


if __name__ == "__main__":
    main()
