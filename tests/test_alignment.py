"""Alignments out of generate are the attention that a teacher-forced forward pass of the same hypothesis computes."""

import pytest
import torch
from transformers import BertConfig, EncoderDecoderConfig, EncoderDecoderModel, GenerationConfig, LogitsProcessor

from hf_rnnattn.alignment import align, alignments_from_generate, cross_attentions_from_generate, eager_attention
from hf_rnnattn.tokenizer_training import train_tokenizers
from tiny_seq2seq import BOS, EOS, FAMILIES, PAD, character_tokenizer, tiny_model

SOURCES = ["hello", "a much longer source", "b"]
SEARCHES = {
    "greedy": {"num_beams": 1},
    "sampling": {"do_sample": True, "num_return_sequences": 3},
    "beams": {"num_beams": 4},
    "all beams": {"num_beams": 4, "num_return_sequences": 4},
    "sampled beams": {"num_beams": 3, "num_return_sequences": 2, "do_sample": True},
    "no cache": {"num_beams": 3, "use_cache": False},
}


class EndAtManySteps(LogitsProcessor):
    """Ends the first source's hypotheses after 1 to 3 tokens, the second's after 4 to 6, the third's after 7 to 9."""

    def __call__(self, input_ids, scores):
        produced = input_ids.shape[1] - 1
        source = torch.arange(len(scores)) * len(SOURCES) // len(scores)
        first, last = produced >= 3 * source, produced >= 3 * source + 2
        ends = last | (first & (input_ids.sum(dim=1) % 2 == 0))
        scores = scores.clone()
        scores[:, EOS] = torch.where(ends, 100.0, -100.0)
        return scores


def generate(model, inputs, **kwargs):
    settings = {"max_new_tokens": 10, "pad_token_id": PAD, "logits_processor": [EndAtManySteps()], **kwargs}
    with eager_attention(model):
        return model.generate(**inputs, return_dict_in_generate=True, output_attentions=True, **settings)


def padded(tokenizer, side="right"):
    return dict(tokenizer(SOURCES, padding=True, padding_side=side, return_token_type_ids=False, return_tensors="pt"))


@torch.no_grad()
def teacher_forced(model, source_ids, decoder_ids):
    """Cross-attention (layers of (H, T, S)) of one unpadded source and one decoder input."""
    with eager_attention(model):
        output = model(
            input_ids=torch.tensor([source_ids]), decoder_input_ids=torch.tensor([decoder_ids]), output_attentions=True
        )
    return [weights[0] for weights in output.cross_attentions]


def forced_by_hand(model, output, inputs, n, start):
    """Attention, per layer (H, T, S), of returned sequence ``n`` computed from scratch; also its produced ids."""
    row = n * len(inputs["input_ids"]) // len(output.sequences)
    source = inputs["input_ids"][row][inputs["attention_mask"][row].bool()].tolist()
    ids = output.sequences[n].tolist()
    produced = ids[start:]
    if EOS in produced:
        produced = produced[: produced.index(EOS) + 1]
    layers = teacher_forced(model, source, ids[:start] + produced[:-1])
    return [weights[:, start - 1 :] for weights in layers], produced, source


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("family", FAMILIES)
def test_alignments_are_the_attention_of_the_hypothesis_computed_from_scratch(family, search):
    model, inputs = tiny_model(family), padded(character_tokenizer())
    output = generate(model, inputs, **SEARCHES[search])
    layers = [
        alignments_from_generate(output, **inputs, eos_token_id=EOS, pad_token_id=PAD, layer=layer)
        for layer in range(len(output.cross_attentions[0]))
    ]
    assert layers
    lengths = set()
    for n in range(len(output.sequences)):
        forced, produced, source = forced_by_hand(model, output, inputs, n, start=1)
        for alignments, expected in zip(layers, forced, strict=True):
            assert alignments[n].target_ids == produced
            assert alignments[n].source_ids == source
            torch.testing.assert_close(alignments[n].weights, expected.mean(dim=0), atol=1e-5, rtol=0)
        lengths.add(len(produced))
    assert len(lengths) >= 3


def test_beams_of_the_search_above_do_cross():
    """Otherwise a resolution that ignores the beams would pass it."""
    model, inputs = tiny_model("bart"), padded(character_tokenizer())
    beams = generate(model, inputs, **SEARCHES["all beams"]).beam_indices
    crossed = (beams != beams[:, :1]) & (beams >= 0)
    assert crossed.any(dim=1).sum() > len(beams) // 2


