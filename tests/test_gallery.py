"""docs/gallery.md shows every preset: its config, and a picture that the script draws."""

import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from documents import as_script, blocks_of
from hf_rnnattn.presets import PRESETS, preset_config
from small_presets import small
from sources import PROJECT

DOCUMENT = PROJECT / "docs" / "gallery.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
FILES = sorted((PROJECT / "docs" / "images" / "gallery").glob("*"))
# The text of each section, by the line that names its presets.
SECTIONS = dict(re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
LARGEST = 25_000


@pytest.fixture
def pictures(monkeypatch):
    """The modules that draw."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    from pictures import drawing, looking

    return drawing, looking


def shown(section: str) -> list[str]:
    """The presets whose configs a section gives."""
    return [
        name.replace("_", "-") for name in re.findall(r"^([a-z]\w*) = RnnAttnConfig\(", section, flags=re.MULTILINE)
    ]


def images(section: str) -> list[str]:
    return re.findall(r"^!\[[^\]]+\]\(images/gallery/([\w-]+\.png)\)$", section, flags=re.MULTILINE)


def test_every_preset_has_one_section():
    assert sorted(name for section in SECTIONS.values() for name in shown(section)) == sorted(PRESETS)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_section_has_equations_a_config_a_picture_and_a_use(heading):
    section = SECTIONS[heading]
    assert shown(section)[0] in re.findall(r"`([\w-]+)`", heading)
    assert "$$" in section
    assert images(section)
    assert "Good for:" in section


def test_the_configs_are_those_of_the_presets(tmp_path):
    script = tmp_path / "gallery_configs.py"
    blocks = [block for block in blocks_of(DOCUMENT) if block.language == "python"]
    script.write_text(as_script(blocks), encoding="utf-8")
    space = runpy.run_path(str(script))
    for name in PRESETS:
        config = space[name.replace("-", "_")]
        assert config.to_diff_dict() == preset_config(name).to_diff_dict(), name


def test_every_picture_is_shown_once_and_is_small():
    referred = [name for section in SECTIONS.values() for name in images(section)]
    assert sorted(referred) == [path.name for path in FILES]
    for path in FILES:
        assert path.stat().st_size < LARGEST, path
        with Image.open(path) as image:
            image.load()
            assert len(np.unique(np.asarray(image.convert("L")))) > 8, f"{path} shows nothing"


def test_the_script_draws_each_of_them():
    script = PROJECT / "scripts" / "gallery.py"
    run = subprocess.run([sys.executable, script, "nothing"], capture_output=True, text=True)
    known = run.stderr.rpartition("choose from ")[2].strip().split(", ")
    assert run.returncode == 2
    assert sorted(known) == [path.stem for path in FILES]


def test_a_panel_shows_the_numbers_that_it_is_given(pictures, tmp_path):
    drawing, _ = pictures
    values = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]])
    figure = drawing.new_figure(3, 2)
    axes = figure.add_axes((0.2, 0.2, 0.7, 0.7))
    drawing.draw_panel(axes, drawing.Panel(values, ["a", "b"], ["x", "y", "z"], "title"))
    assert np.array_equal(axes.images[0].get_array(), values.numpy())
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    path = drawing.draw_panels([drawing.Panel(values), drawing.Panel(values, signed=True)], tmp_path / "two.png")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["gru", "bahdanau"])
def test_influence_is_the_gradient_of_a_tokens_log_probability(name, pictures):
    """Against finite differences of one source token's vector."""
    _, looking = pictures
    model = small(name, init_std=0.3).double().eval()
    batch = {"input_ids": torch.tensor([[4, 9, 7]]), "labels": torch.tensor([[5, 8]])}
    shares = looking.influence(model, batch)
    vectors = model.get_encoder().get_input_embeddings()(batch["input_ids"]).detach()
    slopes = torch.zeros(2, *vectors.shape[1:], dtype=torch.float64)  # (T, S, E)
    with torch.no_grad():
        for place in range(3):
            for feature in range(vectors.shape[2]):
                ends = []
                for step in (1e-5, -1e-5):
                    moved = vectors.clone()
                    moved[0, place, feature] += step
                    logits = model(inputs_embeds=moved, labels=batch["labels"]).logits.log_softmax(-1)[0]
                    ends.append(logits[[0, 1], batch["labels"][0]])
                slopes[:, place, feature] = (ends[0] - ends[1]) / 2e-5
    norms = slopes.norm(dim=-1)
    torch.testing.assert_close(shares, norms / norms.sum(-1, keepdim=True), rtol=1e-5, atol=1e-7)


def test_states_and_weights_are_those_of_the_model(pictures):
    _, looking = pictures
    model = small("bahdanau").eval()
    batch = {"input_ids": torch.tensor([[4, 9, 7]]), "labels": torch.tensor([[5, 8]])}
    output = model(**batch, output_attentions=True)
    (weights,) = looking.attention(model, batch)
    assert torch.equal(weights, output.cross_attentions[0][0])
    (hidden,) = looking.outputs_of(model, batch, model.get_encoder().layers[-1].mixers[0])
    torch.testing.assert_close(hidden, output.encoder_last_hidden_state[0])
