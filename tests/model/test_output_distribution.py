"""Mixtures of what the vocabulary's scores say and what was read of the source."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn import RnnAttnForCausalLM
from hf_rnnattn.model.output_distribution import CopyDistribution
from hf_rnnattn.model.shortlist_rnnattn import LexicalShortlist
from lively_models import EXACT, generate, lively_model, run, sources, targets
from model_zoo import batch, tiny_config, tiny_model
from reference_attention import copy_distribution

B, T, S, V, E, D, C = 2, 3, 4, 6, 3, 5, 2
COPYING: dict[str, Any] = {"decoder_mixers": ["gru"], "cross_attention": "additive", "copy_from_source": True}


def told(heads: int = 1) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """The three vectors of each step, weights, and ids in which a token comes twice."""
    parts = [torch.randn(B, T, size, dtype=torch.float64, requires_grad=True) for size in (E, D, C)]
    alpha = torch.randn(B, heads, T, S, dtype=torch.float64).softmax(-1).requires_grad_()
    return parts, alpha, torch.tensor([[1, 5, 1, 0], [2, 3, 4, 4]])


def mixture() -> CopyDistribution:
    return CopyDistribution(embedding_size=E, hidden_size=D, context_size=C).double()


def test_a_copying_distribution_equals_its_equation() -> None:
    copying, logits = mixture(), torch.randn(B, T, V, dtype=torch.float64)
    parts, alpha, ids = told(heads=2)
    got = copying(lambda hidden: hidden, logits, (*parts, alpha, ids)).exp()
    weights = dict(copying.named_parameters())
    for row in range(B):
        for t in range(T):
            read = alpha[row, :, t].mean(0)
            want = copy_distribution(
                weights, logits[row, t], [part[row, t] for part in parts], read, ids[row].tolist()
            )
            assert_close(got[row, t], want, **EXACT)


def test_its_gradients_are_right_and_finite_where_nothing_is_copied() -> None:
    copying = mixture()
    parts, alpha, ids = told()
    logits = torch.randn(B, T, V, dtype=torch.float64, requires_grad=True)

    def log_p(logits: torch.Tensor, alpha: torch.Tensor, *parts: torch.Tensor) -> torch.Tensor:
        return copying(lambda hidden: hidden, logits, (*parts, alpha, ids))

    assert torch.autograd.gradcheck(log_p, (logits, alpha, *parts))


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_scores_far_away_leave_finite_log_probabilities_and_gradients(logit: float) -> None:
    copying = mixture().float()
    parts, alpha, ids = told()
    inputs = [part.detach().float().requires_grad_() for part in (*parts, alpha)]
    logits = torch.zeros(B, T, V)
    logits[..., 2] = logit
    log_p = copying(lambda hidden: hidden, logits.requires_grad_(), (*inputs, ids))
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert all(part.grad.isfinite().all() for part in (logits, *inputs))


def test_logits_are_log_probabilities_whatever_is_padded() -> None:
    model = lively_model("copying")
    inputs = sources(model)
    inputs["attention_mask"][2] = 0  # nothing to copy: the vocabulary alone
    logits = run(model, decoder_input_ids=targets(model), **inputs).logits
    assert_close(logits.exp().sum(-1), torch.ones(3, 6, dtype=torch.float64), **EXACT)
    inputs["input_ids"][2] = 5
    assert torch.equal(run(model, decoder_input_ids=targets(model), **inputs).logits, logits)


def test_a_token_without_a_score_is_written_if_it_is_read() -> None:
    """Of two tokens that the vocabulary all but forbids, the one in the source is likely."""
    model = tiny_model(**COPYING, output_bias=True, tie_word_embeddings=False)
    given = batch(model.config)
    with torch.no_grad():
        model.lm_head.bias[[20, 21]] = -1e4
        model.distribution.gate.bias.fill_(-5.0)
    given["input_ids"] = given["input_ids"].masked_fill(given["input_ids"] >= 20, 3)
    given["input_ids"][:, 4] = 20
    log_p = run(model, **given).logits
    assert (log_p[:, :, 20] > -10).all()
    assert (log_p[:, :, 21] < -1000).all()


def test_a_shortlist_forbids_what_is_neither_on_it_nor_in_the_source() -> None:
    model = lively_model("copying")
    inputs = sources(model)
    none = LexicalShortlist(2, 1, torch.zeros(model.config.vocab_size + 1, dtype=torch.long), torch.zeros(0).long())
    written = generate(model, 6, shortlist=none, **inputs)[:, 1:]
    real = inputs["input_ids"].where(inputs["attention_mask"].bool(), -1)
    for row, ids in zip(written, real, strict=True):
        allowed = none.candidates(ids[ids >= 0], model.config.vocab_size, shared=True)
        assert torch.isin(row, allowed).all()


def test_a_source_without_ids_is_refused() -> None:
    model = tiny_model(**COPYING)
    given = batch(model.config)
    vectors = model.get_input_embeddings()(given.pop("input_ids"))
    with pytest.raises(ValueError, match=r"needs the source's input_ids, .* of shape \(3, 7\), got none"):
        model(inputs_embeds=vectors, **given)
    encoded = model.get_encoder()(inputs_embeds=vectors)
    encoded.source_ids = torch.zeros(3, 6, dtype=torch.long)
    with pytest.raises(ValueError, match=r"of shape \(3, 7\), got \(3, 6\)"):
        model(encoder_outputs=encoded, **given)


def test_a_decoder_alone_cannot_copy() -> None:
    with pytest.raises(ValueError, match="copy_from_source must be False: a decoder alone does not know the ids"):
        RnnAttnForCausalLM(tiny_config(**COPYING, add_cross_attention=True))


def test_other_models_tell_nothing() -> None:
    model = tiny_model()
    assert run(model.model, **batch(model.config)).reading is None
    assert model.get_encoder()(batch(model.config)["input_ids"]).source_ids is None
