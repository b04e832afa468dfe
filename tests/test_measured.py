"""The numbers that README shows are those of the committed results, and are written nowhere else by hand."""

import json
from typing import Any

from sources import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")
PLACES = {
    "quickstart": "model_cards/quickstart-g2p.json",
    "decoding": "benchmarks/results/decoding.json",
    "cells": "benchmarks/results/cells.json",
    "prompt_lookup": "benchmarks/results/prompt_lookup.json",
    "compiled": "benchmarks/results/compiled.json",
    "quantization": "benchmarks/results/quantization.json",
    "gpu_scan": "benchmarks/results/gpu_scan.json",
    "gpu_decoding": "benchmarks/results/gpu_decoding.json",
    "gpu_compiled": "benchmarks/results/gpu_compiled.json",
    "gpu_training": "benchmarks/results/gpu_training.json",
}
RESULTS = {name: json.loads((PROJECT / place).read_text(encoding="utf-8")) for name, place in PLACES.items()}


def one(rows: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    """The only row with these values."""
    (row,) = [row for row in rows if values.items() <= row.items()]
    return row


def expected_rows() -> list[str]:
    """The rows of README's table, from the results."""
    quickstart, decoding, cells = RESULTS["quickstart"], RESULTS["decoding"]["results"], RESULTS["cells"]["results"]
    test, training = quickstart["evaluation"]["test"], quickstart["training"]
    rates, parameters = test["metrics"], quickstart["model"]["parameters"]
    state = decoding["decoder_state_bytes"]
    rows = [
        f"| quickstart: {training['seconds'] / 60:.0f} minutes on two cores, {parameters / 1e6:.1f} M parameters, "
        f"{test['examples']:,} held-out words | {rates['g2p_word_error_rate']:.1f} % of words and "
        f"{rates['phoneme_error_rate']:.1f} % of phonemes wrong |",
    ]
    for batch, tokens in ((1, 64), (16, 512), (16, 1024)):
        ratio = one(decoding["cases"], batch=batch, new_tokens=tokens)["times_as_many_as"]
        rows.append(
            f"| tokens per second of greedy `generate()`, batch {batch}, {tokens:,} tokens | "
            f"{ratio['bart']:.2f} × BART, {ratio['t5']:.2f} × T5, {ratio['marian']:.2f} × Marian |"
        )
    rows.append(
        f"| what the decoder keeps of its own past | {state['rnnattn']['after_256_tokens'] / 1024:.0f} KiB, whatever "
        f"the length; BART: {state['bart']['per_token'] / 1024:.0f} KiB more with every token |"
    )
    step = one(cells, task="step", cell="lstm", batch=1, width=512)["against"]["torch.nn.LSTMCell"]["ratio"]
    (scan,) = one(cells, task="scan")["against"].values()
    rows.append(f"| time of one LSTM step, width 512 | {step:.2f} × `nn.LSTMCell` |")
    rows.append(
        f"| time of a linear scan, forward and backward, 8 × 512 × 512 | {scan['ratio']:.2f} × causal "
        "`scaled_dot_product_attention` of 8 heads |"
    )
    return [*rows, lookup_row(), compiled_row(), int8_row(), *gpu_rows()]


def lookup_row() -> str:
    lookup = RESULTS["prompt_lookup"]["results"]
    ratios = lookup["times_as_fast_as_greedy"]
    best = max((name for name in ratios if name.startswith("lookup_")), key=ratios.get)
    count = best.removeprefix("lookup_")
    copied = 100 * lookup["copied_part_of_the_output"]
    return (
        f"| prompt lookup, outputs that copy {copied:.0f} % of themselves from the source | "
        f"{ratios[best]:.2f} × greedy, up to {count} tokens proposed; transformers' own way of proposing "
        f"{ratios[f'transformers_{count}']:.2f} × |"
    )


def compiled_row() -> str:
    case = one(RESULTS["compiled"]["results"]["cases"], decoder="ssru", batch=1, device="cpu")
    found = case["times_as_fast_as_eager"]["compiled, static cache"]
    return f"| compiled steps with a static cache, 6 SSRU layers, batch 1, on the CPU | {found:.2f} × eager |"


def int8_row() -> str:
    errors = RESULTS["quantization"]["results"]["errors"]["models"]
    speed = one(RESULTS["quantization"]["results"]["speed"], decoder="ssru")["cases"]
    names = {"torchao, int8 weights": "torchao", "torch, dynamic int8": "torch's dynamic kind"}
    parts = [
        f"{errors[name]['word_error_rate'] - errors['float32']['word_error_rate']:+.1f} points of word errors and "
        f"{one(speed, batch=1)['times_float32'][name]:.2f} × the speed with {short}"
        for name, short in names.items()
    ]
    return f"| 8-bit weights on the CPU against float32 | {'; '.join(parts)} |"


def gpu_rows() -> list[str]:
    decoding, training, compiled = (
        RESULTS[f"gpu_{name}"]["results"]["cases"] for name in ("decoding", "training", "compiled")
    )
    (gpu,) = RESULTS["gpu_scan"]["machine"]["gpus"]
    scans = RESULTS["gpu_scan"]["results"]["speed"]
    largest = max(scans, key=lambda row: row["batch"] * row["length"] * row["width"])
    size = f"{largest['batch']} × {largest['length']:,} × {largest['width']:,}"
    forward, both = (100 * share for share in largest["share_of_copy_bandwidth"].values())
    smallest = min(scans, key=lambda row: row["batch"] * row["length"] * row["width"])
    little = " and ".join(f"{100 * share:.0f} %" for share in smallest["share_of_copy_bandwidth"].values())
    short = " × ".join(str(smallest[side]) for side in ("batch", "length", "width"))
    decoded = []
    for batch in (1, 16, 64):
        ratios = [row["times_as_many_as"]["bart"] for row in decoding if row["batch"] == batch]
        decoded.append(f"{min(ratios):.2f} to {max(ratios):.2f} × at batch {batch}")
    steps = ", ".join(
        f"{one(compiled, decoder=name)['times_as_fast_as_eager']['compiled by generate, static cache']:.1f} × eager "
        f"({name.upper()})"
        for name in ("ssru", "lstm")
    )
    trained = ", ".join(
        f"{row['times_as_many_as_bart']['mingru_ssru']:.2f} × at length {row['length']:,}" for row in training
    )
    return [
        f"| {gpu}: linear scan, {size}, of the speed at which memory is copied | {forward:.0f} %; with gradients "
        f"{both:.0f} %; of {short} {little} |",
        f"| {gpu}: tokens per second of greedy `generate()` against BART, 64 to 1,024 tokens | {', '.join(decoded)} |",
        f'| {gpu}: `generate(cache_implementation="static")`, which compiles itself, batch 1 | {steps} |',
        f"| {gpu}: tokens per second of training, minGRU and SSRU, against BART | {trained} |",
    ]


def test_the_table_of_the_readme_holds_the_committed_results():
    assert [row for row in expected_rows() if row not in README] == []


def test_every_row_of_the_table_is_one_of_these():
    table = README.partition("## Measured\n")[2].partition("\n## ")[0]
    shown = [line for line in table.splitlines() if line.startswith("| ")]
    assert shown == ["| what | measured |", *expected_rows()]


def test_the_results_say_where_they_were_measured():
    for name in PLACES.keys() - {"quickstart"}:
        assert {"machine", "commit", "command", "date"} <= RESULTS[name].keys()
    assert {"machine", "versions", "command"} <= RESULTS["quickstart"].keys()


def test_the_page_on_toolkits_states_what_was_measured():
    page = " ".join((PROJECT / "docs" / "toolkits.md").read_text(encoding="utf-8").split())
    fairseq, g2p = (
        json.loads((PROJECT / "benchmarks" / "results" / f"{name}_agreement.json").read_text(encoding="utf-8"))[
            "results"
        ]
        for name in ("fairseq", "g2p_en")
    )
    assert all(
        search["identical"] == search["texts"] == 200 for model in fairseq.values() for search in model.values()
    )
    assert len(fairseq) == 5
    assert "Five small models" in page
    assert "all answers of the converted models are fairseq's" in page
    assert max(model["greedy"]["largest_error_of_a_score"] for model in fairseq.values()) < 1e-5
    assert "no score of a greedy answer is further than 1e-5 from fairseq's" in page
    assert g2p["agreement"]["identical"] == g2p["agreement"]["words"] == 200
    rates = g2p["cmudict"]
    assert (
        f"On the {rates['words']:,} test words of `load_cmudict`, stress left out, "
        f"{rates['g2p_word_error_rate']:.1f} % of words and {rates['phoneme_error_rate']:.1f} % of phonemes are wrong"
    ) in page
