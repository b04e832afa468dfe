"""What 8-bit weights cost and gain on a CPU: errors of a trained model, size, and speed of greedy ``generate()``.

    python benchmarks/quantization.py [--threads 2] [--words 4000] [--output benchmarks/results/quantization.json]

Four models with the same weights: float32; int8 weights, and int8 weights with activations rounded to int8 on the way,
both of torchao; and torch's own dynamic quantisation, which rounds activations too. All linear layers are converted,
the output matrix included.

Errors are measured with the model of the quickstart on words that it was not trained on; it is trained first if it is
not there. Speed is measured with untrained models of the size of benchmarks/decoding.py, which run alternately; a
ratio is how many times as many tokens a second a model decodes as float32 does, taken within a round.
"""

import argparse
import copy
import io
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchao
from decoding import decoding
from record import RESULTS, ROOT, alternate, write
from torch import nn
from torch.ao.quantization import quantize_dynamic
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_
from transformers.utils import logging

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.checkpoint_evaluation import measure_texts
from hf_rnnattn.generating import TextGenerator, load_checkpoint
from hf_rnnattn.pronunciation import load_cmudict

PLAIN = "float32"
QUICKSTART = ROOT / "output" / "quickstart-g2p"
METRICS = {"g2p_word_error_rate": "word_error_rate", "phoneme_error_rate": "phoneme_error_rate"}
WIDTH, DEPTH, INNER, HEADS, VOCABULARY = 512, 6, 2048, 8, 8000
DECODERS = ("ssru", "lstm")
CASES = [(1, 64), (16, 64)]  # batch, new tokens


def with_torchao(config: Any) -> Callable[[Any], Any]:
    """What turns a model into one quantised by torchao."""

    def quantised(model: Any) -> Any:
        converted = copy.deepcopy(model)
        quantize_(converted, config)
        return converted

    return quantised


VARIANTS: dict[str, Callable[[Any], Any]] = {
    PLAIN: lambda model: model,
    "torchao, int8 weights": with_torchao(Int8WeightOnlyConfig()),
    "torchao, int8 weights and activations": with_torchao(Int8DynamicActivationInt8WeightConfig()),
    "torch, dynamic int8": lambda model: quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8),
}


def variants(model: Any) -> dict[str, Any]:
    """The model in every precision."""
    return {name: convert(model) for name, convert in VARIANTS.items()}


def saved_bytes(model: Any) -> int:
    """Bytes of the model's weights in a file."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.tell()


def trained(folder: Path) -> Path:
    """The folder of the quickstart's model, which is trained if there is none."""
    if not (folder / "results.json").exists():
        subprocess.run([sys.executable, str(ROOT / "scripts" / "quickstart.py")], cwd=ROOT, check=True)
    return folder


def errors(checkpoint: Path, words: int) -> dict[str, Any]:
    """Error rates of every precision on the same words, and for how many of them it says what float32 says."""
    model, tokenizer = load_checkpoint(str(checkpoint), device="cpu")
    rows = load_cmudict()["test"].shuffle(seed=0)
    rows = rows.select(range(min(words, len(rows))))
    measured: dict[str, Any] = {}
    expected: list[str] = []
    for name, converted in variants(model).items():
        generator = TextGenerator(converted, tokenizer, num_beams=1, max_new_tokens=40)
        found = measure_texts(generator, rows, list(METRICS), batch_size=256)
        expected = expected or found.predictions
        same = sum(one == other for one, other in zip(found.predictions, expected, strict=True))
        rates = {METRICS[metric]: round(found.metrics[metric], 2) for metric in METRICS}
        measured[name] = {
            **rates,
            "same_as_float32": round(100 * same / len(rows), 2),
            "bytes": saved_bytes(converted),
        }
        print(f"{name:38}", measured[name], flush=True)
    return {"model": checkpoint.name, "words": len(rows), "num_beams": 1, "models": measured}


def large_model(decoder: str) -> RnnAttnForConditionalGeneration:
    """An untrained model of the size of benchmarks/decoding.py."""
    sides = {
        f"{side}_{field}": size
        for side in ("encoder", "decoder")
        for field, size in (("layers", DEPTH), ("ffn_dim", INNER), ("attention_heads", HEADS))
    }
    config = RnnAttnConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        encoder_mixers="full_attention",
        decoder_mixers=decoder,
        activation_function="relu",
        **sides,
    )
    return RnnAttnForConditionalGeneration(config).eval()


def speed(decoder: str, rounds: int, source_length: int) -> dict[str, Any]:
    """Size of every precision, its tokens per second, and how many times as many as float32 it decodes."""
    models = variants(large_model(decoder))
    sizes = {name: saved_bytes(model) for name, model in models.items()}
    cases = []
    for batch, tokens in CASES:
        source = torch.randint(4, VOCABULARY, (batch, source_length))
        for model in models.values():
            decoding(model, source, 4)()
        times = alternate({name: decoding(model, source, tokens) for name, model in models.items()}, rounds, warmup=0)
        per_second = {name: round(batch * tokens / statistics.median(seconds), 1) for name, seconds in times.items()}
        ratio = {
            name: round(statistics.median(its / mine for its, mine in zip(times[PLAIN], seconds, strict=True)), 3)
            for name, seconds in times.items()
            if name != PLAIN
        }
        print(
            f"{decoder}, batch {batch:2}: {per_second[PLAIN]:8.1f} tokens/s in float32; times as many",
            ratio,
            flush=True,
        )
        cases.append({"batch": batch, "new_tokens": tokens, "tokens_per_second": per_second, "times_float32": ratio})
    return {"decoder": decoder, "width": WIDTH, "rounds": rounds, "bytes": sizes, "cases": cases}


def main() -> None:
    """Measures errors and speed and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--checkpoint", type=Path, default=QUICKSTART, help="a trained model of pronunciation")
    parser.add_argument("--words", type=int, default=20_000, help="held-out words at most (default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="how often every model decodes (default: 7)")
    parser.add_argument("--source_length", type=int, default=32, help="tokens of the source (default: 32)")
    parser.add_argument("--output", type=Path, default=RESULTS / "quantization.json", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    checkpoint = trained(arguments.checkpoint)
    write(
        arguments.output,
        {
            "torchao": torchao.__version__,
            "errors": errors(checkpoint, arguments.words),
            "speed": [speed(decoder, arguments.rounds, arguments.source_length) for decoder in DECODERS],
        },
    )


if __name__ == "__main__":
    main()
