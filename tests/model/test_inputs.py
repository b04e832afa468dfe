"""Where the encoder ended, its mean, and positions: the small functions between a batch and the layers."""

import pytest
import torch

from hf_rnnattn import RnnAttnModel
from hf_rnnattn.model.inputs import first_and_last, mean_over_real, positions_of
from model_zoo import tiny_config

MASK = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()


def test_first_and_last_are_real_tokens():
    hidden = torch.where(MASK[..., None], torch.arange(6.0)[None, :, None].expand(3, 6, 2) + 1, 0.0)
    first, last = first_and_last(hidden, MASK)
    assert first[:, 0].tolist() == [2.0, 1.0, 0.0]
    assert last[:, 0].tolist() == [5.0, 6.0, 0.0]


def test_the_mean_counts_real_tokens_only():
    hidden = torch.where(MASK[..., None], torch.arange(6.0)[None, :, None].expand(3, 6, 2) + 1, 0.0)
    assert mean_over_real(hidden, MASK)[:, 0].tolist() == pytest.approx([(2 + 3 + 5) / 3, 3.5, 0.0])


def test_positions_do_not_count_padding():
    assert positions_of(MASK, 0, 6, MASK.device)[0].tolist() == [0, 0, 1, 1, 2, 2]
    assert positions_of(MASK, 4, 2, MASK.device)[:2].tolist() == [[2, 2], [4, 5]]
    assert positions_of(None, 4, 2, MASK.device).tolist() == [[4, 5]]


@pytest.mark.parametrize(
    ("mixer", "direction", "merge", "picks"),
    [
        ("gru", "forward", "concat", ("last", "last")),
        ("gru", "backward", "concat", ("first", "first")),
        ("gru", "both", "concat", ("last", "first")),
        ("gru", "both", "sum", ("last", "last")),
        ("full_attention", "both", "concat", ("last", "last")),
    ],
)
def test_the_last_state_is_taken_where_the_last_layer_of_the_encoder_ended(mixer, direction, merge, picks):
    config = tiny_config(
        encoder_mixers=["elman", mixer],
        encoder_layers=2,
        encoder_directions=["both", direction],
        encoder_merge=merge,
        decoder_init="last",
    )
    decoder = RnnAttnModel(config).decoder
    memory = torch.randn(3, 6, config.encoder_hidden_size)
    ends = dict(zip(("first", "last"), first_and_last(memory, MASK), strict=True))
    half = config.encoder_hidden_size // 2
    expected = torch.cat([ends[picks[0]][:, :half], ends[picks[1]][:, half:]], dim=-1)
    assert torch.equal(decoder.summarise(memory, MASK), expected)
