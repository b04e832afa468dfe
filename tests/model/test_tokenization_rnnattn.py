"""The tokenizer: two sides, saving and loading, faults in files and texts."""

import json
import logging
import pickle
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, PreTrainedConfig

from hf_rnnattn.model.tokenization_rnnattn import RnnAttnTokenizer
from hf_rnnattn.tokenizer_training import train_tokenizer, train_tokenizers

SPECIAL = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
WORDS = ["hello", "world", "low"]
PHONES = ["HH AH L OW", "W ER L D", "L OW"]


def words(vocab: dict[str, int]) -> Tokenizer:
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return backend


@pytest.fixture
def tokenizer() -> RnnAttnTokenizer:
    return train_tokenizers(WORDS, PHONES, source_kind="char", target_kind="whitespace", model_max_length=40)


@pytest.fixture
def shared() -> RnnAttnTokenizer:
    return train_tokenizer(WORDS, kind="char")


def edit(path: Path, change) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_sources_and_labels_use_their_own_vocabulary(tokenizer):
    batch = tokenizer(["low"], text_target=["L OW"])
    source, target = tokenizer.get_src_vocab(), tokenizer.get_tgt_vocab()
    assert batch["input_ids"] == [[source["l"], source["o"], source["w"], source["</s>"]]]
    assert batch["labels"] == [[target["L"], target["OW"], target["</s>"]]]
    assert "OW" not in source
    assert "w" not in target


def test_decode_reads_the_target_vocabulary_unless_told_otherwise(tokenizer):
    batch = tokenizer("world", text_target="W ER L D")
    assert tokenizer.decode(batch["labels"], skip_special_tokens=True) == "W ER L D"
    assert tokenizer.decode(batch["labels"]) == "W ER L D </s>"
    assert tokenizer.batch_decode(torch.tensor([batch["labels"]]), skip_special_tokens=True) == ["W ER L D"]
    assert tokenizer.decode(batch["input_ids"], use_source_tokenizer=True, skip_special_tokens=True) == "world"
    back = tokenizer.batch_decode([batch["input_ids"]], use_source_tokenizer=True, skip_special_tokens=True)
    assert back == ["world"]


def test_a_shared_vocabulary_serves_both_sides(shared):
    batch = shared("low", text_target="hello")
    assert not shared.has_target_vocabulary
    assert shared.decode(batch["labels"], skip_special_tokens=True) == "hello"
    assert shared.decode(batch["input_ids"], skip_special_tokens=True, use_source_tokenizer=True) == "low"
    assert shared.get_src_vocab() == shared.get_tgt_vocab()


def test_inside_the_target_context_everything_concerns_the_target(tokenizer):
    with tokenizer.as_target_tokenizer():
        inside = tokenizer("L OW")["input_ids"]
        assert len(tokenizer) == len(tokenizer.get_tgt_vocab())
        assert tokenizer("L OW")["input_ids"] == inside
    assert inside == tokenizer(text_target="L OW")["input_ids"]
    assert len(tokenizer) == len(tokenizer.get_src_vocab())
    assert tokenizer("L OW")["input_ids"] != inside


def test_the_source_side_comes_back_after_a_refused_target(tokenizer):
    before = tokenizer("low")["input_ids"]
    with pytest.raises(ValueError, match=r"text\[1\] must be a str"):
        tokenizer(["low", "low"], text_target=["L", None])
    assert len(tokenizer) == len(tokenizer.get_src_vocab())
    assert tokenizer("low")["input_ids"] == before


def test_config_fields_come_from_the_right_side(tokenizer):
    assert tokenizer.config_fields() == {
        "vocab_size": len(tokenizer.get_tgt_vocab()),
        "encoder_vocab_size": len(tokenizer.get_src_vocab()),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    }