def test_left_padding_changes_no_alignment():
    model, tokenizer = tiny_model("rnnattn"), character_tokenizer()
    left, right = (
        alignments_from_generate(generate(model, inputs, num_beams=3), **inputs, tokenizer=tokenizer)
        for inputs in (padded(tokenizer, "left"), padded(tokenizer, "right"))
    )
    for one, other in zip(left, right, strict=True):
        assert one.source_tokens == other.source_tokens
        assert one.target_tokens == other.target_tokens
        torch.testing.assert_close(one.weights, other.weights, atol=1e-5, rtol=0)


@pytest.mark.parametrize("beams", [1, 3])
def test_tokens_that_the_decoder_is_started_with_are_not_counted(beams):
    model, tokenizer = tiny_model("bart"), character_tokenizer()
    inputs = padded(tokenizer)
    start = torch.tensor([[1, 7, 8]] * len(SOURCES))
    output = generate(model, inputs, num_beams=beams, decoder_input_ids=start, max_new_tokens=8)
    for n, alignment in enumerate(alignments_from_generate(output, **inputs, tokenizer=tokenizer)):
        expected, produced, _ = forced_by_hand(model, output, inputs, n, start=3)
        assert alignment.target_ids == produced
        torch.testing.assert_close(alignment.weights, expected[-1].mean(dim=0), atol=1e-5, rtol=0)


KINDS = {
    "multi-head": {},
    "additive": {"cross_attention": "additive"},
    "in the cell": {"decoder_mixers": ["bahdanau_gru", "bahdanau_gru"]},
    "in a cell, then multi-head": {"decoder_mixers": ["bahdanau_gru", "ssru"]},
    "additive, then in a cell": {"decoder_mixers": ["lstm", "bahdanau_gru"], "cross_attention": "additive"},
}


@pytest.mark.parametrize("layer", [0, -1, None])
@pytest.mark.parametrize("kind", KINDS)
def test_one_call_aligns_through_beams_whatever_the_kind_of_attention(kind, layer):
    model = tiny_model("rnnattn", **KINDS[kind])
    search = {"num_beams": 4, "num_return_sequences": 2, "max_new_tokens": 10, "logits_processor": [EndAtManySteps()]}
    found = align(model, character_tokenizer(), SOURCES, layer=layer, **search)
    assert ["".join(alignment.source_tokens[:-1]) for alignment in found] == [s for s in SOURCES for _ in range(2)]
    for alignment in found:
        forced = teacher_forced(model, alignment.source_ids, [BOS, *alignment.target_ids[:-1]])
        layers = torch.stack([weights.mean(dim=0) for weights in forced])  # (L, T, S)
        torch.testing.assert_close(
            alignment.weights, layers.mean(dim=0) if layer is None else layers[layer], atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("kind", ["bart", *KINDS])
def test_prompt_lookup_decoding_gives_the_alignments_of_greedy_search(kind):
    model = tiny_model("bart") if kind == "bart" else tiny_model("rnnattn", **KINDS[kind])
    tokenizer = character_tokenizer()
    plain, looked_up = (
        align(model, tokenizer, "abcabcabc", max_new_tokens=12, num_beams=1, **more)[0]
        for more in ({}, {"prompt_lookup_num_tokens": 3})
    )
    assert plain.target_tokens == looked_up.target_tokens
    torch.testing.assert_close(plain.weights, looked_up.weights, atol=1e-5, rtol=0)


def test_layers_and_heads_can_be_chosen_or_averaged():
    model, inputs = tiny_model("bart"), padded(character_tokenizer())
    output = generate(model, inputs, num_beams=3)
    layers = torch.stack(cross_attentions_from_generate(output))  # (L, N, H, T, S)

    def chosen(**which):
        return alignments_from_generate(output, **inputs, **which)[1].weights

    length = len(chosen())
    torch.testing.assert_close(chosen(), layers[-1, 1].mean(dim=0)[:length])
    torch.testing.assert_close(chosen(layer=0, head=1), layers[0, 1, 1][:length])
    torch.testing.assert_close(chosen(layer=None, head=-1), layers[:, 1, -1].mean(dim=0)[:length])
    torch.testing.assert_close(chosen(layer=None), layers[:, 1].mean(dim=(0, 1))[:length])
    with pytest.raises(ValueError, match=r"layer must be in \[-2, 2\), got 2"):
        chosen(layer=2)
    with pytest.raises(ValueError, match=r"head must be in \[-2, 2\), got -3"):
        chosen(head=-3)


def test_align_names_the_tokens_and_marks_the_special_ones():
    model, tokenizer = tiny_model("bart"), character_tokenizer()
    first, second = align(model, tokenizer, ["hi", "you"], max_new_tokens=5, sequence_bias={(EOS,): 100.0})
    assert first.source_tokens == ["h", "i", "</s>"]
    assert second.source_special == [False, False, False, True]
    assert first.target_tokens == ["</s>"]
    assert first.target_special == [True]
    assert first.weights.shape == (1, 3)


def test_pairs_and_best_list_the_matrix():
    alignment = align(tiny_model("bart"), character_tokenizer(), "hi", max_new_tokens=4)[0]
    rebuilt = torch.zeros_like(alignment.weights)
    for target, source, weight in alignment.pairs():
        rebuilt[target, source] = weight
    assert torch.equal(rebuilt, alignment.weights)
    assert all(weight > 0.5 for *_, weight in alignment.pairs(threshold=0.5))
    assert [source for _, source, _ in alignment.best()] == alignment.weights.argmax(dim=1).tolist()


def test_align_takes_tensors_without_a_tokenizer():
    model, tokenizer = tiny_model("t5"), character_tokenizer()
    inputs = padded(tokenizer)
    for named, bare in zip(
        align(model, tokenizer, SOURCES, max_new_tokens=5), align(model, None, inputs, max_new_tokens=5), strict=True
    ):
        assert torch.equal(named.weights, bare.weights)
        assert bare.target_tokens == [str(i) for i in named.target_ids]
    with pytest.raises(TypeError, match="tokenizer is None"):
        align(model, None, "text")


def test_align_respects_a_generation_config():
    model, tokenizer = tiny_model("bart"), character_tokenizer()
    plain = align(model, tokenizer, "hello", max_new_tokens=12, num_beams=1)[0]
    stop = plain.target_ids[2]
    config = GenerationConfig(max_new_tokens=12, eos_token_id=stop, pad_token_id=PAD, decoder_start_token_id=1)
    stopped = align(model, tokenizer, "hello", generation_config=config)[0]
    assert stopped.target_ids == plain.target_ids[: plain.target_ids.index(stop) + 1]


@pytest.mark.parametrize("family", ["bart", "t5", "rnnattn"])
def test_eager_attention_is_given_back_even_after_an_error(family):
    model, seen = tiny_model(family), []

    def fail():
        with eager_attention(model):
            seen.append(model.config._attn_implementation)
            raise RuntimeError("stop")

    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert seen == ["eager"]
    assert model.config._attn_implementation == "sdpa"


def test_eager_attention_gives_each_part_of_a_model_back_what_it_had():
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 30,
    }
    encoder, decoder = BertConfig(**sizes), BertConfig(**sizes, is_decoder=True, add_cross_attention=True)
    model = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    model.encoder.set_attn_implementation("eager")
    before = [part.config._attn_implementation for part in (model, model.encoder, model.decoder)]
    assert len(set(before)) == 2
    with eager_attention(model):
        assert {part.config._attn_implementation for part in (model, model.encoder, model.decoder)} == {"eager"}
    assert [part.config._attn_implementation for part in (model, model.encoder, model.decoder)] == before


