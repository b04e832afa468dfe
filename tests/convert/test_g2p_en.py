"""The model of g2p-en as a model of this family."""

import importlib.util
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

from g2p_en_models import FOLDER, naive_logits, naive_phones, random_weights
from hf_rnnattn.checkpoint import load_strict
from hf_rnnattn.convert.g2p_en import GRAPHEMES, PHONEMES, convert_g2p_en, g2p_en_tokenizer, model_from_g2p_en
from sources import PROJECT

WORDS, ANSWERS = ((FOLDER / name).read_text(encoding="utf-8").splitlines() for name in ("words.txt", "phones.txt"))


def tensors(**changes):
    weights = {**random_weights(), **changes}
    return {name: torch.from_numpy(values) for name, values in weights.items() if values is not None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("g2p_en")
    np.savez(place / "checkpoint20.npz", **random_weights())
    convert_g2p_en(place / "checkpoint20.npz", output=place / "converted")
    return place / "converted"


def test_logits_are_those_of_the_formulas():
    weights, letters, phones = random_weights(), [5, 12, 1, 7, 2], [9, 70, 3, 0, 21]
    model = model_from_g2p_en(tensors()).double()
    with torch.no_grad():
        logits = model(torch.tensor([letters]), decoder_input_ids=torch.tensor([[2, *phones]])).logits[0]
    np.testing.assert_allclose(logits, naive_logits(weights, letters, phones), atol=1e-12)


def test_greedy_answers_are_those_of_the_formulas(folder):
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(WORDS[:60], padding=True, return_tensors="pt")
    output = model.generate(**batch)[:, 1:].tolist()
    answers = [naive_phones(random_weights(), tokenizer(word).input_ids) for word in WORDS[:60]]
    assert output == [([*phones, 3] + [0] * 20)[:20] for phones in answers]
    assert max(map(len, answers)) == 20
    assert len({tuple(phones) for phones in answers}) > 30


def test_padding_on_the_left_changes_no_answer(folder):
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    answers = []
    for side in ("right", "left"):
        batch = tokenizer(WORDS[:30], padding=True, return_tensors="pt", padding_side=side)
        answers.append(tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True))
    assert answers[0] == answers[1]


def test_the_folder_is_whole_and_the_pipeline_reads_words(folder):
    load_strict(folder)
    answers = pipeline("text2text-generation", model=str(folder))(["hello", "Zürich"])
    known = set(PHONEMES)
    assert all(set(answer["generated_text"].split()) <= known for answer in answers)


def test_the_script_that_pronounces_says_that_there_is_no_alignment(folder, capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("script_pronounce", PROJECT / "scripts" / "pronounce.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr("sys.argv", ["pronounce.py", str(folder), "hello"])
    script.main()
    answer, _, last = capsys.readouterr().out.splitlines()[-3:]
    assert answer.split()[0] == "hello"
    assert last == "The model has no attention: there is no alignment to draw."
    assert not (folder / "alignment.png").exists()


def test_words_are_read_as_the_package_reads_them():
    tokenizer = g2p_en_tokenizer()
    assert tokenizer("Zürich").input_ids == tokenizer("zurich").input_ids
    assert tokenizer.convert_ids_to_tokens(tokenizer("İx4y$ ").input_ids) == ["i", "x", "y", "</s>"]
    assert tokenizer("o'a-b").input_ids == [17, 1, 3, 1, 4, 2]
    assert tokenizer.get_src_vocab() == {letter: i for i, letter in enumerate(GRAPHEMES)}
    assert tokenizer.get_tgt_vocab() == {phone: i for i, phone in enumerate(PHONEMES)}
    assert tokenizer(text_target="HH AH0 L OW1 AX").input_ids == [37, 10, 46, 51, 1, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fc_b": None}, "missing: fc_b; not understood: none"),
        ({"more": np.zeros(2, np.float32)}, "missing: none; not understood: more"),
        ({"enc_emb": None}, "a matrix enc_emb"),
        ({"enc_w_hh": np.zeros(3, np.float32)}, "a matrix enc_w_hh"),
        ({"enc_emb": np.zeros((28, 6), np.float32)}, r"enc_emb in g2p-en must give shape \(30, 6\), got \(29, 6\)"),
        ({"dec_w_ih": np.zeros((24, 5), np.float32)}, r"dec_w_ih in g2p-en must give shape \(24, 6\)"),
        ({"fc_w": np.full((74, 8), np.nan, np.float32)}, "fc_w in g2p-en has values that are not finite"),
    ],
)
def test_other_weights_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        model_from_g2p_en(tensors(**changes))


def test_an_archive_of_objects_is_refused_and_nothing_is_written(tmp_path):
    np.savez(tmp_path / "objects.npz", **{**random_weights(), "fc_b": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match=r"fc_b.npy in .* holds object, not numbers"):
        convert_g2p_en(tmp_path / "objects.npz", output=tmp_path / "converted")
    assert {path.name for path in tmp_path.iterdir()} == {"objects.npz"}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The package's own weights: the file that G2P_EN_CHECKPOINT names, else out of the wheel on PyPI."""
    if "G2P_EN_CHECKPOINT" in os.environ:
        return os.environ["G2P_EN_CHECKPOINT"]
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), "g2p-en==2.1.0"]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
        return wheel.extract("g2p_en/checkpoint20.npz", place)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 200])
def test_the_released_model_says_what_the_package_says(released, batch_size, tmp_path):
    convert_g2p_en(released, output=tmp_path)
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    answers = []
    for at in range(0, len(WORDS), batch_size):
        batch = tokenizer(WORDS[at : at + batch_size], padding=True, return_tensors="pt")
        answers += tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True)
    assert answers == ANSWERS
    assert len(set(ANSWERS)) == 200
