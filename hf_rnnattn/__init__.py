"""Recurrent + self-attention hybrid encoder-decoders for Hugging Face transformers."""

__version__ = "0.1.0"