def test_an_output_without_weights_is_refused():
    model, inputs = tiny_model("bart"), padded(character_tokenizer())
    silent = model.generate(**inputs, return_dict_in_generate=True, output_attentions=True, max_new_tokens=3)  # sdpa
    with pytest.raises(ValueError, match="must be 'eager'"):
        alignments_from_generate(silent, **inputs)
    bare = model.generate(**inputs, return_dict_in_generate=True, max_new_tokens=3)
    with pytest.raises(ValueError, match="output_attentions=True"):
        alignments_from_generate(bare, **inputs)


def test_a_source_that_does_not_belong_to_the_output_is_refused():
    model, inputs = tiny_model("bart"), padded(character_tokenizer())
    output = generate(model, inputs)
    with pytest.raises(ValueError, match="2 rows, which does not divide the 3"):
        alignments_from_generate(output, inputs["input_ids"][:2])
    with pytest.raises(ValueError, match="source positions"):
        alignments_from_generate(output, inputs["input_ids"][:, 1:])


def test_each_side_is_named_by_its_own_vocabulary():
    tokenizer = train_tokenizers(
        sources=["abc", "cab"], targets=["X YY", "YY Z X"], source_kind="char", target_kind="whitespace"
    )
    model = tiny_model("rnnattn", **tokenizer.config_fields())
    (alignment,) = align(model, tokenizer, "abc", max_new_tokens=6, suppress_tokens=tokenizer.all_special_ids)
    assert alignment.source_tokens == ["a", "b", "c", "</s>"]
    names = {i: token for token, i in tokenizer.get_tgt_vocab().items()}
    assert alignment.target_tokens == [names[i] for i in alignment.target_ids]
    assert {"X", "YY", "Z"} >= set(alignment.target_tokens)
    assert tokenizer.convert_ids_to_tokens(alignment.source_ids) == alignment.source_tokens
