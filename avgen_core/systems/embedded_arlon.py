"""The ARLON parts that come with the pack: files, and what they were made for."""

from __future__ import annotations

LATENT_VQVAE, TOKEN_TRANSFORMER = "latent_vqvae.safetensors", "token_transformer.safetensors"
SEMANTIC_INJECTION = "semantic_injection.safetensors"
