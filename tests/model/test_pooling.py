"""One vector of a sequence: the mean, the last, or a mean whose weights are learnt."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hf_rnnattn import RnnAttnConfig, RnnAttnForSequenceClassification
from hf_rnnattn.model.pooling import POOLINGS, build_pooling
from model_zoo import batch, tiny_config
from recurrent_cells import CLOSE, holes
from reference_attention import attention_pooling

each_pooling = pytest.mark.parametrize("pooling", POOLINGS)
ROWS, LENGTH, WIDTH = 4, 7, 6


def pooled(pooling: str, **fields: object) -> nn.Module:
    torch.manual_seed(2)
    return build_pooling(
        tiny_config(classifier_pooling=pooling, encoder_hidden_size=WIDTH, embedding_size=WIDTH, **fields)
    ).double()


@each_pooling
def test_padding_changes_nothing_and_nan_in_it_reaches_nothing(pooling):
    hidden, mask = torch.randn(ROWS, LENGTH, WIDTH, dtype=torch.float64), holes(ROWS, LENGTH)
    module = pooled(pooling, encoder_mixers=["gru"])
    dirty = torch.where(mask[..., None], hidden, torch.nan).requires_grad_()
    got = module(dirty, mask)
    for row in range(ROWS - 1):
        assert_close(got[row], module(hidden[row, mask[row]][None], None)[0], **CLOSE)
    assert not got[-1].any()  # all padding
    (grad,) = torch.autograd.grad(got.sum(), dirty)
    assert not grad[~mask].any()
    assert grad.isfinite().all()


def test_attention_is_the_loop_over_its_tokens():
    module, hidden, mask = (
        pooled("attention"),
        torch.randn(ROWS, LENGTH, WIDTH, dtype=torch.float64),
        holes(ROWS, LENGTH),
    )
    leaves = [hidden.requires_grad_(), *module.parameters()]
    got, want = module(hidden, mask), attention_pooling(dict(module.named_parameters()), hidden, mask)
    assert_close(got, want, **CLOSE)
    for ours, theirs in zip(
        torch.autograd.grad(got.square().sum(), leaves), torch.autograd.grad(want.square().sum(), leaves), strict=True
    ):
        assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_the_last_is_the_state_in_which_the_cells_ended(direction):
    config = tiny_config(
        encoder_mixers=["gru"],
        encoder_directions=direction,
        classifier_pooling="last",
        norm_position="none",
        residual=False,
        encoder_ffn_dim=0,
        num_labels=3,
    )
    torch.manual_seed(0)
    model = RnnAttnForSequenceClassification(config).double().eval()
    given = batch(config)
    source = {name: given[name] for name in ("input_ids", "attention_mask")}
    encoder = model.get_encoder()
    encoder.gives_states = True
    state = encoder(**source).final_states[:, 0]
    assert_close(model(**source).logits, model.classifier(state), **CLOSE)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(Exception, match=r"classifier_pooling must be one of mean, last, attention, got 'max'"):
        RnnAttnConfig(classifier_pooling="max")