def test_config_fields_give_the_end_token_of_the_target():
    source = words({"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "a": 4})
    target = words({"<pad>": 0, "</s>": 1, "<unk>": 2, "A": 3, "<s>": 4})
    tokenizer = RnnAttnTokenizer(tokenizer_object=source, target_tokenizer_object=target)
    assert tokenizer.config_fields()["eos_token_id"] == 1
    assert tokenizer.config_fields()["decoder_start_token_id"] == 4
    assert tokenizer("a", text_target="A") == {"input_ids": [4, 2], "attention_mask": [1, 1], "labels": [3, 1]}
    assert tokenizer.decode([4, 3, 1, 0, -100], skip_special_tokens=True) == "A"


def test_a_second_segment_gets_type_one_and_its_own_end(tokenizer):
    ids = tokenizer.get_src_vocab()
    pair = tokenizer("lo", "w")
    assert pair["input_ids"] == [ids["l"], ids["o"], ids["</s>"], ids["w"], ids["</s>"]]
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]
    assert tokenizer([("lo", "w")])["token_type_ids"] == [pair["token_type_ids"]]
    assert "token_type_ids" not in tokenizer("lo")
    assert tokenizer("lo", return_token_type_ids=True)["token_type_ids"] == [0, 0, 0]
    padded = tokenizer(["lo", "l"], ["w", "w"], padding=True, return_tensors="pt")
    assert padded["token_type_ids"].tolist() == [[0, 0, 0, 1, 1], [0, 0, 1, 1, 0]]


def test_padding_is_on_the_right_and_labels_are_padded_with_the_ignored_label(tokenizer):
    rows = [tokenizer("hello", text_target="L OW"), tokenizer("low", text_target="HH AH L OW")]
    batch = DataCollatorForSeq2Seq(tokenizer)([dict(row) for row in rows])
    assert batch["input_ids"][1].tolist()[-2:] == [tokenizer.pad_token_id] * 2
    assert batch["attention_mask"].sum(1).tolist() == [6, 4]
    assert batch["labels"][0].tolist()[-2:] == [-100, -100]
    assert tokenizer.batch_decode(batch["labels"], skip_special_tokens=True) == ["L OW", "HH AH L OW"]


def test_both_sides_survive_saving_and_loading(tokenizer, tmp_path):
    tokenizer("hello", text_target="L OW", truncation=True, max_length=2, padding="max_length")
    tokenizer.save_pretrained(tmp_path / "once")
    again = RnnAttnTokenizer.from_pretrained(tmp_path / "once")
    assert again("hello", text_target="L OW <s>") == tokenizer("hello", text_target="L OW <s>")
    assert again.get_tgt_vocab() == tokenizer.get_tgt_vocab()
    assert again.model_max_length == 40
    assert again.padding_side == "right"
    again.save_pretrained(tmp_path / "twice")
    for file in ("tokenizer.json", "target_tokenizer.json"):
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "twice" / file).read_bytes()


def test_saving_a_shared_vocabulary_leaves_no_stale_target_behind(tokenizer, shared, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    shared.save_pretrained(tmp_path)
    assert not RnnAttnTokenizer.from_pretrained(tmp_path).has_target_vocabulary


def test_auto_tokenizer_loads_both_sides(tokenizer, tmp_path):
    class OneConfig(PreTrainedConfig):
        model_type = "tokenizer_test"

    AutoTokenizer.register(OneConfig, tokenizer_class=RnnAttnTokenizer, exist_ok=True)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path, config=OneConfig())
    assert type(again) is RnnAttnTokenizer
    assert again(text_target="W ER")["input_ids"] == tokenizer(text_target="W ER")["input_ids"]


def test_a_pickled_tokenizer_works(tokenizer):
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again("low", text_target="L OW") == tokenizer("low", text_target="L OW")


def test_the_pad_id_must_agree():
    with pytest.raises(ValueError, match=r"must have one id on both sides, got 0 .* and 1 "):
        RnnAttnTokenizer(
            tokenizer_object=words({**SPECIAL, "a": 4}),
            target_tokenizer_object=words({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}),
        )


