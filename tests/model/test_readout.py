"""What the decoder's output becomes before the output matrix."""

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn.model.norms import CELL_NORMS
from hf_rnnattn.model.readout import DeepReadout
from model_zoo import batch, tiny_model
from reference import deep_readout

E, D, C = 3, 4, 5


@pytest.mark.parametrize("cell_norm", CELL_NORMS)
def test_a_deep_readout_equals_its_equation(cell_norm):
    readout = DeepReadout(embedding_size=E, hidden_size=D, context_size=C, cell_norm=cell_norm, norm_eps=1e-5).double()
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.add_(torch.randn_like(parameter))
    parts = [torch.randn(2, 3, size, dtype=torch.float64) for size in (E, D, C)]
    got = readout(*parts)
    weights = dict(readout.named_parameters())
    for row in range(2):
        for t in range(3):
            want = deep_readout(weights, *(part[row, t] for part in parts))
            assert_close(got[row, t], want, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("attention", ["multi_head", "additive", "general", "none"])
def test_the_output_matrix_reads_token_state_and_context(attention):
    """All three matter, and the result has the width of the embeddings."""
    model = tiny_model(
        cross_attention=attention, decoder_mixers=["conditional_gru", "gru"], readout="deep", embedding_size=10
    )
    assert model.lm_head.in_features == 10
    inputs = batch(model.config)
    before = model(**inputs).logits
    for i in range(3):
        changed = tiny_model(
            **{name: getattr(model.config, name) for name in ("cross_attention", "readout")}
            | {"decoder_mixers": ["conditional_gru", "gru"], "embedding_size": 10}
        )
        with torch.no_grad():
            changed.model.decoder.readout.projections[i].weight.zero_()
        assert not torch.allclose(changed(**inputs).logits, before)


def test_without_a_context_there_is_an_error():
    readout = DeepReadout(embedding_size=E, hidden_size=D, context_size=C, cell_norm="none", norm_eps=1e-5)
    with pytest.raises(ValueError, match="needs a context, but no layer read the encoder"):
        readout(torch.randn(1, 1, E), torch.randn(1, 1, D), None)
