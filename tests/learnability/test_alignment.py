"""What attention learns to point at."""

import pytest
import torch

from hf_rnnattn.presets import preset_model

STEPS, LENGTH, SYMBOLS, END = 400, 8, 20, 2


def draw(rows: int) -> torch.Tensor:
    """Sequences whose symbols all differ, so that what is wanted stands at one place only."""
    return torch.stack([torch.randperm(SYMBOLS)[:LENGTH] + 3 for _ in range(rows)])


@pytest.mark.slow
def test_the_alignment_of_a_learnt_copy_is_the_diagonal():
    """Additive attention is never told where to look: it learns it from what is to be written."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "encoder_hidden_size": 64, "embedding_size": 32, "attention_size": 32}
    model = preset_model("bahdanau", vocab_size=SYMBOLS + 3, dropout=0.0, init_std=0.3, **sizes).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        source = draw(32)
        labels = torch.nn.functional.pad(source, (0, 1), value=END)
        model(input_ids=source, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    model.eval()
    source = draw(200)
    written = model.generate(
        source, max_new_tokens=LENGTH, do_sample=False, return_dict_in_generate=True, output_attentions=True
    )
    right = (written.sequences[:, 1:] == source).all(1)
    assert right.float().mean() > 0.95
    weights = torch.cat([step[0][:, 0] for step in written.cross_attentions], dim=1)[right]  # (rows, T, S)
    assert (weights.argmax(-1) == torch.arange(LENGTH)).float().mean() > 0.9
    assert weights.diagonal(dim1=1, dim2=2).mean() > 0.6
