"""Every test of transformers that does not apply to us as it stands, with the reason: the only place of exceptions."""

# name of the test -> (kinds of models that it is expected to fail for, the reason)
EXCEPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "test_training_overfit": (
        ("both",),
        "after the training it expects generate() to continue the source, as decoders without an encoder do; that the "
        "models learn is held by test_model_training.py",
    ),
    "test_load_with_mismatched_shapes": (
        ("encoder",),
        "it loads RnnAttnModel from a head's checkpoint with another vocabulary size: transformers then takes the "
        "table that it has just refused for a loaded one, and ties the decoder's to it",
    ),
}
