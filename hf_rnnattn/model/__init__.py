"""The model family: every file in this folder travels, flat, with a checkpoint that is pushed together with its code."""
