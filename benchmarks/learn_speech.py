"""A recurrent decoder, the preset ``listener``, writes down words that a voice says: listen, attend and spell.

    python benchmarks/learn_speech.py

After Chan et al. 2016. A small conformer reads log-mel features, from random weights; the two are transformers'
``SpeechEncoderDecoderModel``. Sentences are put together of the one-word prompts of a telephone exchange, numbers,
letters and the like (``spoken_prompts.py``; fetched with ``apt-get``), each said once by one voice and played faster
or slower. Training has one to three words; beside the decoder's loss the encoder learns to spell by connectionist
temporal classification (Kim et al. 2017), and what it hears is masked (SpecAugment). Tested are new sentences of three
words and of four, played at speeds between those of the training, and, as they are, words that were never heard.
"""

import random
from collections.abc import Iterator
from functools import cache
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
    "steps": 5000,
    "batch_size": 24,
    "learning_rate": 2e-3,
    "width": 96,
    "speech_layers": 2,
    "words": [1, 3],
    "speeds": [0.9, 1.0, 1.1],
    "ctc_weight": 0.3,
    "tested_sentences": 150,
    "tested_words": [3, 4],
    "tested_speeds": [0.95, 1.05],
}
Sound = tuple[Tensor, str]  # features (S, 160), and what is said


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


@cache
def words() -> tuple[list[Prompt], list[Prompt]]:
    """The prompts of one word: those to train on, and those held out."""
    training, held_out = ([prompt for prompt in part if " " not in prompt.text] for part in read_prompts())
    return training, held_out


@cache
def played(speed: float) -> list[Sound]:
    """The words of the training at a speed."""
    return [(_features_at(prompt, speed), prompt.text) for prompt in words()[0]]


def sentence(chooser: random.Random, count: int, speeds: list[float]) -> Sound:
    """Words one after the other, each at one of the speeds."""
    sounds, texts = zip(*(chooser.choice(played(chooser.choice(speeds))) for _ in range(count)), strict=True)
    return torch.cat(sounds), " ".join(texts)


def batches(seed: int) -> Iterator[Batch]:
    """Sentences for ever, as many words in all those of a batch."""
    chooser = random.Random(seed)
    while True:
        count = chooser.randint(*BUDGET["words"])
        yield _batch([sentence(chooser, count, BUDGET["speeds"]) for _ in range(BUDGET["batch_size"])])


def _batch(examples: list[Sound]) -> Batch:
    sounds, texts = (list(side) for side in zip(*examples, strict=True))
    labels, (letters, lengths) = encode(texts), spell(texts)
    told = {"labels": labels.masked_fill(labels == PAD, -100), "letters": letters, "letter_counts": lengths}
    return {**_heard(sounds), **told}


def _heard(sounds: list[Tensor]) -> dict[str, Tensor]:
    """Sounds of different lengths, padded to the right."""
    masks = [torch.ones(len(sound)).long() for sound in sounds]
    pad = nn.utils.rnn.pad_sequence
    return {"input_features": pad(sounds, batch_first=True), "attention_mask": pad(masks, batch_first=True)}


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
    train(model, batches(seed), steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"], loss_of=joint_loss)
    del model.encoder.letters  # needed in training alone
    return model


@torch.no_grad()
def transcribe(model: SpeechEncoderDecoderModel, sounds: list[Tensor]) -> list[str]:
    """What is heard, chosen greedily."""
    texts = []
    for start in range(0, len(sounds), 50):
        part: dict[str, Any] = _heard(sounds[start : start + 50])
        texts += decode(model.generate(part.pop("input_features"), **part, max_new_tokens=40, do_sample=False))
    return texts


def errors(model: SpeechEncoderDecoderModel, examples: list[Sound]) -> Measured:
    """Shares of words and letters that are wrong."""
    sounds, real = (list(side) for side in zip(*examples, strict=True))
    told = transcribe(model, sounds)
    return {"word_error_rate": jiwer.wer(real, told), "letter_error_rate": jiwer.cer(real, told)}


def learn(seed: int) -> Measured:
    model, chooser = listener(seed), random.Random(1000 + seed)
    known, new = words()
    measured: Measured = {"words": len(known), "words_never_heard": len(new)}
    for count in BUDGET["tested_words"]:
        speeds = BUDGET["tested_speeds"]
        said = [sentence(chooser, count, speeds) for _ in range(BUDGET["tested_sentences"])]
        measured[f"sentences_of_{count}"] = errors(model, said)
    measured["never_heard"] = errors(model, [(_features_at(prompt, 1.0), prompt.text) for prompt in new])
    return measured


if __name__ == "__main__":
    run("speech", __doc__, learn, BUDGET)
