"""The picture shows the weights that it was given, under the tokens that it was given."""

import itertools
import sys
import warnings

import matplotlib
import numpy as np
import pytest
import torch

from hf_rnnattn.alignment import align
from hf_rnnattn.visualize import plot_alignment
from tiny_seq2seq import character_tokenizer, tiny_model


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def shown(figure):
    """The matrix, the source labels and the target labels of a picture."""
    axes = figure.axes[0]
    return np.asarray(axes.images[0].get_array()), labels(axes.xaxis), labels(axes.yaxis)


def drawn(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def test_the_picture_shows_the_weights_and_tokens_of_the_alignment():
    alignment = align(tiny_model("rnnattn"), character_tokenizer(), "hello", max_new_tokens=7)[0]
    matrix, sources, targets = shown(plot_alignment(alignment))
    assert np.array_equal(matrix, alignment.weights.numpy())
    assert sources == alignment.source_tokens
    assert targets == alignment.target_tokens


def test_each_weight_is_drawn_in_its_cell():
    weights = torch.zeros(3, 5)
    weights[2, 1] = 1.0
    figure = plot_alignment(weights, list("abcde"), list("xyz"))
    pixels, axes = drawn(figure), figure.axes[0]

    def colour(target, source):
        x, y = axes.transData.transform((source, target))
        return pixels[len(pixels) - 1 - int(y), int(x), :3].astype(int)

    assert labels(axes.xaxis)[1] == "b"
    assert labels(axes.yaxis)[2] == "z"
    assert colour(2, 1).sum() < 300 < 700 < colour(0, 0).sum()
    assert all(colour(t, s).sum() > 700 for t in range(3) for s in range(5) if (t, s) != (2, 1))


def test_the_scale_goes_from_zero_to_the_largest_weight():
    figure = plot_alignment(torch.tensor([[0.1, 0.4]]), ["a", "b"], ["c"])
    assert figure.axes[0].images[0].get_clim() == pytest.approx((0.0, 0.4))
    assert figure.axes[1].get_ylabel() == "attention weight"
    assert figure.axes[1].get_ylim() == pytest.approx((0.0, 0.4))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 40), (60, 3), (60, 60)])
def test_labels_do_not_overlap_and_stay_in_the_picture(rows, columns):
    names = [f"token{i}" for i in range(60)]
    figure = plot_alignment(torch.rand(rows, columns), names[:columns], names[:rows])
    drawn(figure)
    axes = figure.axes[0]
    for ticks, low, high in ((axes.get_yticklabels(), "y0", "y1"), (axes.get_xticklabels(), "x0", "x1")):
        boxes = sorted((label.get_window_extent() for label in ticks), key=lambda box: getattr(box, low))
        assert all(getattr(a, high) <= getattr(b, low) for a, b in itertools.pairwise(boxes))
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
        assert all(box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_any_token_can_be_drawn():
    tokens = [
        "é",
        "слово",
        "مرحبا",
        "中文",
        "🎉",
        "\U000e0041",
        "\ue000",
        " ",
        "\n",
        "\x00",
        "$x^2$",
        "$",
        "_^{",
        "",
        "▁a",
        "Ġb",
    ]
    figure = plot_alignment(torch.rand(len(tokens), len(tokens)), tokens, tokens, title="$ 中 \n")
    drawn(figure)
    _, sources, targets = shown(figure)
    assert sources == targets
    assert sources[:3] == tokens[:3]
    assert sources[6:12] == ["\\ue000", "␣", "\\n", "\\x00", "$x^2$", "$"]


def test_characters_that_no_font_has_are_written_as_escapes(monkeypatch):
    monkeypatch.setattr(matplotlib.font_manager.fontManager, "ttflist", [])
    figure = plot_alignment(torch.ones(1, 2), ["中文", "é"], ["🎉"])
    drawn(figure)
    assert shown(figure)[1:] == (["\\u4e2d\\u6587", "é"], ["\\U0001f389"])


def test_long_labels_are_cut_in_the_middle():
    (label,) = shown(plot_alignment(torch.ones(1, 1), ["abcdefghij" * 5], ["x"]))[1]
    assert len(label) == 24
    assert label.startswith("abcdefghij")
    assert label.endswith("abcdefghij")


def test_the_tokens_of_an_alignment_can_be_replaced():
    alignment = align(tiny_model("bart"), character_tokenizer(), "hi", max_new_tokens=2)[0]
    assert shown(plot_alignment(alignment, source_tokens=["1", "2", "3"]))[1] == ["1", "2", "3"]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_path_gets_the_picture_and_is_returned(tmp_path, ending):
    path = tmp_path / f"alignment.{ending}"
    assert plot_alignment(torch.rand(2, 3), list("abc"), list("xy"), path=path) == str(path)
    assert path.stat().st_size > 1000


def test_nothing_global_of_matplotlib_changes():
    before = dict(matplotlib.rcParams)
    plot_alignment(torch.rand(2, 2), list("ab"), list("xy"))
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_wrong_shapes_and_missing_tokens_are_refused():
    with pytest.raises(ValueError, match=r"alignment has shape \(2, 3\), but there are 2 target_tokens and 2 source"):
        plot_alignment(torch.rand(2, 3), list("ab"), list("xy"))
    with pytest.raises(TypeError, match="target_tokens must be given"):
        plot_alignment(torch.rand(2, 2), list("ab"))
    with pytest.raises(ValueError, match="at least one row"):
        plot_alignment(torch.rand(0, 2), list("ab"), [])


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install hf-rnnattn\[viz\]"):
        plot_alignment(torch.rand(1, 1), ["a"], ["b"])
