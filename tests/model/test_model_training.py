"""Training a whole model: sums of losses, accumulation, checkpointing, seeds; and that it learns."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

from checkpointing import checkpoint_activations
from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from lively_models import DECODERS, EXACT, generate, lively_model, make_lively, sources, targets
from model_zoo import build, tiny_config

IGNORED = -100


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: grad for name, grad in zip(named, found, strict=True) if grad is not None}


def assert_same_gradients(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert_close(one[name], other[name], rtol=1e-9, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


def labelled(model: Any) -> dict[str, Tensor]:
    labels = targets(model)
    labels[1, 3:], labels[2, 5:] = IGNORED, IGNORED
    return {**sources(model), "labels": labels}


@pytest.mark.parametrize("name", DECODERS)
def test_extra_ignored_columns_change_neither_loss_nor_gradients(name: str) -> None:
    model = lively_model(name)
    batch = labelled(model)
    loss = model(**batch).loss
    wider = {**batch, "labels": torch.nn.functional.pad(batch["labels"], (0, 4), value=IGNORED)}
    wider_loss = model(**wider).loss
    assert_close(wider_loss, loss, **EXACT)
    assert_same_gradients(gradients(model, wider_loss), gradients(model, loss))


@pytest.mark.parametrize("name", DECODERS)
def test_micro_batches_sum_to_the_whole_batch(name: str) -> None:
    model = lively_model(name)
    batch = labelled(model)
    count = int((batch["labels"] != IGNORED).sum())
    whole = model(**batch).loss
    parts = [
        model(**{key: value[row : row + 1] for key, value in batch.items()}, num_items_in_batch=count).loss
        for row in range(3)
    ]
    assert_close(sum(parts), whole, **EXACT)
    assert_same_gradients(gradients(model, sum(parts)), gradients(model, whole))


def test_labels_that_are_all_ignored_give_loss_0_and_gradients_0() -> None:
    model = lively_model("mixed")
    batch = {**sources(model), "labels": torch.full((3, 4), IGNORED)}
    loss = model(**batch).loss
    assert loss.item() == 0.0
    assert all((grad == 0).all() for grad in gradients(model, loss).values())


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_no_gradient(name: str, reentrant: bool) -> None:
    model = make_lively(dropout=0.2, eos_token_id=None, **DECODERS[name]).train()
    batch = labelled(model)
    start = {key: tensor.clone() for key, tensor in model.state_dict().items()}

    def seeded() -> dict[str, Tensor]:
        torch.manual_seed(3)
        model.load_state_dict(start)  # a pass in training may move a baseline
        model.zero_grad()
        model(**batch).loss.backward()
        return {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}

    plain = seeded()
    checkpoint_activations(model, use_reentrant=reentrant)
    assert_same_gradients(seeded(), plain)
    assert all(layer.gradient_checkpointing for layer in model.get_decoder().layers)


def test_checkpointed_layers_run_again_in_the_backward_pass() -> None:
    model = make_lively(**DECODERS["mixed"]).train()
    checkpoint_activations(model)
    runs = []
    hook = model.get_decoder().layers[1].mixers[0].register_forward_hook(lambda *_: runs.append(1))
    model(**labelled(model)).loss.backward()
    hook.remove()
    assert len(runs) == 2


class Rows(torch.utils.data.Dataset):
    """The rows of a batch, one by one."""

    def __init__(self, batch: dict[str, Tensor]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["labels"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: value[index] for key, value in self.batch.items()}


def uneven_rows(model: Any) -> dict[str, Tensor]:
    """Eight rows whose numbers of labels differ much."""
    generator = torch.Generator().manual_seed(11)
    source = torch.randint(3, 13, (8, 7), generator=generator)
    labels = torch.randint(3, 13, (8, 9), generator=generator)
    for row in range(8):
        labels[row, 1 + row :] = IGNORED
    return {"input_ids": source, "attention_mask": torch.ones_like(source), "labels": labels}


def trained(model: Any, folder: Path, **changes: Any) -> tuple[dict[str, Tensor], list[float]]:
    """The weights and the losses logged after two steps of plain gradient descent through the Trainer."""
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=0.0,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        train_sampling_strategy="sequential",
        **changes,
    )
    trainer = Seq2SeqTrainer(model=model, args=arguments, train_dataset=Rows(uneven_rows(model)))
    trainer.train()
    return dict(model.state_dict()), [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_accumulated_gradients_under_the_trainer_equal_those_of_one_large_batch(tmp_path: Path) -> None:
    model = make_lively(**DECODERS["mixed"])
    twin = copy.deepcopy(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    whole, losses = trained(model, tmp_path / "a", per_device_train_batch_size=4)
    parts, part_losses = trained(twin, tmp_path / "b", per_device_train_batch_size=1, gradient_accumulation_steps=4)
    assert_close(part_losses, losses, rtol=1e-4, atol=1e-4)  # logs are rounded
    assert any(not torch.equal(whole[key], before[key]) for key in whole)
    for key in whole:
        assert_close(parts[key], whole[key], rtol=0, atol=1e-10, msg=lambda text, key=key: f"{key}: {text}")


def test_the_same_seed_gives_the_same_weights_and_losses(tmp_path: Path) -> None:
    runs = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        model = build(tiny_config(dropout=0.2, decoder_mixers=["gru+full_attention", "ssru"]), seed)
        runs.append(trained(model, tmp_path / folder, per_device_train_batch_size=4, seed=seed))
    (first, losses), (again, same_losses), (other, other_losses) = runs
    assert losses == same_losses
    assert losses != other_losses
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def digits(rows: int, length: int, generator: torch.Generator) -> Tensor:
    return torch.randint(3, 13, (rows, length), generator=generator)


def learnt(reverse: bool, steps: int, **fields: Any) -> float:
    """The share of unseen sequences of 5 digits that a small model gets right as a whole after ``steps`` steps."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 13, "hidden_size": 64, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
    sizes |= {"encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "max_position_embeddings": 16}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(**{**sizes, **heads, **fields})).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(0)

    def wanted(source: Tensor) -> Tensor:
        ending = torch.full((len(source), 1), 2)
        return torch.cat([source.flip(1) if reverse else source, ending], dim=1)

    for _ in range(steps):
        source = digits(64, 5, generator)
        model(input_ids=source, labels=wanted(source)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    source = digits(500, 5, generator)
    got = generate(model.eval(), 6, input_ids=source)[:, 1:]
    return (got == wanted(source)).all(1).float().mean().item() if got.shape[1] == 6 else 0.0


def test_the_default_architecture_learns_to_reverse() -> None:
    assert learnt(reverse=True, steps=400) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_learns_to_copy_and_to_reverse(name: str, reverse: bool) -> None:
    fields = {key: value for key, value in DECODERS[name].items() if not key.endswith("_size")}
    assert learnt(reverse, steps=600, **{"decoder_layers": None, **fields}) > 0.99
