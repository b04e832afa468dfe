"""What each process of a distributed test runs: ``distributed_worker.py JOB FOLDER``; see test_distributed.py.

Every job also runs in a single process, for the comparison, and writes what it computed to FOLDER.
"""

import json
import math
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import Seq2SeqTrainingArguments, TrainerCallback

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.finite_training import FiniteGradientsCallback
from hf_rnnattn.seq2seq_trainer import SequenceTrainer
from lively_models import DECODERS, make_lively, sources, targets
from model_zoo import tiny_config

MODELS = ("lstm", "gru+full_attention", "bahdanau_gru", "ssru")
RATE = 0.1


def rows_of_this_process(count):
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    return slice(rank * count // size, (rank + 1) * count // size), size


def ddp(folder):
    """Losses and gradients of one batch of four rows, whole or spread; float64."""
    rows, size = rows_of_this_process(4)
    found = {}
    for name in MODELS:
        model = make_lively(**DECODERS[name]).train()
        labels = targets(model, rows=4)
        labels[1, 3:] = -100
        batch = {**sources(model, rows=4), "labels": labels}
        count = int((labels != -100).sum())
        wrapped = DistributedDataParallel(model) if size > 1 else model
        loss = wrapped(**{key: value[rows] for key, value in batch.items()}, num_items_in_batch=count).loss
        (loss * size).backward()  # the processes' gradients are averaged
        found[name] = {key: parameter.grad for key, parameter in model.named_parameters()}
        total = loss.detach()
        if size > 1:
            dist.all_reduce(total)
        found[name]["loss"] = total
    if not dist.is_initialized() or dist.get_rank() == 0:
        torch.save(found, folder / f"ddp-{size}.pt")


def examples():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 9, (32,), generator=generator).tolist()
    drawn = [torch.randint(3, 23, (length,), generator=generator).tolist() for length in lengths]
    return [{"input_ids": ids, "labels": ids[::-1]} for ids in drawn]


SEEN = []  # the places of the examples in every batch so far


def collate(rows):
    width = max(len(row["labels"]) for row in rows)
    inputs = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows])
    labels = torch.tensor([row["labels"] + [-100] * (width - len(row["labels"])) for row in rows])
    SEEN.append([index_of(row) for row in rows])
    return {"input_ids": inputs, "attention_mask": (inputs != 0).long(), "labels": labels}


def index_of(row):
    return next(i for i, other in enumerate(examples()) if other["input_ids"] == row["input_ids"])


def trainer_of(folder, size, **arguments):
    torch.manual_seed(0)
    model = RnnAttnForConditionalGeneration(tiny_config(decoder_mixers=["lstm", "gru+full_attention"]))
    training = Seq2SeqTrainingArguments(
        str(folder),
        per_device_train_batch_size=8 // size,
        max_steps=6,
        learning_rate=RATE,
        optim="sgd",
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        dataloader_pin_memory=False,
        **arguments,
    )
    return SequenceTrainer(model=model, args=training, train_dataset=examples(), data_collator=collate)


def train(folder):
    """Losses and weights of a run of the Trainer with a global batch of eight."""
    size = _world_size()
    trainer = trainer_of(folder / f"train-{size}", size)
    trainer.train()
    trainer.save_model()
    if size == 1:
        (folder / "order.json").write_text(json.dumps(SEEN[: trainer.state.global_step]))
    _write_losses(folder / f"train-{size}.json", trainer)


def fsdp(folder):
    """The same run by hand, weights sharded with FSDP2; saves them whole, and sharded with the optimizer's state."""
    model = trainer_of(folder / "fsdp", 1).model
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for module in model.modules():
        if type(module).__name__ in model._no_split_modules:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    rows, _ = rows_of_this_process(8)
    losses = []
    for indices in json.loads((folder / "order.json").read_text()):
        batch = collate([examples()[i] for i in indices])
        count = int((batch["labels"] != -100).sum())
        loss = model(**{key: value[rows] for key, value in batch.items()}, num_items_in_batch=count).loss
        (loss * dist.get_world_size()).backward()
        optimizer.step()
        optimizer.zero_grad()
        total = loss.detach()
        dist.all_reduce(total)
        losses.append(float(total))
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if dist.get_rank() == 0:
        (folder / "fsdp.json").write_text(json.dumps({"losses": losses}))
        plain = RnnAttnForConditionalGeneration(model.config)
        plain.load_state_dict(whole)
        plain.save_pretrained(folder / "full")
    _save_and_load_shards(folder / "sharded", model, optimizer)


def _save_and_load_shards(folder, model, optimizer):
    before = {name: value.full_tensor().clone() for name, value in model.state_dict().items()}
    weights, momenta = get_state_dict(model, optimizer)
    checkpoint.save({"model": weights, "optimizer": momenta}, checkpoint_id=folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    weights, momenta = get_state_dict(model, optimizer)
    checkpoint.load({"model": weights, "optimizer": momenta}, checkpoint_id=folder)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=momenta)
    after = {name: value.full_tensor() for name, value in model.state_dict().items()}
    assert all(torch.equal(after[name], before[name]) for name in before)


class SpoilOneLoss(TrainerCallback):
    """In the last process alone, at the third step, the loss is infinite, and its gradients are not."""

    def on_step_begin(self, args, state, control, model, **kwargs):
        if state.global_step == 2 and args.process_index == args.world_size - 1:
            model.lm_head.register_forward_hook(self.forbid)

    @staticmethod
    def forbid(module, inputs, logits):
        return logits.masked_fill(torch.arange(logits.shape[-1]) < 13, -math.inf)


def spoilt(folder):
    """A run in which one process has an infinite loss: what each of them says, and where it stops."""
    trainer = trainer_of(folder / "spoilt", _world_size())
    trainer.add_callback(SpoilOneLoss())
    trainer.add_callback(FiniteGradientsCallback())
    try:
        trainer.train()
    except FloatingPointError as error:
        said = {"said": str(error), "step": trainer.state.global_step}
        (folder / f"spoilt-{trainer.args.process_index}.json").write_text(json.dumps(said))


def _world_size():
    return int(os.environ.get("WORLD_SIZE", "1"))


def _write_losses(path, trainer):
    if trainer.is_world_process_zero():
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        path.write_text(json.dumps({"losses": losses, "processes": trainer.args.world_size}))


if __name__ == "__main__":
    job, place = sys.argv[1:]
    if job in ("ddp", "fsdp") and _world_size() > 1:
        dist.init_process_group("gloo")
    {"ddp": ddp, "train": train, "fsdp": fsdp, "spoilt": spoilt}[job](Path(place))
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
