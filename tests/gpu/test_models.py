"""Whole models on a GPU: what they compute, generate, compile and learn there is what they do on the CPU."""

import pytest
import torch
from accelerate.utils import set_seed
from torch.testing import assert_close
from transformers import Trainer, TrainingArguments

from hf_rnnattn.presets import PRESETS
from lively_models import DECODERS, generate, lively_model, sources
from small_presets import WRITERS, inputs_of, small

pytestmark = pytest.mark.gpu


def loss_and_gradients(model, inputs):
    loss = model(**inputs).loss
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].model != "RnnAttnEncoderModel"])
def test_losses_and_gradients_are_those_of_the_cpu(name):
    model = small(name, init_std=0.3).double().eval()  # no dropout, no draws
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in inputs_of(model).items()}
    torch.manual_seed(0)
    loss, grads = loss_and_gradients(model, inputs)
    model.zero_grad()
    got, theirs = loss_and_gradients(model.cuda(), {k: v.cuda() for k, v in inputs.items()})
    # not nearer, though all is float64: sinusoids of positions are float32, and differ in the last bit
    assert_close(got.cpu(), loss, rtol=1e-7, atol=1e-7)
    assert grads.keys() == theirs.keys()
    for key, grad in grads.items():
        assert_close(theirs[key].cpu(), grad, rtol=0.0, atol=1e-6 * max(1.0, float(grad.abs().max())), msg=key)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("mode", [{}, {"num_beams": 3}, {"cache_implementation": "static", "disable_compile": True}])
def test_generated_tokens_are_those_of_the_cpu(name, mode):
    model = lively_model(name)
    inputs = sources(model)
    expected = generate(model, 9, **mode, **inputs)
    model.cuda()
    try:
        got = generate(model, 9, **mode, **{k: v.cuda() for k, v in inputs.items()})
    finally:
        model.cpu()
    assert torch.equal(got.cpu(), expected)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_presets_generate_in_half_precision(name, dtype):
    model = small(name).to("cuda", dtype).eval()
    inputs = {k: v.cuda() for k, v in inputs_of(model).items() if k != "labels"}
    written = model.generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert written.shape == (3, 6)
    assert model(**inputs, labels=written[:, 1:]).loss.isfinite()


@pytest.mark.parametrize("name", ["ssru", "lstm", "gru+full_attention", "fused"])
def test_generate_compiles_its_steps_by_itself_with_a_static_cache(name):
    """transformers does so on GPUs, with CUDA graphs."""
    model = lively_model(name).cuda()
    try:
        inputs = {k: v.cuda() for k, v in sources(model).items()}
        expected = generate(model, 12, **inputs)
        torch._dynamo.utils.counters.clear()
        for _ in range(2):  # the second call replays the graphs of the first, at new addresses
            got = generate(model, 12, cache_implementation="static", **inputs)
            assert torch.equal(got, expected)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
        assert not torch._dynamo.utils.counters["graph_break"]
    finally:
        model.cpu()


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_the_trainer_learns_in_every_precision(precision, tmp_path):
    set_seed(0)
    model = small("interleaved", init_std=0.1)
    rows = [{k: v[i % 3] for k, v in inputs_of(model).items()} for i in range(48)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=60,
        per_device_train_batch_size=12,
        learning_rate=1e-2,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert model.device.type == "cuda"
    assert losses[-1] < 0.5 * losses[0]
