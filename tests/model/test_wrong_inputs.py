"""Inputs that cannot be meant are refused, with what was given and what was expected."""

from typing import Any

import pytest
import torch

from lively_models import lively_model, make_lively, run, sources, targets


def inputs_with(**changes: Any) -> dict[str, Any]:
    model = lively_model("mixed")
    inputs = {**sources(model), "decoder_input_ids": targets(model), **changes}
    return {key: value for key, value in inputs.items() if value is not None}


def test_a_mask_of_another_length_is_refused() -> None:
    model = lively_model("mixed")
    with pytest.raises(ValueError, match=r"attention_mask must have shape \(3, 7\), got \(3, 8\)"):
        run(model, **inputs_with(attention_mask=torch.ones(3, 8).long()))
    with pytest.raises(ValueError, match=r"attention_mask must have shape \(3, 7\), got \(2, 7\)"):
        run(model, **inputs_with(attention_mask=torch.ones(2, 7).long()))
    with pytest.raises(ValueError, match=r"decoder_attention_mask must have shape \(3, 6\), got \(3, 7\)"):
        run(model, **inputs_with(decoder_attention_mask=torch.ones(3, 7).long()))
    past = run(model, use_cache=True, **inputs_with()).cache
    with pytest.raises(ValueError, match=r"decoder_attention_mask must have shape \(3, 12\), got \(3, 6\)"):
        run(model, cache=past, **inputs_with(decoder_attention_mask=torch.ones(3, 6).long()))


def test_a_mask_that_does_not_fit_given_encoder_outputs_is_refused() -> None:
    model = lively_model("mixed")
    memory = torch.zeros(3, 9, 12).double()
    with pytest.raises(ValueError, match=r"attention_mask must have shape \(3, 9\), got \(3, 7\)"):
        run(model, **inputs_with(input_ids=None, encoder_outputs=(memory,)))


@pytest.mark.parametrize("field", ["attention_mask", "decoder_attention_mask"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_floating_point_mask_is_refused(field: str, dtype: torch.dtype) -> None:
    length = 7 if field == "attention_mask" else 6
    with pytest.raises(TypeError, match=f"{field} must be bool or integer, got {dtype}"):
        run(lively_model("mixed"), **inputs_with(**{field: torch.ones(3, length, dtype=dtype)}))


@pytest.mark.parametrize("field", ["attention_mask", "decoder_attention_mask"])
def test_a_mask_of_which_token_reads_which_is_refused_where_there_is_a_recurrence(field: str) -> None:
    length = 7 if field == "attention_mask" else 6
    with pytest.raises(ValueError, match=rf"{field} must have shape .*, got \(3, 1, {length}, {length}\)"):
        run(lively_model("mixed"), **inputs_with(**{field: torch.ones(3, 1, length, length).bool()}))


def test_empty_batches_and_sequences_are_refused() -> None:
    model = lively_model("mixed")
    with pytest.raises(ValueError, match="source length is 0"):
        run(model, **inputs_with(input_ids=torch.zeros(3, 0).long(), attention_mask=None))
    with pytest.raises(ValueError, match="target length is 0"):
        run(model, **inputs_with(decoder_input_ids=torch.zeros(3, 0).long()))
    with pytest.raises(ValueError, match="batch size is 0"):
        run(model, **inputs_with(input_ids=torch.zeros(0, 7).long(), attention_mask=None))
    with pytest.raises(ValueError, match="batch size is 0"):
        run(model, **inputs_with(decoder_input_ids=torch.zeros(0, 6).long()))
    nothing = (torch.zeros(3, 0, 12).double(),)
    with pytest.raises(ValueError, match="source length is 0"):
        run(model, **inputs_with(input_ids=None, attention_mask=None, encoder_outputs=nothing))


def test_a_source_and_a_target_of_unequal_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="source has 3 rows, the target 2"):
        run(lively_model("mixed"), **inputs_with(decoder_input_ids=torch.ones(2, 6).long()))


def test_ids_and_vectors_at_once_or_neither_are_refused() -> None:
    model = lively_model("mixed")
    vectors = torch.zeros(3, 7, 12).double()
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds must be given, got 2"):
        run(model, **inputs_with(inputs_embeds=vectors))
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds must be given, got 0"):
        run(model, **inputs_with(input_ids=None))
    with pytest.raises(ValueError, match=r"exactly one of decoder_input_ids and decoder_inputs_embeds .* got 0"):
        model.get_decoder()(encoder_hidden_states=vectors)
    with pytest.raises(ValueError, match="needs encoder_hidden_states"):
        model.get_decoder()(targets(model))


def test_a_target_is_made_from_the_source_only_where_they_share_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="decoder_input_ids must be given"):
        run(make_lively(share_encoder_decoder_embeddings=False), **inputs_with(decoder_input_ids=None))
    with pytest.raises(ValueError, match="decoder_input_ids must be given"):
        run(lively_model("mixed"), inputs_embeds=torch.zeros(3, 7, 12).double())


def test_more_positions_than_a_learned_table_has_are_refused() -> None:
    model = make_lively(max_position_embeddings=15, decoder_position_embedding="learned", decoder_mixers=["gru"])
    ids = torch.ones(1, 16).long()
    with pytest.raises(ValueError, match="source length 16 exceeds max_position_embeddings 15"):
        run(model, input_ids=ids, decoder_input_ids=ids[:, :5])
    with pytest.raises(ValueError, match="target length 16 exceeds max_position_embeddings 15"):
        run(model, input_ids=ids[:, :5], decoder_input_ids=ids)
    past = run(model, input_ids=ids[:, :5], decoder_input_ids=ids[:, :14], use_cache=True).cache
    with pytest.raises(ValueError, match="target length 16 exceeds max_position_embeddings 15"):
        run(model, input_ids=ids[:, :5], decoder_input_ids=ids[:, :2], cache=past)


def test_without_position_tables_there_is_no_limit() -> None:
    model = make_lively(max_position_embeddings=15, encoder_position_embedding="sinusoidal", encoder_mixers=["ssru"])
    ids = torch.ones(1, 300).long()
    assert run(model, input_ids=ids, decoder_input_ids=ids).logits.isfinite().all()
