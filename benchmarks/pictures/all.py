"""All pictures of docs/gallery.md by their names."""

from pathlib import Path

from matplotlib.figure import Figure

from .counting import prefixes
from .drawing import draw_panels, save
from .hard_attention import choosing
from .media import caption, fine_tuned, listening, pretrained
from .pointing import copying
from .reading_and_parsing import parsing, reading
from .sections import SECTIONS, WORD, Picture
from .stories_asked import hopping
from .tape import copying_tape
from .vectors import spelling

PICTURES: dict[str, Picture] = {
    **SECTIONS,
    "vec2seq": spelling("vec2seq-first", "vec2seq-every"),
    "seq2vec": lambda folder: prefixes(folder, WORD),
    "pointer": copying,
    "hard-attention": choosing,
    "memory-network": hopping,
    "ntm": copying_tape,
    "bert-encoder": pretrained,
    "bert2rnn": fine_tuned,
    "reader": reading,
    "parser": parsing,
    "captioner": caption,
    "listener": listening,
}


def draw(name: str, checkpoints: Path, pictures: Path) -> Path:
    """Draws one picture, and trains the models that it needs and the folder lacks."""
    shown, path = PICTURES[name](checkpoints), pictures / f"{name}.png"
    return save(shown, path) if isinstance(shown, Figure) else draw_panels(shown, path)
