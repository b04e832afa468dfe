"""What must hold of every model whatever it is made of, held by every preset."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hf_rnnattn.model.decoder_cache import new_cache, own_cache
from hf_rnnattn.presets import PRESETS
from small_presets import each_preset, inputs_of, small

EXACT = {"rtol": 0.0, "atol": 1e-10}
DECODERS = {"RnnAttnForConditionalGeneration": "decoder_", "RnnAttnForCausalLM": ""}
# Presets with a decoder, and how the names of what it reads begin.
PREFIXES = {name: DECODERS[preset.model] for name, preset in PRESETS.items() if preset.model in DECODERS}
each_decoder = pytest.mark.parametrize("name", PREFIXES)
# A language model without an encoder has no source.
SOURCED = [name for name in PRESETS if PREFIXES.get(name) != "" or PRESETS[name].fields.get("add_cross_attention")]
# A softmax over positions is blind to a shift of all of them: to the bias of keys, and to that of scores.
BLIND = ("k_proj.bias", "key_proj.bias", "qa_outputs.bias")
LENGTH = 6


def lively(name: str, **overrides: Any) -> Any:
    """A float64 model with weights so large that differences show."""
    return small(name, init_std=0.3, **overrides).double().eval()


def given_to(model: Any) -> dict[str, Any]:
    """``inputs_of`` the model, vectors in its dtype."""
    inputs = inputs_of(model)
    return {key: value.to(model.dtype) if value.is_floating_point() else value for key, value in inputs.items()}


def read_source(model: Any) -> dict[str, Any]:
    """What the model is given beside the target."""
    return {key: value for key, value in given_to(model).items() if key != "labels" and not _is_target(model, key)}


def _is_target(model: Any, key: str) -> bool:
    return key == f"{DECODERS.get(type(model).__name__, 'decoder_')}input_ids"


def target_of(model: Any, rows: int = 3, length: int = LENGTH) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(3, model.config.vocab_size, (rows, length), generator=generator)


def first_output(model: Any, **inputs: Any) -> Tensor:
    """Logits, or what the model gives in their place."""
    output = model(**inputs)
    result: Tensor = next(output[key] for key in ("logits", "start_logits", "last_hidden_state") if key in output)
    return result


def source_names(model: Any) -> tuple[str, str]:
    """The names of the source and of its mask."""
    if type(model).__name__ == "RnnAttnForCausalLM":
        return "encoder_hidden_states", "encoder_attention_mask"
    return "input_ids", "attention_mask"


def with_target(name: str, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, f"{PREFIXES[name]}input_ids": target_of(model)} if name in PREFIXES else inputs


@pytest.mark.parametrize("name", SOURCED)
def test_what_stands_in_the_padding_of_the_source_changes_nothing(name):
    model = lively(name)
    source, mask = source_names(model)
    inputs = read_source(model)
    real = inputs.get(mask, torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [1, 1, 0, 0, 1, 1, 1]]))
    inputs = with_target(name, model, {**inputs, mask: real})
    before = first_output(model, **inputs)
    noise = torch.full_like(inputs[source], float("nan") if inputs[source].is_floating_point() else 7)
    holes = real.bool() if inputs[source].dim() == 2 else real.bool()[..., None]
    after = first_output(model, **{**inputs, source: torch.where(holes, inputs[source], noise)})
    if name in PREFIXES or before.dim() < 3:
        assert torch.equal(after.nan_to_num(), before.nan_to_num())
    else:
        assert torch.equal(after[real.bool()], before[real.bool()])


@each_preset
def test_a_row_alone_is_what_it_is_in_the_batch(name):
    model = lively(name)
    inputs = with_target(name, model, read_source(model))
    together = first_output(model, **inputs)
    for row in range(3):
        alone = first_output(model, **{key: value[row : row + 1] for key, value in inputs.items()})
        assert_close(alone[0], together[row], **EXACT)
    order = torch.tensor([2, 0, 1])
    permuted = first_output(model, **{key: value[order] for key, value in inputs.items()})
    assert_close(permuted, together[order], **EXACT)


@each_decoder
def test_a_later_token_changes_no_earlier_logits(name):
    model = lively(name)
    inputs, ids, key = read_source(model), target_of(model), f"{PREFIXES[name]}input_ids"
    before = first_output(model, **inputs, **{key: ids})
    for t in (1, LENGTH - 1):
        changed = ids.clone()
        changed[:, t] = 3 + (changed[:, t] - 2) % (model.config.vocab_size - 3)
        after = first_output(model, **inputs, **{key: changed})
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.allclose(after[:, t:], before[:, t:])


@each_decoder
def test_padding_in_the_target_changes_nothing(name):
    model = lively(name)
    inputs, ids, key = read_source(model), target_of(model), f"{PREFIXES[name]}input_ids"
    expected = first_output(model, **inputs, **{key: ids})
    spread = torch.zeros(3, LENGTH + 2, dtype=torch.long)
    mask = torch.ones_like(spread)
    mask[:, 0], mask[0, 3], mask[1, 5], mask[2, -1] = 0, 0, 0, 0
    spread[mask.bool()] = ids.flatten()
    got = first_output(model, **inputs, **{key: spread, f"{PREFIXES[name]}attention_mask": mask})
    assert_close(got[mask.bool()].view(expected.shape), expected, **EXACT)


@each_decoder
def test_pieces_through_a_cache_equal_the_whole(name):
    """And a cache whose rows were reordered goes on as those rows would have from the start."""
    model = lively(name)
    inputs, ids, key = read_source(model), target_of(model), f"{PREFIXES[name]}input_ids"
    whole = first_output(model, **inputs, **{key: ids}, use_cache=False)
    for cuts in ([1, 2, 3, 4, 5], [2]):
        cache, pieces = None, []
        for begin, end in pairwise([0, *cuts, LENGTH]):
            output = model(**inputs, **{key: ids[:, begin:end]}, cache=cache, use_cache=True)
            cache = output.cache
            pieces.append(output.logits)
        assert_close(torch.cat(pieces, dim=1), whole, **EXACT)
    order = torch.tensor([1, 1, 0])
    cache = model(**inputs, **{key: ids[:, :3]}, use_cache=True).cache
    cache.reorder_cache(order)
    reordered = {name: value[order] for name, value in inputs.items()}
    after = first_output(model, **reordered, **{key: ids[order][:, 3:]}, cache=cache, use_cache=True)
    assert_close(after, first_output(model, **reordered, **{key: ids[order]})[:, 3:], **EXACT)


@each_decoder
def test_what_was_read_can_be_taken_back(name):
    model = lively(name)
    inputs, ids, key = read_source(model), target_of(model), f"{PREFIXES[name]}input_ids"
    whole = first_output(model, **inputs, **{key: ids}, use_cache=False)
    cache = new_cache(model.config, has_encoder=bool(inputs))
    first_output(model, **inputs, **{key: ids[:, :2]}, cache=cache, use_cache=True)
    for layer in own_cache(cache).layers:
        layer.activate_past_recording()
    wrong = 3 + (ids[:, 2:5] - 2) % (model.config.vocab_size - 3)
    wrong[:, 0] = ids[:, 2]
    first_output(model, **inputs, **{key: wrong}, cache=cache, use_cache=True)
    for layer in own_cache(cache).layers:
        layer.crop(-2)
    after = first_output(model, **inputs, **{key: ids[:, 3:]}, cache=cache, use_cache=True)
    assert_close(after, whole[:, 3:], **EXACT)


@each_decoder
def test_ignored_labels_count_for_nothing(name):
    model = lively(name)
    inputs, ids = read_source(model), target_of(model)
    target = {} if PREFIXES[name] else {"input_ids": ids}
    loss = model(**inputs, **target, labels=ids).loss
    longer = torch.nn.functional.pad(ids, (0, 2), value=-100)
    if target:
        target = {"input_ids": torch.nn.functional.pad(ids, (0, 2), value=4)}
    assert_close(model(**inputs, **target, labels=longer).loss, loss, **EXACT)
    nothing = model(**inputs, **target, labels=torch.full_like(longer, -100)).loss
    nothing.backward()
    assert nothing == 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())


@each_preset
def test_every_parameter_that_is_used_gets_a_gradient(name):
    model = lively(name).train()
    inputs = {**given_to(model)}
    output = model(**inputs)
    loss = (output.last_hidden_state * torch.rand(16)).sum() if "loss" not in output else output.loss
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        if not key.endswith(BLIND):
            assert parameter.grad.abs().max() > 1e-14, key


@each_preset
def test_the_seed_decides_the_weights_and_evaluation_repeats_itself(name):
    model = small(name)
    for (key, one), other in zip(model.state_dict().items(), small(name).state_dict().values(), strict=True):
        assert torch.equal(one, other), key
    model.eval()
    inputs = with_target(name, model, read_source(model))
    first = first_output(model, **inputs)
    assert torch.equal(first_output(model, **inputs), first)
    assert first.isfinite().all()
    if model.config.hard_attention != "reinforce":  # which draws what it reads while it is trained
        assert_close(first_output(model.train(), **inputs), first, rtol=0.0, atol=1e-6)


@each_preset
def test_half_precision_stays_near_single_precision(name):
    model = small(name, init_std=0.05).eval()
    inputs = with_target(name, model, read_source(model))
    expected = first_output(model, **inputs)
    model = model.bfloat16()
    inputs = {key: value.bfloat16() if value.is_floating_point() else value for key, value in inputs.items()}
    assert (first_output(model, **inputs).float() - expected).abs().max() <= 2e-2 * expected.abs().max()


@each_preset
def test_a_config_survives_json(name, tmp_path):
    config = small(name).config
    config.save_pretrained(tmp_path)
    assert type(config).from_pretrained(tmp_path).to_dict() == config.to_dict()
