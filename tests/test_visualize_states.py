"""The pictures show the gates and the addresses of a trace, each under its token and at its place."""

import sys
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch

from hf_rnnattn.cell_traces import CellTrace
from hf_rnnattn.visualize_states import plot_gates, plot_memory


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def trace(tokens: int = 4, units: int = 5) -> CellTrace:
    gates = {letter: torch.rand(tokens, units) for letter in "ifo"}
    states = {"h": torch.rand(tokens, units)}
    states |= {f"{kind}_weights": torch.rand(tokens, 2, 6).softmax(-1) for kind in ("read", "write")}
    return CellTrace("decoder.layers.0.mixers.0", [f"t{i}" for i in range(tokens)], states, gates)


def maps(figure):
    """Title -> matrix of the maps from top to bottom, without the colour bar."""
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_position().y0 for axes in drawn] == sorted((a.get_position().y0 for a in drawn), reverse=True)
    return {axes.get_title(loc="left"): np.asarray(axes.images[0].get_array()) for axes in drawn}


def tokens_below(figure):
    lowest = min((axes for axes in figure.axes if axes.images), key=lambda axes: axes.get_position().y0)
    return [label.get_text() for label in lowest.get_xticklabels()]


def test_the_picture_of_the_gates_shows_each_gate_units_by_tokens():
    given = trace()
    figure = plot_gates(given)
    shown = maps(figure)
    assert list(shown) == ["gate i", "gate f", "gate o"]
    for letter, gate in given.gates.items():
        assert np.array_equal(shown[f"gate {letter}"], gate.T.numpy())
    assert tokens_below(figure) == given.tokens
    assert list(maps(plot_gates(given, ["o"]))) == ["gate o"]


def test_the_picture_of_the_memory_shows_each_head_slots_by_tokens():
    given = trace()
    figure = plot_memory(given)
    shown = maps(figure)
    assert list(shown) == ["write head 0", "write head 1", "read head 0", "read head 1"]
    for title, matrix in shown.items():
        kind, _, head = title.split()
        assert np.array_equal(matrix, given.states[f"{kind}_weights"][:, int(head)].T.numpy())
    assert tokens_below(figure) == given.tokens


def test_each_weight_is_drawn_at_its_slot_and_token():
    given = trace()
    for kind in ("read", "write"):
        given.states[f"{kind}_weights"] = torch.zeros(4, 1, 6)
    given.states["write_weights"][2, 0, 3] = 1.0
    figure = plot_memory(given)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    (axes,) = [axes for axes in figure.axes if axes.images and axes.get_title(loc="left") == "write head"]

    def brightness(slot, token):
        x, y = axes.transData.transform((token, slot))
        return pixels[len(pixels) - 1 - int(y), int(x), :3].astype(int).sum()

    assert brightness(3, 2) < 300
    assert all(brightness(s, t) > 700 for s in range(6) for t in range(4) if (s, t) != (3, 2))


def test_the_scale_goes_from_zero_to_one_whatever_the_values():
    given = trace()
    for figure in (plot_gates(given), plot_memory(given)):
        assert {axes.images[0].get_clim() for axes in figure.axes if axes.images} == {(0.0, 1.0)}


@pytest.mark.parametrize(("tokens", "units"), [(1, 1), (40, 3), (3, 300), (40, 300)])
def test_maps_and_labels_neither_overlap_nor_leave_the_picture(tokens, units):
    figure = plot_gates(trace(tokens, units), title="a title")
    figure.canvas.draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes if axes.images]
    assert all(lower.y1 <= upper.y0 for upper, lower in pairwise(boxes))
    lowest = min((axes for axes in figure.axes if axes.images), key=lambda axes: axes.get_position().y0)
    labels = sorted((label.get_window_extent() for label in lowest.get_xticklabels()), key=lambda box: box.x0)
    assert all(a.x1 <= b.x0 for a, b in pairwise(labels))
    for box in [*boxes, *labels]:
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.y1


def test_a_path_gets_the_picture_and_is_returned(tmp_path):
    path = tmp_path / "gates.png"
    assert plot_gates(trace(), path=path) == str(path)
    assert path.stat().st_size > 1000
    assert plot_memory(trace(), tmp_path / "memory.svg") == str(tmp_path / "memory.svg")


def test_a_cell_without_what_is_asked_for_is_refused(monkeypatch):
    bare = CellTrace("decoder.layers.1.mixers.0", ["a"], {"h": torch.zeros(1, 3)}, {})
    with pytest.raises(ValueError, match=r"decoder.layers.1.mixers.0 has no gates"):
        plot_gates(bare)
    with pytest.raises(ValueError, match=r"letters must be among i, f, o for decoder.layers.0.mixers.0, got \['z'\]"):
        plot_gates(trace(), ["z"])
    with pytest.raises(ValueError, match=r"has no memory of slots, its states are h"):
        plot_memory(bare)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install hf-rnnattn\[viz\]"):
        plot_gates(trace())
