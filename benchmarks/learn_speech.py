"""A recurrent decoder, the preset ``listener``, writes down what a voice says: listen, attend and spell.

    python benchmarks/learn_speech.py

After Chan et al. 2016. A small conformer reads log-mel features, from random weights; the two are transformers'
``SpeechEncoderDecoderModel``.
They learn from the spoken prompts of a telephone exchange (``spoken_prompts.py``; fetched with ``apt-get``): eleven
minutes of one voice. That is little, so examples are joined in pairs, played faster or slower and masked
(SpecAugment), and the encoder learns to spell beside, by connectionist temporal classification (Kim et al. 2017).
Errors are measured on held-out prompts, whose texts were never heard, and beside them on those of the training.
"""

import random
from collections.abc import Iterator
from typing import Any

import jiwer
import numpy as np
import torch
from learning import Batch, Measured, run, train
from narrow_presets import INIT_STD
from spoken_prompts import BEGIN, END, LETTERS, PAD, Prompt, decode, encode, features, read_prompts, spell, tokenizer
from torch import Tensor, nn
from transformers import SpeechEncoderDecoderModel, Wav2Vec2BertConfig, Wav2Vec2BertModel

from hf_rnnattn.presets import preset_model

BUDGET = {
    "steps": 500,
    "batch_size": 24,
    "learning_rate": 2e-3,
    "width": 128,
    "speech_layers": 2,
    "joined": 0.3,
    "speeds": [0.9, 1.0, 1.1],
    "ctc_weight": 0.3,
}
SORTED_AT_ONCE = 10  # batches


def build(width: int, speech_layers: int) -> SpeechEncoderDecoderModel:
    """A conformer, and the decoder of the preset."""
    speech = Wav2Vec2BertConfig(
        hidden_size=width,
        num_hidden_layers=speech_layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        conv_depthwise_kernel_size=15,
        hidden_dropout=0.1,
        layerdrop=0.0,
        mask_time_prob=0.1,
        mask_time_length=4,
        mask_feature_prob=0.1,
        mask_feature_length=8,
    )
    decoder = preset_model(
        "listener",
        vocab_size=tokenizer().get_vocab_size(),
        hidden_size=width,
        attention_size=width // 2,
        dropout=0.1,
        init_std=INIT_STD["without norms"],
    )
    model = SpeechEncoderDecoderModel(encoder=Wav2Vec2BertModel(speech), decoder=decoder)
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = BEGIN, END, PAD
    return model


def batches(prompts: list[Prompt], seed: int) -> Iterator[Batch]:
    """Prompts, and pairs of them one after the other, each at a speed of its own, for ever; like lengths together."""
    chooser, size = random.Random(seed), BUDGET["batch_size"]
    heard = [[_features_at(prompt, speed) for speed in BUDGET["speeds"]] for prompt in prompts]
    while True:
        pool = []
        for _ in range(SORTED_AT_ONCE * size):
            chosen = chooser.choices(range(len(prompts)), k=1 + (chooser.random() < BUDGET["joined"]))
            sounds = torch.cat([chooser.choice(heard[i]) for i in chosen])
            pool.append((sounds, " ".join(prompts[i].text for i in chosen)))
        pool.sort(key=lambda example: len(example[0]))
        starts = [*range(0, len(pool), size)]
        chooser.shuffle(starts)
        for start in starts:
            yield _batch(pool[start : start + size])


def _batch(examples: list[tuple[Tensor, str]]) -> Batch:
    sounds, texts = zip(*examples, strict=True)
    labels, (letters, lengths) = encode(list(texts)), spell(list(texts))
    pad = nn.utils.rnn.pad_sequence
    return {
        "input_features": pad(list(sounds), batch_first=True),
        "attention_mask": pad([torch.ones(len(row)).long() for row in sounds], batch_first=True),
        "labels": labels.masked_fill(labels == PAD, -100),
        "letters": letters,
        "letter_counts": lengths,
    }


def _features_at(prompt: Prompt, speed: float) -> Tensor:
    """Features (S, 160) of a prompt that is played faster, and so higher, for a speed above 1."""
    times = np.arange(0, len(prompt.samples) - 1, speed)
    made = features([np.interp(times, np.arange(len(prompt.samples)), prompt.samples)])
    return made["input_features"][0][made["attention_mask"][0].bool()]


def joint_loss(model: SpeechEncoderDecoderModel, batch: Batch) -> Tensor:
    """The decoder's loss, and that of the encoder's own spelling, in which 0 is the blank."""
    given = dict(batch)
    letters, counts = given.pop("letters"), given.pop("letter_counts")
    output = model(**given)
    spelt = model.encoder.letters(output.encoder_last_hidden_state).log_softmax(-1).transpose(0, 1)  # (S, B, V)
    heard = given["attention_mask"].sum(1)
    ctc = nn.functional.ctc_loss(spelt, letters, heard, counts, zero_infinity=True)
    return (1 - BUDGET["ctc_weight"]) * output.loss + BUDGET["ctc_weight"] * ctc


def listener(seed: int) -> SpeechEncoderDecoderModel:
    """The trained model."""
    model = build(BUDGET["width"], BUDGET["speech_layers"])
    model.encoder.letters = nn.Linear(BUDGET["width"], 1 + len(LETTERS))
    given = batches(read_prompts()[0], seed)
    train(model, given, steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"], loss_of=joint_loss)
    del model.encoder.letters  # needed in training alone
    return model


@torch.no_grad()
def transcribe(model: SpeechEncoderDecoderModel, prompts: list[Prompt]) -> list[str]:
    """What is heard, found with 4 beams."""
    texts = []
    for start in range(0, len(prompts), 20):
        heard = features([prompt.samples for prompt in prompts[start : start + 20]])
        inputs: dict[str, Any] = {"inputs": heard["input_features"], "attention_mask": heard["attention_mask"]}
        texts += decode(model.generate(**inputs, num_beams=4, max_new_tokens=50, do_sample=False))
    return texts


def errors(model: SpeechEncoderDecoderModel, prompts: list[Prompt]) -> Measured:
    """Shares of words and letters that are wrong, and of prompts that are right as a whole."""
    told, real = transcribe(model, prompts), [prompt.text for prompt in prompts]
    return {
        "prompts": len(prompts),
        "word_error_rate": jiwer.wer(real, told),
        "letter_error_rate": jiwer.cer(real, told),
        "prompts_right": sum(one == other for one, other in zip(told, real, strict=True)) / len(real),
    }


def learn(seed: int) -> Measured:
    model = listener(seed)
    training, held_out = read_prompts()
    return {"held_out": errors(model, held_out), "training": errors(model, training)}


if __name__ == "__main__":
    run("speech", __doc__, learn, BUDGET)
