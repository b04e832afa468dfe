"""LSTM models of fairseq as models of this family: their answers are fairseq's, and what is refused."""

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from fairseq_models import FOLDER, NAMES, dictionaries, lines, mean_scores, options_of, weights_of, write_checkpoint
from hf_rnnattn.checkpoint import load_strict
from hf_rnnattn.convert.fairseq import convert_fairseq, model_from_fairseq
from hf_rnnattn.convert.fairseq_checkpoint import read_dictionary, read_fairseq

INPUTS = lines("inputs.txt")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("fairseq")
    for name in NAMES:
        convert_fairseq(write_checkpoint(name, place / f"{name}.pt"), *dictionaries(name), output=place / name)
    return place


def answers(folder, inputs, *, padding_side="right", **options):
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(inputs, padding=True, return_tensors="pt", padding_side=padding_side)
    return tokenizer.batch_decode(model.generate(**batch, **options), skip_special_tokens=True)


@pytest.mark.parametrize("name", NAMES)
def test_greedy_answers_are_those_of_fairseq(name, folders):
    recorded = lines(f"{name}/greedy.txt")
    assert answers(folders / name, INPUTS, num_beams=1) == recorded
    assert len(recorded) == 200
    assert len(set(recorded)) > 150


@pytest.mark.parametrize("name", NAMES)
def test_answers_of_the_folder_as_it_is_are_those_of_fairseq_with_5_beams(name, folders):
    recorded = lines(f"{name}/beam5.txt")
    assert answers(folders / name, INPUTS) == recorded
    assert recorded != lines(f"{name}/greedy.txt")


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_fairseq(name, folders):
    model, tokenizer = load_strict(folders / name), AutoTokenizer.from_pretrained(folders / name)
    ours = mean_scores(model, tokenizer, INPUTS, lines(f"{name}/greedy.txt"))
    assert ours == pytest.approx([float(score) for score in lines(f"{name}/scores.txt")], abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_one_at_a_time_and_padded_on_the_left_the_answers_are_the_same(name, folders):
    recorded = lines(f"{name}/greedy.txt")[:20]
    assert answers(folders / name, INPUTS[:20], num_beams=1, padding_side="left") == recorded
    assert [answers(folders / name, [text], num_beams=1)[0] for text in INPUTS[:5]] == recorded[:5]


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_whole_and_its_tables_are_tied_as_in_fairseq(name, folders):
    model, options = load_strict(folders / name), options_of(name)["model"]
    source, target = (side.get_input_embeddings().weight for side in (model.get_encoder(), model.get_decoder()))
    output = model.get_output_embeddings().weight
    shared = options["share_all_embeddings"]
    assert (source.data_ptr() == target.data_ptr()) == shared
    assert (output.data_ptr() == target.data_ptr()) == (shared or options["share_decoder_input_output_embed"])


def test_what_fills_up_narrow_embeddings_stays_zero_in_training(folders):
    model, tokenizer = load_strict(folders / "uneven"), AutoTokenizer.from_pretrained(folders / "uneven")
    batch = tokenizer(INPUTS[:8], text_target=lines("uneven/greedy.txt")[8:16], padding=True, return_tensors="pt")
    table = model.get_encoder().get_input_embeddings().weight
    before = table.detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        model(**batch).loss.backward()
        optimizer.step()
    width = options_of("uneven")["model"]["encoder_embed_dim"]
    assert not torch.equal(table[:, :width], before[:, :width])
    assert not table[:, width:].any()


@pytest.mark.parametrize(("older", "zipped"), [(True, True), (True, False), (False, False)])
def test_older_files_give_the_same_weights(older, zipped, folders, tmp_path):
    path = write_checkpoint("luong", tmp_path / "older.pt", older=older, zipped=zipped)
    model = model_from_fairseq(read_fairseq(path))
    for key, value in load_strict(folders / "luong").state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_half_precision_is_read(folders, tmp_path):
    halves = {key: value.half() for key, value in weights_of("luong").items()}  # recorded weights are halves
    model = model_from_fairseq(read_fairseq(write_checkpoint("luong", tmp_path / "half.pt", changes=halves)))
    for key, value in load_strict(folders / "luong").state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("name", "options", "changes", "message"),
    [
        ("luong", {"arch": "transformer_iwslt_de_en"}, {}, "arch is 'transformer_iwslt_de_en'"),
        ("luong", {"arch": "lstm_lm"}, {}, "arch is 'lstm_lm'"),
        ("luong", {"encoder_layers": 3}, {}, "encoder_layers is 3 in .*, but its weights say 1"),
        ("luong", {"encoder_bidirectional": True}, {}, "encoder_bidirectional is True"),
        (
            "luong",
            {"decoder_attention": "0"},
            {"decoder.attention.input_proj.weight": None},
            "decoder_attention is off",
        ),
        ("luong", {"criterion": "adaptive_loss"}, {}, "an adaptive softmax is not read"),
        ("luong", {}, {"decoder.fc_out.bias": None}, "missing: decoder.fc_out.bias; not understood: none"),
        ("luong", {}, {"decoder.more": torch.ones(1)}, "not understood: decoder.more"),
        ("luong", {}, {"encoder.embed_tokens.weight": torch.ones(32, 20)}, "encoder_embed_dim is 24"),
        (
            "bidirectional",
            {"encoder_embed_dim": 20},
            {"encoder.embed_tokens.weight": torch.ones(32, 20)},
            "embeddings of width 20 in the encoder and 16 in the decoder, whose table is also its output",
        ),
        ("luong", {}, {"encoder.embed_tokens.weight": None}, "a matrix encoder.embed_tokens.weight"),
        (
            "luong",
            {},
            {"decoder.attention.input_proj.weight": torch.ones(32, 31)},
            r"decoder.attention.input_proj.weight in .* must give shape \(32, 32\), got \(32, 31\)",
        ),
        ("luong", {}, {"encoder.lstm.bias_ih_l0": torch.full((128,), torch.nan)}, "bias_ih_l0 .* not finite"),
        ("shared", {}, {"encoder.embed_tokens.weight": torch.ones(72, 32)}, "but its two tables differ"),
    ],
)
def test_what_has_no_counterpart_is_refused(name, options, changes, message, tmp_path):
    path = write_checkpoint(name, tmp_path / "checkpoint.pt", options=options, changes=changes)
    with pytest.raises(ValueError, match=message):
        convert_fairseq(path, *dictionaries(name), output=tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    for content, message in (
        ({"weights": {}}, "has no 'model': it is no checkpoint of fairseq"),
        ([1], "has no 'model': it is no checkpoint of fairseq"),
        ({"model": {"a": 1}}, "'model' in .* must hold tensors by name, got int for 'a'"),
        ({"model": {"a": torch.ones(1)}, "cfg": None, "args": None}, "has no options of its model"),
    ):
        torch.save(content, tmp_path / "c.pt")
        with pytest.raises(ValueError, match=message):
            read_fairseq(tmp_path / "c.pt")


def test_dictionaries_must_be_those_of_the_model(tmp_path):
    path = write_checkpoint("luong", tmp_path / "checkpoint.pt")
    letters, phones = dictionaries("luong")
    with pytest.raises(
        ValueError, match=r"dict.letters.txt has 32 words, decoder.embed_tokens.weight in .* has 48 rows"
    ):
        convert_fairseq(path, letters, output=tmp_path / "converted")
    with pytest.raises(
        ValueError, match=r"dict.phones.txt has 48 words, encoder.embed_tokens.weight in .* has 32 rows"
    ):
        convert_fairseq(path, phones, letters, output=tmp_path / "converted")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 3\nb\n", "line 2 of .* must be a word, a space and a count, got 'b'"),
        ("a 3\n<unk> 4 #fairseq:overwrite\n", "line 2 of .* overwrites a word"),
        ("a 3\n\nb 2\n", "line 2 of .* must be a word"),
    ],
)
def test_other_dictionaries_are_refused(text, message, tmp_path):
    (tmp_path / "dict.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_dictionary(tmp_path / "dict.txt")


def test_words_of_a_dictionary_keep_their_characters(tmp_path):
    (tmp_path / "dict.txt").write_bytes("é 5\r\na\u2028b 3\nmadeupword0000 0\n".encode())
    assert read_dictionary(tmp_path / "dict.txt")[4:] == ["é", "a\u2028b", "madeupword0000"]
    assert len(read_dictionary(FOLDER / "dict.phones.txt")) == 48
