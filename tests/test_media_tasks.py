"""The examples of the tasks with images and sounds are what their captions and texts say."""

import sys
from collections import Counter
from importlib import import_module
from typing import Any

import pytest
import torch

from sources import PROJECT


@pytest.fixture
def task(monkeypatch: Any) -> Any:
    """Imports a file of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    yield import_module
    for name in ("fashion_captions", "spoken_prompts", "fetched", "learn_bert2rnn", "debian_descriptions"):
        sys.modules.pop(name, None)


def test_a_caption_names_what_is_in_its_scene_in_reading_order(task: Any) -> None:
    """With images that are as bright as their label says."""
    captions = task("fashion_captions")
    labels = torch.arange(10)
    images = ((labels + 1) / 20)[:, None, None].expand(-1, 28, 28)
    scenes, told = captions.draw_scenes((images, labels), 200, torch.Generator().manual_seed(0))
    assert scenes.shape == (200, 1, 56, 56)
    counts = set()
    for scene, caption in zip(scenes, told, strict=True):
        corners = [scene[0, y, x].item() for y in (0, 28) for x in (0, 28)]  # in reading order
        seen = [round((value + 1) / 2 * 20) - 1 for value in corners if value > -1]
        assert " , ".join(captions.NAMES[i] for i in seen) == caption
        assert len(scene.unique()) <= 1 + len(set(seen))
        counts.add(len(seen))
    assert counts == {1, 2, 3, 4}


def test_captions_survive_their_ids(task: Any) -> None:
    captions = task("fashion_captions")
    told = ["ankle boot , bag", "t-shirt"]
    ids = captions.encode(told)
    assert captions.decode(ids) == told
    assert ids[0, -1] == captions.END
    assert ids[1].tolist()[1:] == [captions.END, captions.PAD, captions.PAD, captions.PAD]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (" Press 1 to play, or hang up...", "press one to play or hang up"),
        ("I’m sorry!", "i'm sorry"),
        ("de-activated", "de activated"),
        ("(3 seconds of silence)", None),
        ("[beep]", None),
        ("dial 911", None),
        ("...", None),
    ],
)
def test_lines_become_what_is_said(line: str, text: str | None, task: Any) -> None:
    assert task("spoken_prompts").spoken(line) == text


def test_what_is_fetched_appears_only_when_it_is_whole(task: Any, monkeypatch: Any, tmp_path: Any) -> None:
    fetched = task("fetched")
    monkeypatch.setattr(fetched, "CACHE", tmp_path)

    def fail(_: str, work: Any) -> None:
        (work / "unpacked").mkdir()
        (work / "unpacked" / "half").write_text("")
        raise OSError("the line is broken")

    def succeed(_: str, work: Any) -> None:
        (work / "unpacked").mkdir()
        (work / "unpacked" / "whole").write_text("")

    with pytest.raises(OSError, match="the line is broken"):
        fetched.unpacked("package", fail)
    assert not list(tmp_path.iterdir())
    for unpack in (succeed, fail):  # the second time nothing is fetched
        folder = fetched.unpacked("package", unpack)
        assert [path.name for path in folder.iterdir()] == ["whole"]


def test_every_section_has_as_many_training_examples_and_no_family_is_on_both_sides(
    task: Any, monkeypatch: Any
) -> None:
    names, debian = task("learn_bert2rnn"), task("debian_descriptions")
    made = {
        part: [
            debian.Description(f"{part} {i // 2}", section, f"{part} {section} {i}", "")
            for section in names.SECTIONS
            for i in range(120)
        ]
        for part in ("train", "test")
    }
    monkeypatch.setattr(names, "descriptions", lambda _: made)
    monkeypatch.setattr(names, "lists", lambda: None)
    training, test = names.draw(0)
    counts = Counter(section for _, section in training)
    assert counts == dict.fromkeys(names.SECTIONS, names.BUDGET["examples_per_section"])
    assert len(test) == names.BUDGET["test_examples"]
    assert {text.split()[0] for text, _ in training} == {"train"}
    assert {text.split()[0] for text, _ in test} == {"test"}
    assert all(int(text.split()[-1]) % 2 == 0 for text, _ in (*training, *test))  # one description a family
    assert names.draw(0) == (training, test) != names.draw(1)
