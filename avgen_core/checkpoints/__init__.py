"""Weights on disk: safetensors files with a JSON config in the header."""
