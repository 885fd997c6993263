"""`train image-model` and `train art-v` on the embedded model's parts, and the videos that come out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avgen_core.__main__ import main
from avgen_core.checkpoints.files import CheckpointError, encoder_digest, read_weights
from avgen_core.networks.image_autoencoder import ImageAutoencoder
from avgen_core.prompts import parse_schedule
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.noise import SeededNoise
from avgen_core.systems.embedded import AUTOENCODER
from avgen_core.systems.embedded_art_v import load_embedded_art_v
from avgen_core.training.export import export_autoencoder, export_causal_dit
from tests.training.small import IMAGES, text_to_video


@pytest.fixture(scope="module")
def models(tmp_path_factory, data) -> Path:
    """The weight files of an untrained embedded model, and what the two steps add to them."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    export_autoencoder(ImageAutoencoder(IMAGES), folder, steps=0)
    encoder = encoder_digest(read_weights(folder / AUTOENCODER, "image_autoencoder")[1])
    export_causal_dit(text_to_video(), folder, steps=0, encoder=encoder)
    common = ["--data", str(data), "--models", str(folder)]
    main(["train", "latents", *common])
    for step in ("image-model", "art-v"):
        out = tmp_path_factory.mktemp("training")
        training = ["--out", str(out), "--export", str(folder), "--steps", "2", "--batch", "4"]
        main(["train", step, *common, *training])
    return folder


def test_the_trained_files_make_videos(models):
    model = load_embedded_art_v(models)
    prompts = Prompts(parse_schedule("a cat walks left in a forest", fps=8))
    executor = Executor(model.denoiser(2.0), model.default_plan, prompts, SeededNoise(0))
    video = torch.cat([done.finished for done in executor.run(3)])
    assert video.shape == (3, *model.latent_shape) and video.isfinite().all()
    assert model.autoencoder.decode(video).shape == (3, 3, 64, 64)


def test_an_untrained_word_is_read_as_one_that_it_knows(models):
    reading = load_embedded_art_v(models).understand(parse_schedule("a kitten strolls left in a forest", fps=8))
    assert reading.remarks


def test_an_adapter_for_other_latents_is_refused(models, tmp_path):
    for file in models.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    other = ImageAutoencoder(IMAGES)
    torch.nn.init.zeros_(other.encoder[1].weight)
    export_autoencoder(other, tmp_path, steps=1)
    with pytest.raises(CheckpointError, match="image_unet.safetensors was trained on the latents of another encoder"):
        load_embedded_art_v(tmp_path)