def test_the_target_needs_an_end_token():
    with pytest.raises(ValueError, match="'</s>' is not in the target vocabulary"):
        RnnAttnTokenizer(tokenizer_object=words(SPECIAL), target_tokenizer_object=words({"<pad>": 0, "<unk>": 1}))


@pytest.mark.parametrize("file", ["tokenizer.json", "target_tokenizer.json"])
@pytest.mark.parametrize(
    "content", [b"", b'{"version": "1.0", "mo', b'{"model": {"type": "Foo"}}', b"[1]", b"\xff\xfe"]
)
def test_a_file_that_is_no_tokenizer_is_named(tokenizer, tmp_path, file, content):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(OSError, match=rf"^{file} in .*{tmp_path.name} is not valid: "):
        RnnAttnTokenizer.from_pretrained(tmp_path)


def test_a_missing_file_is_named(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(OSError, match=r"no tokenizer\.json in"):
        RnnAttnTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(("number", "problem"), [(4, "both have id 4"), (99, "id 99, vocab_size is"), (-1, "id -1")])
@pytest.mark.parametrize("file", ["tokenizer.json", "target_tokenizer.json"])
def test_ids_in_a_file_must_be_unique_and_in_range(tokenizer, tmp_path, file, number, problem):
    tokenizer.save_pretrained(tmp_path)
    vocab = json.loads((tmp_path / file).read_text(encoding="utf-8"))["model"]["vocab"]
    last = max(vocab, key=vocab.get)
    edit(tmp_path / file, lambda data: data["model"]["vocab"].__setitem__(last, number))
    with pytest.raises(ValueError, match=f"ids must be unique and below vocab_size: .*{problem}"):
        RnnAttnTokenizer.from_pretrained(tmp_path)


def test_ids_of_a_given_object_must_be_unique():
    with pytest.raises(ValueError, match=r"ids must be unique and below vocab_size: 'a' and 'b' both have id 4"):
        RnnAttnTokenizer(tokenizer_object=words({**SPECIAL, "a": 4, "b": 4}))


def test_an_empty_text_is_one_end_token(tokenizer):
    assert tokenizer("")["input_ids"] == [tokenizer.eos_token_id]
    assert tokenizer(["", "low"])["input_ids"][0] == [tokenizer.eos_token_id]
    assert tokenizer(text_target="")["input_ids"] == [2]


@pytest.mark.parametrize("text", [None, [None], ["low", None], 3])
def test_none_is_refused(tokenizer, text):
    with pytest.raises(ValueError, match="text"):
        tokenizer(text)


def test_lone_surrogates_become_the_replacement_character():
    tokenizer = train_tokenizer(["a\ufffdb"], kind="char")
    assert tokenizer("a\ud800b")["input_ids"] == tokenizer("a\ufffdb")["input_ids"]
    assert tokenizer(["\udfff"])["input_ids"] == tokenizer(["\ufffd"])["input_ids"]


def test_nul_is_kept():
    tokenizer = train_tokenizer(["a\0b"], kind="char")
    assert tokenizer.decode(tokenizer("b\0a")["input_ids"], skip_special_tokens=True) == "b\0a"


def test_a_very_long_text_is_encoded_with_a_warning(tokenizer, caplog):
    logger = logging.getLogger("transformers.tokenization_utils_base")  # it does not propagate to caplog by itself
    logger.addHandler(caplog.handler)
    try:
        ids = tokenizer("low" * 350_000)["input_ids"]
    finally:
        logger.removeHandler(caplog.handler)
    assert len(ids) == 1_050_001
    assert "(1050001 > 40)" in caplog.text


def test_decoding_skips_the_ignored_label_and_refuses_other_negative_ids(tokenizer):
    labels = tokenizer(text_target="L OW")["input_ids"]
    assert tokenizer.decode([-100, *labels, -100], skip_special_tokens=True) == "L OW"
    assert tokenizer.decode(torch.tensor([-100, -100])) == ""
    with pytest.raises(ValueError, match="got -1"):
        tokenizer.decode([-1])
