"""Presets with one vector between source and target are what their names say."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hf_rnnattn.presets import preset_model
from hf_rnnattn.presets_context import CONTEXT_PRESETS, USES, VECTORS
from small_presets import inputs_of, small

CLASSES, LENGTH, END = 12, 7, 2
each_vec2seq = pytest.mark.parametrize("name", ["vec2seq-first", "vec2seq-every"])


def test_every_way_to_form_a_vector_has_every_way_to_use_it():
    named = {f"seq2seq-{kind}{suffix}" for kind in VECTORS for suffix in USES}
    assert named <= CONTEXT_PRESETS.keys()
    for name in named:
        model = small(name)
        layer = model.model.decoder.layers[0]
        assert (layer.fed_width > 0) == ("-init" not in name)
        assert (model.config.decoder_init == "context") == ("-feed" not in name)
        assert layer.cross_attention is None
        assert not model(**inputs_of(model), output_attentions=True).cross_attentions


def test_rnmt_plus_has_the_published_number_of_parameters():
    """378.9 million, of which every one is known from the configuration that the authors published."""
    norms = 2 * 4 * 1024  # scales and shifts of a cell
    encoder = 2 * ((1024 + 1024) * 4096 + norms) + 5 * 2 * ((2048 + 1024) * 4096 + norms)
    projected = 2048 * 1024 + 1024
    heads = 2 * (1024 * 1024 + 1024) + 2 * 256 * 256 + 256
    decoder = 8 * ((1024 + 1024 + 1024) * 4096 + norms)
    output = 2048 * 32000 + 32000
    with torch.device("meta"):
        model = preset_model("rnmt-plus")
    assert model.num_parameters() == 2 * 32000 * 1024 + encoder + projected + heads + decoder + output
    assert round(model.num_parameters() / 1e6, 1) == 378.9


def test_in_rnmt_plus_the_context_goes_to_every_layer_and_to_the_softmax():
    """To the first from the step before, to the others from this one; residuals begin at the third layer."""
    model = small("rnmt-plus").double().eval()
    decoder, seen = model.model.decoder, []
    for layer in decoder.layers:
        layer.mixers[0].register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    decoder.readout.register_forward_hook(lambda _, args, output: seen.append((args[1], output)))
    output = model(**inputs_of(model), output_attentions=True)
    context = seen[0][1].context
    assert context.shape == (3, 5, 12)
    assert len(seen) == 9
    for entering, _ in seen[1:-1]:
        assert torch.equal(entering[..., 16:], context)
    assert torch.equal(seen[-1][1], torch.cat([seen[-1][0], context], dim=-1))
    for side in (model.model.encoder, decoder):
        assert [layer.mixer_connections[0].residual for layer in side.layers[:4]] == [False, False, True, True]
    (weights,) = output.cross_attentions
    assert weights.shape == (3, 2, 5, 7)
    assert_close(weights.sum(-1), torch.ones(3, 2, 5).double(), rtol=0.0, atol=1e-12)


def sequences() -> Tensor:
    """A sequence for each class, the end of different lengths, padded with -100."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(3, 20, (CLASSES, LENGTH), generator=generator)
    for row in range(CLASSES):
        stop = 3 + row % 4
        labels[row, stop], labels[row, stop + 1 :] = END, -100
    return labels


def learn(model: Any, source: dict[str, Tensor], labels: Tensor) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        loss = model.train()(**source, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


@each_vec2seq
@pytest.mark.parametrize("given_as", ["ids", "vectors"])
def test_a_sequence_for_each_class_is_learnt_exactly(name, given_as):
    """The class as the id of a source of one token, or as a vector in its place; greedy and with beams."""
    model = small(name, vocab_size=20, hidden_size=32)
    if given_as == "ids":  # id 0 is padding, so that the mask must say that it is none here
        ids = torch.arange(CLASSES)[:, None]
        source = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        source = {"inputs_embeds": torch.randn(CLASSES, 1, 32)}
    labels = sequences()
    learn(model, source, labels)
    wanted = [[token for token in row if token != -100] for row in labels.tolist()]
    for beams in (1, 3):
        written = model.generate(**source, num_beams=beams, max_new_tokens=LENGTH + 1)
        assert [row[1 : row.index(END) + 1] for row in written.tolist()] == wanted


def test_the_vector_enters_the_first_step_only():
    """As a summand of the gates that no later step has."""
    model = small("vec2seq-first").double().eval()
    cell, projection = model.model.decoder.layers[0].mixers[0], model.model.decoder.layers[0].initial_states[0]
    vector, x = torch.randn(2, 16).double(), torch.randn(2, 3, 16).double()
    started = cell(x, state={"h": projection(vector)})
    entering = cell.input_to_gates(x)
    entering[:, 0] += cell.state_to_gates(projection(vector)) - cell.state_to_gates.bias
    h = c = torch.zeros(2, 16).double()
    for t in range(3):
        h, c = cell.step(entering[:, t], cell.state_to_gates(h), h, c)
    assert_close(started.hidden[:, -1], h, rtol=0.0, atol=1e-6)  # states are float32


def test_the_vector_enters_every_step():
    model = small("vec2seq-every").eval()
    seen: list[Tensor] = []
    model.model.decoder.layers[0].mixers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    vector = torch.randn(2, 1, 16)
    model.generate(inputs_embeds=vector, max_new_tokens=3, min_new_tokens=3)
    read = torch.cat(seen, dim=1)
    assert read.shape == (2, 3, 32)
    encoded = model.get_encoder()(inputs_embeds=vector).last_hidden_state
    assert torch.equal(read[..., 16:], encoded.expand(2, 3, 16))
