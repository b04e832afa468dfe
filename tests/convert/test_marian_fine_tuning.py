"""Students that are fine-tuned and still fit into Marian's files."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_export import export_marian
from hf_rnnattn.convert.marian_fine_tuning import keep_exportable
from hf_rnnattn.convert.sentencepiece_tokenizer import tokenizer_from_sentencepiece
from hf_rnnattn.convert.sentencepiece_vocabulary import read_sentencepiece
from students import MODEL, SENTENCES, VOCABULARY


def fine_tune(folder, prepare):
    """A student after a few steps of transformers' own trainer, with weight decay."""
    torch.manual_seed(0)
    model = model_from_marian(read_marian(MODEL))
    prepare(model)
    tokenizer = tokenizer_from_sentencepiece(read_sentencepiece(VOCABULARY))
    encoded = tokenizer(SENTENCES, text_target=SENTENCES[::-1])
    settings = {"max_steps": 3, "learning_rate": 1e-3, "weight_decay": 0.1, "report_to": "none", "use_cpu": True}
    Seq2SeqTrainer(
        model,
        Seq2SeqTrainingArguments(str(folder), save_strategy="no", disable_tqdm=True, **settings),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        train_dataset=Dataset.from_dict(dict(encoded)),
    ).train()
    return model


def test_a_student_that_the_trainer_has_changed_goes_back_to_marian(tmp_path):
    model = fine_tune(tmp_path, keep_exportable)
    export_marian(model, tmp_path / "model.npz")
    before, after = read_marian(MODEL).tensors, read_marian(tmp_path / "model.npz").tensors
    assert all(not np.array_equal(before[name], after[name]) for name in before)
    again = model_from_marian(read_marian(tmp_path / "model.npz"))
    for (name, ours), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, other, msg=name)


@pytest.mark.parametrize(
    "prepare", [lambda model: None, lambda model: [hook.remove() for hook in keep_exportable(model)]]
)
def test_without_it_training_makes_a_model_that_marian_has_no_place_for(prepare, tmp_path):
    model = fine_tune(tmp_path, prepare)
    with pytest.raises(ValueError, match="no bias of an SSRU's candidate"):
        export_marian(model, tmp_path / "model.npz")
