"""The prompts of the telephone exchange Asterisk, spoken by one voice at 8 kHz, with their texts.

They come in the Debian packages ``asterisk-core-sounds-en-wav`` and ``asterisk-core-sounds-en``. One in ten is held
out, chosen by a hash of its text, so that the same words in another file stay on the same side.
"""

import gzip
import hashlib
import re
import wave
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from fetched import debian_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import SeamlessM4TFeatureExtractor

RATE = 8000
LONGEST = 4.0  # seconds
SPECIAL = ["<pad>", "<s>", "</s>"]
PAD, BEGIN, END = range(3)
LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
PIECES = 200  # letters, and what is made of them: syllables and frequent words
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Prompt:
    """A text of small letters, and how it sounds: samples from -1 to 1."""

    text: str
    samples: np.ndarray


def spoken(line: str) -> str | None:
    """What is said, in the letters a to z; None where a note tells of it in other words.

    >>> spoken('Press 1 to play, or hang up.')
    'press one to play or hang up'
    """
    if re.search(r"[\[\](){}<>]|\d\d", line):  # sounds, silences, and numbers of which nobody says how they are read
        return None
    text = re.sub(r"\d", lambda match: f" {DIGITS[int(match[0])]} ", line.lower().replace("’", "'"))
    text = " ".join(re.sub(r"[^a-z']+", " ", text).split())
    return text or None


@cache
def read_prompts() -> tuple[list[Prompt], list[Prompt]]:
    """Prompts of at most 4 seconds: those to train on, and those held out."""
    lines = debian_file("asterisk-core-sounds-en", "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
    sounds = debian_file("asterisk-core-sounds-en-wav", "usr/share/asterisk/sounds/en_US_f_Allison")
    parts: tuple[list[Prompt], list[Prompt]] = ([], [])
    for line in gzip.decompress(lines.read_bytes()).decode("utf-8").splitlines():
        name, _, said = line.partition(":")
        text, path = spoken(said), sounds / f"{name.strip()}.wav"
        if text is None or line.startswith(";") or not path.is_file():
            continue
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 2**15
        if len(samples) <= LONGEST * RATE:
            parts[int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10 == 0].append(Prompt(text, samples))
    return parts


def extractor() -> SeamlessM4TFeatureExtractor:
    """Log energies of 80 mel bands in windows of 50 ms, every 20 ms, two windows in a vector of 160."""
    return SeamlessM4TFeatureExtractor(sampling_rate=RATE)


def features(sounds: list[np.ndarray]) -> dict[str, Tensor]:
    """``input_features`` (B, S, 160) and ``attention_mask`` (B, S) of sounds, padded to the right."""
    made = extractor()(sounds, sampling_rate=RATE, return_tensors="pt")
    return {name: made[name] for name in ("input_features", "attention_mask")}


@cache
def tokenizer() -> Tokenizer:
    """Texts to pieces of words (byte pair encoding), trained on the texts of the training."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=PIECES, special_tokens=SPECIAL, initial_alphabet=list(LETTERS[1:]))
    made.train_from_iterator([prompt.text for prompt in read_prompts()[0]], trainer)
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    made.enable_padding(pad_id=PAD, pad_token="<pad>")
    return made


def encode(texts: list[str]) -> Tensor:
    """Ids of texts (B, T), each with its end, padded to the right."""
    return torch.tensor([row.ids for row in tokenizer().encode_batch(texts)])


def spell(texts: list[str]) -> tuple[Tensor, Tensor]:
    """Texts letter by letter (B, L), numbered from 1 on, and their lengths (B,)."""
    rows = [torch.tensor([LETTERS.index(letter) + 1 for letter in text]) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def decode(ids: Tensor) -> list[str]:
    """Texts of generated ids (B, T)."""
    return tokenizer().decode_batch(ids.tolist())
