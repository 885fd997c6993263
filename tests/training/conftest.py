"""For the tests of the trainers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avgen_core.networks.image_autoencoder import ImageAutoencoder
from avgen_core.training import corpus as corpus_module
from avgen_core.training.corpus import CorpusSpec, render_corpus
from avgen_core.training.latents import encode_corpus
from tests.training.small import IMAGES


@pytest.fixture(scope="package")
def data(tmp_path_factory) -> Path:
    """A rendered corpus of four shards, with latents of an untrained autoencoder."""
    folder = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "SHARD_CLIPS", 6)
        render_corpus(CorpusSpec(folder, shards=4, frames=8, size=32))
    torch.manual_seed(0)
    encode_corpus(ImageAutoencoder(IMAGES), "f" * 16, folder)
    return folder
