"""Attention against loops in float64, and what every attention must keep to whatever its weights."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

import reference_attention
from hf_rnnattn.model.attention import eager_attention_forward, masked_softmax
from hf_rnnattn.model.attention_scores import (
    AdditiveScore,
    CosineScore,
    DotScore,
    EuclideanScore,
    GeneralScore,
    build_score,
)
from hf_rnnattn.model.mixer_attention import FullAttentionMixer, MultiHeadCrossAttention, ScoredCrossAttention
from model_zoo import tiny_config

ROWS, T, S, QUERY, MEMORY, HIDDEN, HEADS, ATTENTION = 4, 3, 5, 6, 10, 8, 2, 7
MULTI_HEAD = ["eager", "sdpa"]
SCORED = ["additive", "general", "cosine", "euclidean"]
KINDS = [*MULTI_HEAD, *SCORED]
EXACT = {"rtol": 0.0, "atol": 1e-12}


def config_for(implementation: str) -> Any:
    """A config whose attention runs by one of transformers' names."""
    config = tiny_config()
    config._attn_implementation = implementation
    return config


def cross_attention(kind: str, seed: int = 0) -> nn.Module:
    """A seeded cross-attention in float64, with every parameter random."""
    torch.manual_seed(seed)
    sizes = {"query_size": QUERY, "memory_size": MEMORY, "hidden_size": HIDDEN, "dropout": 0.0}
    if kind in SCORED:
        module: nn.Module = ScoredCrossAttention(score=kind, attention_size=ATTENTION, **sizes)
    else:
        module = MultiHeadCrossAttention(config_for(kind), num_heads=HEADS, **sizes)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double().eval()


