"""Beam search as Marian does it: the beam of a sentence narrows by one with every translation that ends."""

from typing import Any

import torch
from torch import Tensor
from transformers.generation import GenerateBeamEncoderDecoderOutput

from hf_rnnattn.model.transformers_versions import CACHE, next_model_kwargs

# What ``generate`` hands to every loop and this one has no use for.
UNUSED = ("synced_gpus", "streamer", "negative_prompt_ids", "negative_prompt_attention_mask")


@torch.no_grad()
def narrowing_beam_search(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> Tensor | GenerateBeamEncoderDecoderOutput:
    """A decoding loop for ``generate``.

        model.generate(**batch, num_beams=4, custom_generate=narrowing_beam_search)

    transformers keeps its beam as wide as it was, and stops where it expects nothing better. Here a translation that
    ends leaves the beam, the search goes on with as many as are left until none is, and the best is the one with the
    highest sum of log-probabilities over length to the power of ``length_penalty``, the end token counted. So a
    converted model chooses the translations that Marian chooses with the same number of beams.

    Args:
        model: an encoder-decoder of this family.
        input_ids: (R, T) prompts, ``num_beams`` rows a sentence.
        logits_processor, stopping_criteria, generation_config, model_kwargs: what ``generate`` prepares.

    Returns:
        (B, T') the best translation of each sentence, padded; with ``return_dict_in_generate`` also its score.

    Raises:
        ValueError: several translations a sentence are asked for.
    """
    if generation_config.num_return_sequences != 1:
        raise ValueError(f"num_return_sequences must be 1, got {generation_config.num_return_sequences}")
    kwargs = {name: value for name, value in model_kwargs.items() if name not in UNUSED}
    beams, prompt, past = generation_config.num_beams, input_ids.shape[1], 0
    batch, device = input_ids.shape[0] // beams, input_ids.device
    first_rows = torch.arange(0, batch * beams, beams, device=device)[:, None]
    ends = torch.tensor(_ids(generation_config.eos_token_id), device=device)
    scores = torch.full((batch, beams), -torch.inf, device=device)
    scores[:, 0] = 0.0  # all start alike: one goes on
    width = torch.full((batch, 1), beams, device=device)
    best: list[tuple[float, Tensor]] = [(-torch.inf, input_ids[0, :0])] * batch
    while bool(width.any()):
        fed = input_ids.shape[1] - past if past else None
        inputs = model.prepare_inputs_for_generation(input_ids, fed, **kwargs)
        past = input_ids.shape[1] if kwargs.get(CACHE) is not None else 0
        output = model(**inputs, return_dict=True)
        steps = logits_processor(input_ids, output.logits[:, -1].float().log_softmax(-1))
        total = (scores[..., None] + steps.view(batch, beams, -1)).flatten(1)  # (B, beams V)
        scores, chosen = total.topk(beams)
        scores = scores.masked_fill(torch.arange(beams, device=device) >= width, -torch.inf)
        rows = (first_rows + chosen // steps.shape[-1]).flatten()
        input_ids = torch.cat([input_ids[rows], (chosen % steps.shape[-1]).view(-1, 1)], dim=1)
        kwargs = next_model_kwargs(model, output, kwargs)
        if kwargs.get(CACHE) is not None:
            kwargs[CACHE].reorder_cache(rows)
        ended = torch.isin(input_ids[:, -1], ends) | stopping_criteria(input_ids, None)
        ended = ended.view(batch, beams) & scores.isfinite()
        norm = (input_ids.shape[1] - prompt) ** generation_config.length_penalty
        for sentence, beam in ended.nonzero().tolist():
            score = float(scores[sentence, beam]) / norm
            if score > best[sentence][0]:
                best[sentence] = (score, input_ids[sentence * beams + beam])
        scores = scores.masked_fill(ended, -torch.inf)
        width = scores.isfinite().sum(1, keepdim=True)
    return _padded(best, generation_config, device)


def _ids(eos_token_id: Any) -> list[int]:
    if isinstance(eos_token_id, Tensor):
        return [int(token) for token in eos_token_id.flatten()]
    return list(eos_token_id) if isinstance(eos_token_id, list) else [eos_token_id]


def _padded(
    best: list[tuple[float, Tensor]], generation_config: Any, device: Any
) -> Tensor | GenerateBeamEncoderDecoderOutput:
    sequences = torch.nn.utils.rnn.pad_sequence(
        [ids for _, ids in best], batch_first=True, padding_value=generation_config.pad_token_id
    )
    if not generation_config.return_dict_in_generate:
        return sequences
    scores = torch.tensor([score for score, _ in best], device=device)
    return GenerateBeamEncoderDecoderOutput(sequences=sequences, sequences_scores=scores)  # type: ignore[arg-type]
