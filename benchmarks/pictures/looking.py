"""What is drawn of a model: attention weights, states, and how much each input moves each output."""

from typing import Any

import torch
from learning import Batch
from torch import Tensor

from hf_rnnattn.alignment import eager_attention


@torch.no_grad()
def attention(model: Any, batch: Batch, kind: str = "cross_attentions") -> list[Tensor]:
    """The weights of each layer that attends, (heads, T, S), for the first row of the batch."""
    with eager_attention(model):
        output = model(**batch, output_attentions=True, use_cache=False)
    return [weights[0] for weights in output[kind]]


def influence(model: Any, batch: Batch) -> Tensor:
    """How much each token of the source, as it is read, moves each token of the target, (T, S); a row sums to 1.

    The norm of the gradient of a target token's log-probability with respect to a source token's embedding: it can be
    looked at where no attention is.
    """
    embedded: list[Tensor] = []
    table = model.get_encoder().get_input_embeddings()
    watch = table.register_forward_hook(lambda _, __, vectors: embedded.append(vectors))
    try:
        logits = model.eval()(**batch).logits
    finally:
        watch.remove()
    chosen = logits.log_softmax(-1)[0].gather(-1, batch["labels"][0][:, None])[:, 0]  # (T,)
    rows = [torch.autograd.grad(one, embedded[0], retain_graph=True)[0][0].norm(dim=-1) for one in chosen]
    moved = torch.stack(rows)
    return moved / moved.sum(-1, keepdim=True)


@torch.no_grad()
def outputs_of(model: Any, batch: Batch, *parts: Any) -> list[Tensor]:
    """What parts of the model put out for the first row of the batch, (T, D) each, in order."""
    seen: dict[int, Tensor] = {}

    def keep(part: Any, _: Any, output: Any) -> None:
        seen[id(part)] = (output if isinstance(output, Tensor) else output[0])[0]

    watches = [part.register_forward_hook(keep) for part in parts]
    try:
        model.eval()(**batch, use_cache=False)
    finally:
        for watch in watches:
            watch.remove()
    return [seen[id(part)] for part in parts]