def read(module: Any, x: Tensor, memory: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """What the module reads of a memory whose mask (B, S) is prepared as the decoder prepares it."""
    prepared = None
    if isinstance(module, MultiHeadCrossAttention):
        prepared = create_bidirectional_mask(module.config, x, mask, encoder_hidden_states=memory)
    output, weights, _ = module(x, *module.prepare_memory(memory), prepared, mask)
    return output, weights


def expected(module: nn.Module, x: Tensor, memory: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same by the naive loop."""
    weights = dict(module.named_parameters())
    if isinstance(module, ScoredCrossAttention):
        return reference_attention.scored_attention(weights, x, memory, mask)
    allowed = None if mask is None else mask[:, None].expand(-1, x.shape[1], -1)
    return reference_attention.multi_head_attention(weights, x, memory, HEADS, allowed)


def inputs(seed: int = 0, requires_grad: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, a memory and a mask of which row 0 is whole, the others have padding right, inside and left."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, T, QUERY, generator=generator, dtype=torch.float64)
    memory = torch.randn(ROWS, S, MEMORY, generator=generator, dtype=torch.float64)
    mask = torch.ones(ROWS, S, dtype=torch.bool)
    mask[1, 3:] = mask[2, 1:3] = mask[3, :4] = False
    return x.requires_grad_(requires_grad), memory.requires_grad_(requires_grad), mask


def gradients(output: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a random but fixed weighing of the output."""
    generator = torch.Generator().manual_seed(7)
    weighing = torch.randn(output.shape, generator=generator, dtype=output.dtype)
    return torch.autograd.grad((output * weighing).sum(), leaves)


# --- against the loops -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_cross_attention_equals_the_loop(kind: str, masked: bool) -> None:
    module = cross_attention(kind)
    x, memory, mask = inputs(requires_grad=True)
    output, weights = read(module, x, memory, mask if masked else None)
    want, want_weights = expected(module, x, memory, mask if masked else None)
    torch.testing.assert_close(output, want, **EXACT)
    if kind != "sdpa":  # which returns none
        torch.testing.assert_close(weights, want_weights, **EXACT)
    leaves = (x, memory, *module.parameters())
    for got, wanted in zip(gradients(output, *leaves), gradients(want, *leaves), strict=True):
        torch.testing.assert_close(got, wanted, **EXACT)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", MULTI_HEAD)
def test_self_attention_equals_the_loop(kind: str, causal: bool) -> None:
    config = config_for(kind)
    mixer = FullAttentionMixer(
        config, input_size=MEMORY, hidden_size=HIDDEN, num_heads=HEADS, dropout=0.0, is_causal=causal
    ).double()
    _, x, mask = inputs(requires_grad=True)
    make = create_causal_mask if causal else create_bidirectional_mask
    prepared = make(config, x, mask, None) if causal else make(config, x, mask)
    output, weights = mixer(x, prepared)
    allowed = mask[:, None].expand(-1, S, -1)
    allowed = allowed.tril() if causal else allowed
    want, want_weights = reference_attention.multi_head_attention(dict(mixer.named_parameters()), x, x, HEADS, allowed)
    # Where a query is itself padding nobody looks, and with padding on the left it may have nothing to read.
    torch.testing.assert_close(output[mask], want[mask], **EXACT)
    if kind == "eager":
        torch.testing.assert_close(weights, want_weights, **EXACT)
    leaves = (x, *mixer.parameters())
    pairs = zip(gradients(output[mask], *leaves), gradients(want[mask], *leaves), strict=True)
    for got, wanted in pairs:
        torch.testing.assert_close(got, wanted, **EXACT)


@pytest.mark.parametrize("kind", MULTI_HEAD)
def test_self_attention_token_by_token_equals_one_pass(kind: str) -> None:
    config = config_for(kind)
    mixer = FullAttentionMixer(
        config, input_size=QUERY, hidden_size=HIDDEN, num_heads=HEADS, dropout=0.0, is_causal=True
    ).double()
    x, _, _ = inputs()
    whole = mixer(x, create_causal_mask(config, x, None, None))[0]
    layer = DynamicLayer()
    steps = [mixer(x[:, t : t + 1], None, layer)[0] for t in range(T)]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_attention_are_those_of_finite_differences(kind: str) -> None:
    module = cross_attention(kind)
    x, memory, mask = inputs(requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, memory: read(module, x, memory, mask)[0], (x[:, :2], memory))


def test_gradients_of_the_masked_softmax_are_those_of_finite_differences() -> None:
    scores = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    assert torch.autograd.gradcheck(lambda scores: masked_softmax(scores, mask), (scores,))


# --- what holds whatever the weights ---------------------------------------------------------------------------------


@given(st.integers(0, 2**16), st.sampled_from(["eager", "additive"]))
def test_weights_are_a_distribution_over_what_is_real(seed: int, kind: str) -> None:
    module = cross_attention(kind, seed)
    x, memory, _ = inputs(seed)
    mask = torch.rand(ROWS, S, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[0] = False
    _, weights = read(module, x, memory, mask)
    allowed = mask[:, None, None].expand_as(weights)
    assert (weights >= 0).all()
    assert (weights[~allowed] == 0).all()
    totals = mask.any(-1).double()[:, None, None].expand_as(weights.sum(-1))
    torch.testing.assert_close(weights.sum(-1), totals, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_without_a_real_slot_reads_as_zeros_and_leaves_other_rows_alone(kind: str) -> None:
    module = cross_attention(kind)
    x, memory, mask = inputs(requires_grad=True)
    before = read(module, x, memory, mask)[0]
    emptied = mask.clone()
    emptied[2] = False
    output, weights = read(module, x, memory, emptied)
    torch.testing.assert_close(output[2], module.out_proj.bias.expand_as(output[2]), **EXACT)
    others = [0, 1, 3]
    assert torch.equal(output[others], before[others])
    if weights is not None:
        assert (weights[2] == 0).all()
    for gradient in gradients(output, x, memory, *module.parameters()):
        assert gradient.isfinite().all()
    assert (torch.autograd.grad(read(module, x, memory, emptied)[0].sum(), memory)[0][2] == 0).all()


@given(st.permutations(range(S)), st.sampled_from(KINDS))
def test_permuting_the_memory_permutes_the_weights_and_keeps_what_is_read(order: list[int], kind: str) -> None:
    module = cross_attention(kind)
    x, memory, mask = inputs()
    output, weights = read(module, x, memory, mask)
    again, permuted = read(module, x, memory[:, order], mask[:, order])
    torch.testing.assert_close(again, output, **EXACT)
    if weights is not None:
        torch.testing.assert_close(permuted, weights[..., order], **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_masked_slots_are_not_read(kind: str) -> None:
    module = cross_attention(kind)
    x, memory, mask = inputs()
    other = torch.where(mask[..., None], memory, 1e3 * torch.randn_like(memory))
    torch.testing.assert_close(read(module, x, other, mask)[0], read(module, x, memory, mask)[0], **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_each_query_reads_by_itself(kind: str) -> None:
    module = cross_attention(kind)
    x, memory, mask = inputs()
    whole = read(module, x, memory, mask)[0]
    alone = torch.cat([read(module, x[:, t : t + 1], memory, mask)[0] for t in range(T)], dim=1)
    torch.testing.assert_close(alone, whole, **EXACT)


@pytest.mark.parametrize("kind", MULTI_HEAD)
def test_one_head_of_identities_is_the_scaled_dot_product(kind: str) -> None:
    size = 6
    module = MultiHeadCrossAttention(
        config_for(kind), query_size=size, memory_size=size, hidden_size=size, num_heads=1
    ).double()
    for linear in (module.q_proj, module.k_proj, module.v_proj, module.out_proj):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    x, _, mask = inputs()
    memory = inputs(1)[1][..., :size]
    scores = torch.einsum("btd,bsd->bts", x, memory) / size**0.5
    want = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ memory
    torch.testing.assert_close(read(module, x, memory, mask)[0], want, **EXACT)


@given(st.floats(-50, 50), st.integers(0, 2**16))
def test_a_constant_added_to_all_scores_changes_no_weight(shift: float, seed: int) -> None:
    scores = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(seed)) < 0.5
    torch.testing.assert_close(masked_softmax(scores + shift, mask), masked_softmax(scores, mask), **EXACT)


@pytest.mark.parametrize("kind", MULTI_HEAD)
def test_the_bias_of_the_keys_changes_nothing(kind: str) -> None:
    module = cross_attention(kind)
    x, memory, mask = inputs()
    before = read(module, x, memory, mask)[0]
    with torch.no_grad():
        module.k_proj.bias.add_(torch.randn(HIDDEN, dtype=torch.float64))
    torch.testing.assert_close(read(module, x, memory, mask)[0], before, **EXACT)


def test_the_additive_score_is_its_formula() -> None:
    score = AdditiveScore(query_size=QUERY, key_size=MEMORY, attention_size=ATTENTION).double()
    x, memory, _ = inputs()
    got = score(x, score.prepare_keys(memory))
    for b in range(ROWS):
        for t in range(T):
            for j in range(S):
                compared = score.query_proj.weight @ x[b, t] + score.key_proj.weight @ memory[b, j]
                want = score.score_proj.weight[0] @ torch.tanh(compared + score.key_proj.bias)
                torch.testing.assert_close(got[b, t, j], want, **EXACT)


# --- the masked softmax ----------------------------------------------------------------------------------------------


def test_the_masked_softmax_works_along_any_dimension() -> None:
    scores = torch.randn(3, 4, 5, dtype=torch.float64)
    mask = torch.rand(3, 4, 5) < 0.6
    along = masked_softmax(scores.transpose(1, 2), mask.transpose(1, 2), dim=1).transpose(1, 2)
    torch.testing.assert_close(along, masked_softmax(scores, mask), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_masked_softmax_keeps_the_dtype_and_survives_extreme_scores(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max / 2
    scores = torch.tensor([[largest, -largest, largest], [-largest, -largest, largest]], dtype=dtype)
    mask = torch.tensor([[True, True, False], [True, True, False]])
    weights = masked_softmax(scores, mask)
    assert weights.dtype == dtype
    assert weights.tolist() == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]


def test_the_arithmetic_of_half_precision_softmax_is_float32() -> None:
    scores = torch.randn(2, 300).to(torch.bfloat16)
    exact = scores.double().softmax(-1)
    assert torch.equal(masked_softmax(scores, None), exact.to(torch.float32).to(torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
def test_eager_attention_takes_boolean_and_additive_masks(dtype: torch.dtype) -> None:
    query, key, value = (torch.randn(2, HEADS, length, 4, dtype=torch.float64) for length in (T, S, S))
    allowed = torch.rand(2, 1, T, S) < 0.5
    allowed[0, 0, 1] = False
    mask = allowed
    if dtype != torch.bool:
        mask = torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
    output, weights = eager_attention_forward(SimpleNamespace(training=False), query, key, value, mask, scaling=0.5)
    scores = (query @ key.transpose(2, 3) * 0.5).masked_fill(~allowed, -torch.inf)
    want = scores.softmax(-1).nan_to_num(0.0)  # a row of -inf has no softmax
    torch.testing.assert_close(weights, want, **EXACT)
    torch.testing.assert_close(output, (want @ value).transpose(1, 2), **EXACT)


@pytest.mark.parametrize("kind", ["eager", "additive"])
def test_dropout_on_weights_is_for_training_only(kind: str) -> None:
    module = cross_attention(kind)
    x, memory, mask = inputs()
    without = read(module, x, memory, mask)[0]
    module.attention_dropout = 0.5
    assert torch.equal(read(module, x, memory, mask)[0], without)
    module.train()
    assert not torch.allclose(read(module, x, memory, mask)[0], without)


def test_the_general_score_with_the_identity_is_the_dot_score():
    general, dot = GeneralScore(query_size=MEMORY, key_size=MEMORY).double(), DotScore(size=MEMORY)
    nn.init.eye_(general.query_proj.weight)
    query, memory = torch.randn(ROWS, T, MEMORY).double(), torch.randn(ROWS, S, MEMORY).double()
    assert torch.equal(general(query, general.prepare_keys(memory)), dot(query, dot.prepare_keys(memory)))
    torch.testing.assert_close(dot(query, memory)[1, 2, 3], (query[1, 2] * memory[1, 3]).sum(), **EXACT)


def test_scores_that_do_not_exist_or_do_not_fit_are_refused():
    sizes = {"query_size": QUERY, "key_size": MEMORY, "attention_size": ATTENTION}
    with pytest.raises(
        ValueError, match="a score must be one of additive, dot, general, cosine, euclidean, got 'sine'"
    ):
        build_score("sine", **sizes)
    with pytest.raises(ValueError, match="needs queries and slots of one width, got 6 and 10"):
        build_score("dot", **sizes)


def test_the_cosine_score_does_not_see_lengths():
    score = CosineScore(query_size=QUERY, key_size=MEMORY).double()
    query, memory = torch.randn(ROWS, T, QUERY).double(), torch.randn(ROWS, S, MEMORY).double()
    lengths = torch.rand(ROWS, S, 1).double() + 0.5
    want = score(query, score.prepare_keys(memory))
    torch.testing.assert_close(score(3.0 * query, score.prepare_keys(lengths * memory)), want, **EXACT)
    assert want.abs().max() <= 10.0 + 1e-9


def test_the_euclidean_score_does_not_see_a_common_shift():
    score = EuclideanScore(query_size=MEMORY, key_size=MEMORY).double()
    nn.init.eye_(score.query_proj.weight)
    query, memory = torch.randn(ROWS, T, MEMORY).double(), torch.randn(ROWS, S, MEMORY).double()
    shift = torch.randn(MEMORY).double()
    want = score(query, score.prepare_keys(memory))
    torch.testing.assert_close(score(query + shift, score.prepare_keys(memory + shift)), want, rtol=0.0, atol=1e-11)
    want_of_torch = -score.log_precision.exp() * torch.cdist(query, memory) ** 2
    torch.testing.assert_close(want, want_of_torch, rtol=0.0, atol=1e-11)
