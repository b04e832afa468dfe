"""Small trainings on real words, for the tests of what trains and of what uses the result."""

from pathlib import Path

from hf_rnnattn.pronunciation import load_cmudict

TINY = (
    "hidden_size=16,encoder_mixers=[gru],decoder_mixers=[ssru],encoder_attention_heads=2,decoder_attention_heads=2,"
    "encoder_ffn_dim=16,decoder_ffn_dim=16"
)
TINY_BART = (
    "d_model=16,encoder_layers=1,decoder_layers=1,encoder_attention_heads=2,decoder_attention_heads=2,"
    "encoder_ffn_dim=16,decoder_ffn_dim=16,max_position_embeddings=64"
)
FLAGS = [
    *("--source_tokenizer", "char", "--target_tokenizer", "whitespace", "--max_target_length", "24"),
    *("--use_cpu", "--disable_tqdm", "true", "--per_device_train_batch_size", "16", "--learning_rate", "1e-2"),
]


def write_words(folder: Path) -> dict[str, Path]:
    """200 words to train on, 24 to validate and 24 to test with, one file a split."""
    paths = {}
    for split, rows in load_cmudict().items():
        drawn = rows.shuffle(seed=1).select(range(200 if split == "train" else 24))
        paths[split] = folder / f"{split}.tsv"
        lines = (f"{word}\t{phones}" for word, phones in zip(drawn["source"], drawn["target"], strict=True))
        paths[split].write_text("word\tphones\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return paths


def flags_of(words: dict[str, Path], output: Path, *more: str, config: str = TINY) -> list[str]:
    """A command line that trains a tiny model on these files."""
    files = [word for split, path in words.items() for word in (f"--{split}_file", str(path))]
    return ["--output_dir", str(output), *files, *FLAGS, "--config_overrides", config, *more]
