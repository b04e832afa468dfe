"""From the files of a student to a folder, and to translations."""

import gzip

import pytest
import sentencepiece
import torch
import zstandard
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_folder import convert_marian
from hf_rnnattn.convert.marian_writing import binary_bytes, npz_bytes
from students import MODEL, OPTIONS, SENTENCES, VOCABULARY, recorded, student

YAML = "\n".join(f"{key}: {value!r}" for key, value in {**OPTIONS, "transformer-heads": 8}.items()).replace(
    "False", "false"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "student"
    convert_marian(MODEL, VOCABULARY, output=folder)
    return folder


def translate(folder, **options):
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    return tokenizer.batch_decode(model.generate(**batch, **options), skip_special_tokens=True)


def test_the_folder_translates_as_marian_does(folder):
    assert translate(folder) == recorded("marian.txt")


def test_the_pipeline_translates_as_marian_does(folder):
    translator = pipeline("translation", model=str(folder))
    assert [record["translation_text"] for record in translator(SENTENCES[:6])] == recorded("marian.txt")[:6]


@pytest.mark.parametrize("kind", ["npz", "bin", "bin.gz", "npz.zst"])
def test_every_container_gives_the_same_folder(kind, folder, tmp_path):
    tensors = read_marian(MODEL).tensors
    data = {"npz": npz_bytes, "bin": binary_bytes}[kind.split(".")[0]](YAML, tensors)
    pack = {"gz": gzip.compress, "zst": zstandard.compress}.get(kind.partition(".")[2], bytes)
    (tmp_path / kind).write_bytes(pack(data))
    (tmp_path / "vocab.spm").write_bytes(pack(VOCABULARY.read_bytes()))
    convert_marian(tmp_path / kind, tmp_path / "vocab.spm", output=tmp_path / "converted")
    for file in folder.iterdir():
        assert (tmp_path / "converted" / file.name).read_bytes() == file.read_bytes(), file.name


def small_vocabulary(path):
    """A SentencePiece model of 90 pieces."""
    options = {"bos_id": -1, "eos_id": 0, "unk_id": 1, "vocab_size": 90, "minloglevel": 9}
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(SENTENCES), model_writer=file, **options)
    return path


@pytest.mark.parametrize("sizes", [(1024, 1024), (90, 1024), (1024, 90)])
def test_two_vocabularies_are_two_sides(sizes, tmp_path):
    vocabularies = [VOCABULARY if size == 1024 else small_vocabulary(tmp_path / "small.spm") for size in sizes]
    checkpoint = student(shared=False, source_pieces=sizes[0], pieces=sizes[1])
    (tmp_path / "model.npz").write_bytes(npz_bytes(YAML, checkpoint.tensors))
    convert_marian(tmp_path / "model.npz", *vocabularies, output=tmp_path / "converted")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "converted")
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "converted")
    assert tokenizer.has_target_vocabulary
    assert tokenizer.pad_token_id == model.config.pad_token_id == 1024
    tables = [side.get_input_embeddings().weight for side in (model.get_encoder(), model.get_decoder())]
    for name, table, size in zip(("encoder_Wemb", "decoder_Wemb"), tables, sizes, strict=True):
        assert torch.equal(table[:size], torch.from_numpy(checkpoint.tensors[name]))
        assert not table[size:].any()
    pieces = [sentencepiece.SentencePieceProcessor(model_file=str(path)) for path in vocabularies]
    batch = tokenizer(SENTENCES, text_target=SENTENCES, padding=True, return_tensors="pt")
    assert batch.input_ids[0][batch.attention_mask[0].bool()].tolist() == [*pieces[0].encode(SENTENCES[0]), 0]
    output = model.generate(batch.input_ids, attention_mask=batch.attention_mask)
    for row, text in zip(output.tolist(), tokenizer.batch_decode(output, skip_special_tokens=True), strict=True):
        assert text == pieces[1].decode([token for token in row if token not in (0, 1024)])


def test_an_earlier_folder_is_replaced_or_left_as_it_was(folder, tmp_path):
    output = tmp_path / "converted"
    convert_marian(MODEL, VOCABULARY, output=output)
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    (tmp_path / "broken.bin").write_bytes(MODEL.read_bytes()[:-1000])
    for model, vocabulary in ((tmp_path / "broken.bin", VOCABULARY), (MODEL, MODEL), (tmp_path / "none", VOCABULARY)):
        with pytest.raises((ValueError, OSError)):
            convert_marian(model, vocabulary, output=output)
        assert {file.name: file.read_bytes() for file in output.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"converted", "broken.bin"}


def test_nothing_is_written_where_something_is_refused(tmp_path):
    (tmp_path / "model.npz").write_bytes(npz_bytes("type: multi-s2s", student(pieces=1024).tensors))
    with pytest.raises(ValueError, match="type is 'multi-s2s'"):
        convert_marian(tmp_path / "model.npz", VOCABULARY, output=tmp_path / "converted")
    assert {path.name for path in tmp_path.iterdir()} == {"model.npz"}


@pytest.mark.parametrize(
    ("options", "vocabularies", "message"),
    [
        ({"pieces": 13}, [VOCABULARY], "has 1024 tokens, Wemb .* has 13 rows"),
        ({"pieces": 1024}, [VOCABULARY, VOCABULARY], "one vocabulary for both sides"),
        ({"pieces": 1024, "shared": False}, [VOCABULARY], "a vocabulary for each side"),
        ({"pieces": 1024}, ["vocab.fsv"], "must be a SentencePiece model"),
    ],
)
def test_vocabularies_must_be_those_of_the_model(options, vocabularies, message, tmp_path):
    (tmp_path / "model.npz").write_bytes(npz_bytes(YAML, student(**options).tensors))
    with pytest.raises(ValueError, match=message):
        convert_marian(tmp_path / "model.npz", *vocabularies, output=tmp_path / "converted")
