"""What the tools around students of Marian do: alignments, shortlists, 8-bit files and 8-bit weights.

python benchmarks/marian_tools.py

Texts and alignments of Marian are recorded in tests/fixtures/marian. The time that a shortlist saves is that of
generate() with a model of the size of Firefox's smallest students, of random weights, over its 32,000 pieces.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fxtranslate
import torch
from record import RESULTS, ROOT, alternate, compare, write

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.alignment import align, guided_head
from hf_rnnattn.convert.marian_alphas import measure_alphas
from hf_rnnattn.convert.marian_export import export_marian, table_of
from hf_rnnattn.convert.marian_folder import convert_marian
from hf_rnnattn.generating import load_checkpoint
from hf_rnnattn.model.shortlist_rnnattn import LexicalShortlist
from hf_rnnattn.shortlist_building import build_shortlist, count_pairs, links_of_model
from hf_rnnattn.word_alignment import hard_links, pharaoh

FOLDER = ROOT / "tests" / "fixtures" / "marian"
MODEL, VOCABULARY = FOLDER / "model.intgemm.alphas.bin", FOLDER / "vocab.spm"
ALIGNMENTS = {"hard": ("marian.alignment.txt", None), "above 0.2": ("marian.alignment.0.2.txt", 0.2)}
FIRST, BEST = 50, 50
PIECES, WORDS, WRITTEN, REPEATS = 32000, 24, 32, 15


def lines_of(name: str) -> list[str]:
    """A recorded file."""
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def same(texts: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """How many of these texts are those."""
    identical = sum(text == other for text, other in zip(texts, others, strict=True))
    return {"texts": len(texts), "identical": identical, "share": identical / len(texts)}


def alignments(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Lines of alignments against Marian's."""
    layer, head = guided_head(model)
    found = align(model, tokenizer, lines_of("sentences.txt"), layer=layer, head=head)
    return {
        name: same([pharaoh(hard_links(alignment, threshold)) for alignment in found], lines_of(recorded))
        for name, (recorded, threshold) in ALIGNMENTS.items()
    }


def shortlists(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Translations over a shortlist made of the same sentences, and how many pieces it leaves to score."""
    sentences, translations = lines_of("sentences.txt"), lines_of("marian.txt")
    counts = count_pairs(links_of_model(model, tokenizer, zip(sentences, translations, strict=True)))
    built = build_shortlist(counts, source_size=model.config.vocab_size - 1, first=FIRST, best=BEST)
    found, candidates = [], []
    for sentence in sentences:
        batch = tokenizer(sentence, return_tensors="pt")
        output = model.generate(**batch, shortlist=built)[0]
        found.append(tokenizer.decode(output, skip_special_tokens=True))
        candidates.append(len(built.candidates(batch["input_ids"][0], model.config.vocab_size, shared=True)))
    mean = sum(candidates) / len(candidates)
    return same(found, translations) | {"pieces": model.config.vocab_size - 1, "mean_candidates": round(mean, 1)}


def time_saved() -> dict[str, Any]:
    """Greedy search, one sentence at a time, with a shortlist and without."""
    torch.manual_seed(0)
    config = RnnAttnConfig(
        vocab_size=PIECES + 1,
        hidden_size=256,
        encoder_mixers=["full_attention"] * 6,
        decoder_mixers=["kim_ssru"] * 2,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        norm_position="post",
        encoder_position_embedding="sinusoidal",
        decoder_position_embedding="sinusoidal",
        output_bias=True,
    )
    model = RnnAttnForConditionalGeneration(config).eval()
    offsets = torch.arange(0, (PIECES + 1) * BEST, BEST)
    shortlist = LexicalShortlist(FIRST, BEST, offsets, torch.randint(PIECES, (PIECES * BEST,)))
    source = torch.randint(FIRST, PIECES, (1, WORDS))
    options = {"min_new_tokens": WRITTEN, "max_new_tokens": WRITTEN, "num_beams": 1}
    times = alternate(
        {
            "shortlist": lambda: model.generate(source, shortlist=shortlist, **options),
            "all pieces": lambda: model.generate(source, **options),
        },
        REPEATS,
    )
    candidates = shortlist.candidates(source[0], PIECES + 1, shared=True)
    return compare(times, "shortlist") | {"pieces": PIECES, "candidates": len(candidates), "written": WRITTEN}


def eight_bits(model: Any, tokenizer: Any, folder: Path) -> dict[str, Any]:
    """Texts of another engine: of the exported float32 file, and of 8-bit files against those."""
    sentences, vocabulary = lines_of("sentences.txt"), VOCABULARY.read_bytes()
    alphas = measure_alphas(model, tokenizer, sentences, table_of(model.config))
    export_marian(model, folder / "model.bin")
    export_marian(model, folder / "model.intgemm.alphas.bin", alphas)
    texts = {}
    for path in (folder / "model.bin", folder / "model.intgemm.alphas.bin", MODEL):
        engine = fxtranslate.Translator(model=path.read_bytes(), src_vocab=vocabulary, trg_vocab=vocabulary)
        texts[path] = [engine.translate(sentence) for sentence in sentences]
    exact, measured, original = texts.values()
    return {
        "engine": f"fxtranslate, {engine.backend()}",
        "measured multipliers against float32": same(measured, exact),
        "the original file against float32": same(original, exact),
    }


def kept(model: Any, tokenizer: Any, folder: Path) -> dict[str, Any]:
    """A model whose matrices stay in 8 bits against the one in float32."""
    convert_marian(MODEL, VOCABULARY, output=folder / "int8", keep_8bit=True)
    small, _ = load_checkpoint(str(folder / "int8"), device="cpu")
    batch = tokenizer(lines_of("sentences.txt"), text_target=lines_of("marian.txt"), padding=True, return_tensors="pt")
    with torch.no_grad():
        logits, others = (one(**batch).logits[batch["labels"] != tokenizer.pad_token_id] for one in (small, model))
    output = small.generate(batch["input_ids"], attention_mask=batch["attention_mask"])
    sizes = [(folder / kind / "model.safetensors").stat().st_size for kind in ("int8", "float32")]
    return same(tokenizer.batch_decode(output, skip_special_tokens=True), lines_of("marian.txt")) | {
        "largest_difference_of_logits": (logits - others).abs().max().item(),
        "standard_deviation_of_logits": others[..., :-1].std().item(),
        "size_against_float32": sizes[0] / sizes[1],
    }


def main() -> None:
    """Measures and writes the results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert_marian(MODEL, VOCABULARY, output=folder / "float32")
        model, tokenizer = load_checkpoint(str(folder / "float32"), device="cpu")
        results = {
            "alignments as Marian's": alignments(model, tokenizer),
            "shortlist of the sentences": shortlists(model, tokenizer),
            "time with a shortlist": time_saved(),
            "8-bit export": eight_bits(model, tokenizer, folder),
            "8-bit weights kept": kept(model, tokenizer, folder),
        }
    write(RESULTS / "marian_tools.json", results)
    print(results)


if __name__ == "__main__":
    sys.exit(main())
