"""The model family: the files of this folder travel, flat, with a checkpoint pushed with its code."""
