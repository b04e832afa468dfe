"""The pictures of docs/gallery.md that show models of pronunciation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from learning import Batch

from hf_rnnattn.cell_traces import trace_cells

from .drawing import Panel
from .looking import attention, influence, outputs_of
from .pronouncing import example, trained

WORD = "telephone"
ORDERS: dict[str, Callable[[list[str]], list[str]]] = {
    "given": lambda letters: letters,
    "reversed": lambda letters: letters[::-1],
    "doubled": lambda letters: letters * 2,
}
STEPS = {"down": "written", "across": "read"}
Panels = list[Panel]
# From the folder of trained models to what is drawn; a model that the folder lacks is trained.
Picture = Callable[[Path], Any]


def _shown(name: str, folder: Path) -> tuple[Any, Batch, list[str], list[str]]:
    """The trained model, what it is given for the word, the letters, and the phones that it writes."""
    model = trained(name, folder)
    return model, *example(model, WORD)


def alignments(*names: str) -> Picture:
    """For each preset what its last layer read for each phone, in the mean of the heads."""

    def draw(folder: Path) -> Panels:
        panels = []
        for name in names:
            model, batch, letters, phones = _shown(name, folder)
            panels.append(Panel(attention(model, batch)[-1].mean(0), phones, letters, name, **STEPS))
        return panels

    return draw


def heads(name: str) -> Picture:
    """Every head of the last layer that reads the source."""

    def draw(folder: Path) -> Panels:
        model, batch, letters, phones = _shown(name, folder)
        weights = attention(model, batch)[-1]
        return [Panel(head, phones, letters, f"head {i + 1}", **STEPS) for i, head in enumerate(weights)]

    return draw


def influences(*names: str) -> Picture:
    """For each preset how much each letter moves each phone; letters in the order in which they are read."""

    def draw(folder: Path) -> Panels:
        panels = []
        for name in names:
            model, batch, letters, phones = _shown(name, folder)
            read = ORDERS[model.config.source_order](letters)
            panels.append(Panel(influence(model, batch), phones, read, name, **STEPS))
        return panels

    return draw


def states(name: str) -> Picture:
    """The state while letters are read and while phones are written, and how much each letter moves each phone."""

    def draw(folder: Path) -> Panels:
        model, batch, letters, phones = _shown(name, folder)
        cells = [side.layers[0].mixers[0] for side in (model.get_encoder(), model.get_decoder())]
        read, written = outputs_of(model, batch, *cells)
        return [
            Panel(read.T, (), letters, "state while reading", "units", "read", signed=True),
            Panel(written.T, (), phones, "state while writing", "units", "written", signed=True),
            Panel(influence(model, batch), phones, letters, "influence", **STEPS),
        ]

    return draw


def gates(name: str, *letters: str) -> Picture:
    """How far the encoder's gates of these letters are open, and how much each letter moves each phone."""

    def draw(folder: Path) -> Panels:
        model, batch, word, phones = _shown(name, folder)
        cell = trace_cells(model, None, batch["input_ids"][0].tolist())[0]
        opened = [Panel(cell.gates[one].T, (), word, f"gate {one}", "units", "read") for one in letters]
        return [*opened, Panel(influence(model, batch), phones, word, "influence", **STEPS)]

    return draw


def both_directions(name: str) -> Picture:
    """The states of the cells that read forwards and backwards."""

    def draw(folder: Path) -> Panels:
        model, batch, letters, phones = _shown(name, folder)
        (read,) = outputs_of(model, batch, model.get_encoder().layers[0].mixers[0])
        ahead, back = read.chunk(2, -1)
        return [
            Panel(ahead.T, (), letters, "forwards →", "units", "read", signed=True),
            Panel(back.T, (), letters, "backwards ←", "units", "read", signed=True),
            Panel(influence(model, batch), phones, letters, "influence", **STEPS),
        ]

    return draw


def self_attention(name: str) -> Picture:
    """What the encoder's last layer reads of itself, and what the decoder's last layer reads of it."""

    def draw(folder: Path) -> Panels:
        model, batch, letters, phones = _shown(name, folder)
        own = attention(model, batch, "encoder_attentions")[-1].mean(0)
        return [
            Panel(own, letters, letters, "encoder: of itself", "letter", "reads"),
            Panel(attention(model, batch)[-1].mean(0), phones, letters, "decoder: of the encoder", **STEPS),
        ]

    return draw


SECTIONS: dict[str, Picture] = {
    "elman": states("elman"),
    "lstm": gates("lstm", "f", "i"),
    "gru": gates("gru", "z"),
    "birnn": both_directions("birnn"),
    "seq2seq": influences("seq2seq-last", "seq2seq-linear", "seq2seq-sum"),
    "source-order": influences("seq2seq-reversed", "seq2seq-doubled"),
    "bahdanau": alignments("bahdanau"),
    "nematus": alignments("nematus"),
    "luong": alignments("luong-dot", "luong-general", "luong-concat", "luong-feed"),
    "similarities": alignments("attention-cosine", "attention-euclid"),
    "rnmt-plus": heads("rnmt-plus"),
    "transformer": heads("transformer"),
    "hybrid-transformer-rnn": heads("hybrid-transformer-rnn"),
    "ssru-student": heads("ssru-student-tiny"),
    "fused": self_attention("fused"),
    "interleaved": self_attention("interleaved"),
}
