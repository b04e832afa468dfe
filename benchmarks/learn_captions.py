"""A recurrent decoder, the preset ``captioner``, names what is in pictures: show, attend and tell (Xu et al. 2015).

    python benchmarks/learn_captions.py

A small vision transformer gives a grid of 4 x 4 features as memory, from random weights; the two are transformers'
``VisionEncoderDecoderModel``. They are trained on scenes made of the 60,000 training images of Fashion-MNIST and
measured on scenes of its 10,000 test images (``fashion_captions.py``; the images are fetched with ``apt-get``).
"""

from collections.abc import Iterator

import torch
from fashion_captions import BEGIN, END, PAD, WORDS, Images, decode, draw_scenes, encode, read_images
from learning import Batch, Measured, run, train
from narrow_presets import INIT_STD
from transformers import VisionEncoderDecoderModel, ViTConfig, ViTModel

from hf_rnnattn.presets import preset_model

BUDGET = {"steps": 800, "batch_size": 32, "learning_rate": 2e-3, "width": 64, "vision_layers": 2, "test_scenes": 1000}


def build(width: int, vision_layers: int) -> VisionEncoderDecoderModel:
    """An image encoder with patches of 14 x 14 pixels, and the decoder of the preset."""
    vision = ViTConfig(
        hidden_size=width,
        num_hidden_layers=vision_layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        image_size=56,
        patch_size=14,
        num_channels=1,
    )
    decoder = preset_model(
        "captioner", vocab_size=len(WORDS), hidden_size=width, dropout=0.1, init_std=INIT_STD["without norms"]
    )
    model = VisionEncoderDecoderModel(encoder=ViTModel(vision, add_pooling_layer=False), decoder=decoder)
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = BEGIN, END, PAD
    return model


def batches(images: Images, size: int, seed: int) -> Iterator[Batch]:
    """New scenes for ever."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        scenes, captions = draw_scenes(images, size, generator)
        labels = encode(captions)
        yield {"pixel_values": scenes, "labels": labels.masked_fill(labels == PAD, -100)}


def captioner(seed: int) -> VisionEncoderDecoderModel:
    """The trained model."""
    model = build(BUDGET["width"], BUDGET["vision_layers"])
    given = batches(read_images("train"), BUDGET["batch_size"], seed)
    train(model, given, steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"])
    return model


@torch.no_grad()
def describe(model: VisionEncoderDecoderModel, scenes: torch.Tensor) -> list[str]:
    """Captions of scenes (N, 1, 56, 56), chosen greedily."""
    parts = [model.generate(part, max_new_tokens=16, do_sample=False) for part in scenes.split(100)]
    return [caption for part in parts for caption in decode(part)]


def learn(seed: int) -> Measured:
    model = captioner(seed)
    scenes, captions = draw_scenes(read_images("t10k"), BUDGET["test_scenes"], torch.Generator().manual_seed(0))
    told, real = ([caption.split(" , ") for caption in some] for some in (describe(model, scenes), captions))
    counted = [pair for pair in zip(told, real, strict=True) if len(pair[0]) == len(pair[1])]
    items = [(one, other) for pair in counted for one, other in zip(*pair, strict=True)]
    return {
        "scenes_with_the_right_number_of_items": len(counted) / len(real),
        "items_of_those_named_rightly": sum(one == other for one, other in items) / max(1, len(items)),
        "captions_right_as_a_whole": sum(one == other for one, other in zip(told, real, strict=True)) / len(real),
    }


if __name__ == "__main__":
    run("captions", __doc__, learn, BUDGET)
