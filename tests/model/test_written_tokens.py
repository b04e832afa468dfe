"""Tokens that are never written keep their weights in training, and change nothing else."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch.testing import assert_close

from hf_rnnattn import RnnAttnForCausalLM
from hf_rnnattn.model.written_tokens import FORBIDDEN
from model_zoo import VOCABULARY, batch, build, tiny_config

WRITTEN = VOCABULARY - 3


def models(**fields):
    """One that writes all tokens, and one of the same weights that does not write 3, whose bias forbids them."""
    found = [build(tiny_config(output_bias=True, written_vocab_size=size, **fields)) for size in (None, WRITTEN)]
    found[1].load_state_dict(found[0].state_dict())
    with torch.no_grad():
        for model in found:
            model.lm_head.bias[WRITTEN:] = FORBIDDEN
            model.lm_head.weight[WRITTEN:] = 0
    return found


def smoothed(logits):
    """Label smoothing's part of a loss: minus the mean log-probability of all tokens."""
    return -logits.log_softmax(-1).mean()


@pytest.mark.parametrize("share", [True, False])
def test_no_gradient_of_their_logits_reaches_their_weights(share):
    plain, model = models(tie_word_embeddings=False, share_encoder_decoder_embeddings=share)
    inputs = batch(plain.config)
    for one in (plain, model):
        smoothed(one(**inputs).logits).backward()
    for name in ("weight", "bias"):
        found, expected = (getattr(one.lm_head, name).grad for one in (model, plain))
        assert not found[WRITTEN:].any()
        assert expected[WRITTEN:].any()
        assert_close(found[:WRITTEN], expected[:WRITTEN])


def test_logits_are_the_same_with_gradients_and_without():
    plain, model = models()
    inputs = batch(plain.config)
    with torch.no_grad():
        expected, found = (one(**inputs).logits for one in (plain, model))
    assert torch.equal(found, expected)
    assert_close(model(**inputs).logits, expected)


def test_language_models_have_them_too():
    model = RnnAttnForCausalLM(tiny_config(output_bias=True, written_vocab_size=WRITTEN))
    smoothed(model(torch.tensor([[3, 4, 5]])).logits).backward()
    assert not model.lm_head.bias.grad[WRITTEN:].any()


def test_a_vocabulary_that_is_resized_is_written_as_a_whole():
    _, model = models()
    model.resize_token_embeddings(VOCABULARY + 4)
    assert model.config.written_vocab_size is None
    smoothed(model(**batch(model.config)).logits).backward()
    assert model.lm_head.bias.grad[WRITTEN:].any()


@pytest.mark.parametrize("size", [0, -1, VOCABULARY + 1])
def test_sizes_outside_of_the_vocabulary_are_refused(size):
    bounds = rf"written_vocab_size must be in \[1, vocab_size \({VOCABULARY}\)\], got {size}"
    with pytest.raises(StrictDataclassClassValidationError) as error:
        tiny_config(written_vocab_size=size)
    with pytest.raises(ValueError, match=bounds):
        raise error.value.__cause__
