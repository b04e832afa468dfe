"""Presets that write a memory of their own."""

from .preset_fields import BARE, Fields, Preset

# The sizes of Graves et al. 2014 for the copy task. What is said of encoders is not built.
NTM: Fields = {
    **BARE,
    "hidden_size": 100,
    "encoder_mixers": ["lstm"],
    "decoder_mixers": ["ntm"],
    "cross_attention": "none",
    "memory_slots": 128,
    "memory_slot_size": 20,
    "memory_heads": 1,
    "tie_word_embeddings": False,
    "dropout": 0.0,
}

MACHINES: dict[str, Preset] = {
    "ntm": Preset(
        "language model with an LSTM that reads and writes a memory: reads a sequence and a mark, then writes",
        "Graves et al. 2014, Neural Turing Machines",
        NTM,
        model="RnnAttnForCausalLM",
    ),
}
