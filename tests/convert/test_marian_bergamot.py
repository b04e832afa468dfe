"""Bergamot's build of Marian translates what is exported as ``generate()`` does, whatever the vocabularies."""

from dataclasses import replace

import numpy as np
import pytest
import sentencepiece

from bergamot import bergamot, install_bergamot
from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_export import export_marian
from hf_rnnattn.convert.sentencepiece_tokenizer import tokenizer_from_sentencepiece
from hf_rnnattn.convert.sentencepiece_vocabulary import read_sentencepiece
from students import SENTENCES, VOCABULARY, student

DESIGNS = {
    "smaller source": {"shared": False, "source_pieces": 90, "pieces": 1024},
    "larger source": {"shared": False, "source_pieces": 1024, "pieces": 90},
    "own output matrix": {"pieces": 1024, "tied_output": False},
    "own output matrix, larger source": {
        "shared": False,
        "source_pieces": 1024,
        "pieces": 90,
        "tied_output": False,
    },
}


def wide_student(**options):
    """One that writes many different tokens: 64 wide, with 8 heads, its norms about 1."""
    checkpoint, draw = student(**options), np.random.default_rng(1)
    tensors = {}
    for name, values in checkpoint.tensors.items():
        shape = tuple(64 if size in (8, 12) else size for size in values.shape)
        scale = 0.4 if name.endswith(("Wemb", "Wt")) else 0.25
        centre = 1.0 if name.endswith("ln_scale") else 0.0
        tensors[name] = draw.normal(centre, scale, size=shape).astype(np.float32)
    return replace(checkpoint, tensors=tensors, options={**checkpoint.options, "transformer-heads": 8})


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_bergamot_translates_the_exported_file_as_generate_does(design, tmp_path):
    options, small = DESIGNS[design], tmp_path / "small.spm"
    settings = {"bos_id": -1, "eos_id": 0, "unk_id": 1, "vocab_size": 90, "minloglevel": 9}
    with small.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(SENTENCES), model_writer=file, **settings)
    sizes = (options.get("source_pieces", options["pieces"]), options["pieces"])
    files = [small if size == 90 else VOCABULARY for size in sizes]
    vocabularies = [read_sentencepiece(path) for path in files]
    tokenizer = tokenizer_from_sentencepiece(*(vocabularies[:1] if options.get("shared", True) else vocabularies))
    model = model_from_marian(wide_student(**options))
    outputs = [model.generate(**tokenizer(text, return_tensors="pt"))[0] for text in SENTENCES]
    ours = tokenizer.batch_decode(outputs, skip_special_tokens=True)
    assert len(set(ours)) > 20
    export_marian(model, tmp_path / "model.bin")
    assert bergamot(install_bergamot(tmp_path), SENTENCES, tmp_path / "model.bin", *files) == ours
