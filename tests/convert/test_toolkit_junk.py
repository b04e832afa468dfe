"""Whatever the options of a checkpoint say, the answer is a model or a refusal."""

import random

import pytest

from hf_rnnattn.convert.eole import read_eole
from hf_rnnattn.convert.joeynmt import model_from_joeynmt, tokenizer_from_joeynmt
from hf_rnnattn.convert.joeynmt_checkpoint import read_joeynmt
from hf_rnnattn.convert.opennmt import model_from_opennmt, tokenizer_from_opennmt
from hf_rnnattn.convert.opennmt_checkpoint import read_opennmt
from toolkit_models import assembled

JUNK = [None, -1, 0, 10**9, "x", "", [], {}, [1], [[1]], True, False, 2.5, {"a": []}, float("nan")]
STEPS = {
    "joeynmt": (read_joeynmt, model_from_joeynmt, tokenizer_from_joeynmt),
    "opennmt": (read_opennmt, model_from_opennmt, tokenizer_from_opennmt),
    "eole": (read_eole, model_from_opennmt, tokenizer_from_opennmt),
}
# Besides those that the models have.
MORE = {
    "joeynmt": [("data", "special_symbols"), ("data", "special_symbols", "unk_token"), ("testing", "generate_unk")],
    "opennmt": [("lora_layers",), ("decoder_start_token",)],
    "eole": [("transforms",), ("training", "lora_layers"), ("model", "embeddings", "position_encoding_type")],
}


def keys_of(options, path=()):
    for key, value in options.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from keys_of(value, (*path, key))


@pytest.mark.parametrize(
    ("toolkit", "name"), [("joeynmt", "lstm_last"), ("opennmt", "lstm_general"), ("eole", "lstm")]
)
def test_junk_in_the_options_is_an_error_of_the_input_or_does_not_matter(toolkit, name, tmp_path):
    keys = [*MORE[toolkit]]
    assembled(toolkit, name, tmp_path, lambda options, tensors: keys.extend(keys_of(options)))
    draw, refused = random.Random(1), 0
    for number in range(40):
        key, junk = draw.choice(keys), draw.choice(JUNK)

        def change(options, tensors, key=key, junk=junk):
            for part in key[:-1]:
                options = options.setdefault(part, {})
            options[key[-1]] = junk

        path = assembled(toolkit, name, tmp_path / str(number), change)
        read, model_from, tokenizer_from = STEPS[toolkit]
        try:
            checkpoint = read(path)
            model_from(checkpoint), tokenizer_from(checkpoint)
        except (ValueError, OSError):
            refused += 1
    assert 0 < refused < 40
