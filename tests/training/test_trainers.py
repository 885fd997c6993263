"""Corpus, autoencoder, latents and DiT trained for a few steps; stopped and resumed, the weights are the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from avgen_core.__main__ import main
from avgen_core.checkpoints.files import CheckpointError, encoder_digest, read_weights
from avgen_core.diorama import vocabulary
from avgen_core.networks.causal_dit import CausalDiTConfig
from avgen_core.networks.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig
from avgen_core.networks.text_encoder import TextEncoderConfig
from avgen_core.systems.embedded import AUTOENCODER, FOLDER, load_embedded
from avgen_core.training import corpus as corpus_module
from avgen_core.training import loop as loop_module
from avgen_core.training.autoencoder import train_autoencoder
from avgen_core.training.causal_dit import TextToVideo, train_causal_dit
from avgen_core.training.corpus import Corpus, CorpusSpec, DioramaStream, render_corpus
from avgen_core.training.export import export_autoencoder, export_causal_dit
from avgen_core.training.latents import LatentClips, encode_corpus
from avgen_core.training.loop import Training, TrainSpec

IMAGES = ImageAutoencoderConfig(encoder_channels=(8, 8, 8), decoder_channels=(8, 8, 8), decoder_blocks=(1, 1, 1))
DIT = CausalDiTConfig(
    dim=32, ffn_dim=32, num_heads=2, num_layers=1, in_dim=8, out_dim=8, text_dim=16, text_len=24, freq_dim=16
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "SHARD_CLIPS", 6)
        render_corpus(CorpusSpec(folder, shards=4, frames=8, size=32))
    torch.manual_seed(0)
    encode_corpus(ImageAutoencoder(IMAGES), "f" * 16, folder)
    return folder


def spec(out: Path, steps: int) -> TrainSpec:
    return TrainSpec(out, steps, batch=4, learning_rate=1e-3, warmup=2, decay_share=0.01, log_every=1)


def video_model() -> TextToVideo:
    torch.manual_seed(1)
    return TextToVideo(DIT, TextEncoderConfig(vocabulary(), dim=16, heads=2))


def same(first: Training, second: Training) -> bool:
    mine, theirs = first.average.state_dict(), second.average.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_stream_is_endless_and_never_repeats():
    stream = iter(DioramaStream(0, frames=2, size=32))
    captions = {(next(stream).frames.tobytes()) for _ in range(12)}
    assert len(captions) == 12


def test_corpus_shards_are_whole_and_made_once(data):
    corpus = Corpus(data)
    assert corpus.shards == [0, 1, 2, 3]
    assert corpus.frames(0).shape == (6, 8, 32, 32, 3)
    assert not list(data.glob("*.part*"))


def test_a_missing_corpus_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="train corpus"):
        Corpus(tmp_path)


@pytest.mark.parametrize("kind", ["autoencoder", "dit"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, data, kind):
    def train(out: Path, steps: int) -> Training:
        if kind == "autoencoder":
            torch.manual_seed(0)
            return train_autoencoder(spec(out, steps), data, ImageAutoencoder(IMAGES))
        clips = LatentClips(data, "f" * 16)
        return train_causal_dit(spec(out, steps), clips, video_model(), frames=8)

    whole = train(tmp_path / "whole", 6)
    train(tmp_path / "cut", 3)
    resumed = train(tmp_path / "cut", 6)
    assert resumed.step == whole.step == 6
    assert same(resumed, whole)


def test_states_are_small_files_and_only_the_last_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module, "PART_BYTES", 1000)
    training = Training(torch.nn.Linear(30, 30), spec(tmp_path, 5))
    for step in (1, 2):
        training.step = step
        training.save()
    (state,) = tmp_path.iterdir()
    assert state.name == "state-00000002"
    assert len(list(state.iterdir())) > 3
    assert all(part.stat().st_size <= 1000 for part in state.iterdir())
    again = Training(torch.nn.Linear(30, 30), spec(tmp_path, 5))
    again.resume()
    assert again.step == 2
    assert torch.equal(again.model.weight, training.model.weight)


def test_training_starts_from_the_weight_files_alone(tmp_path, data):
    """And refuses to, where the state of another training would go on instead."""
    arguments = ["train", "autoencoder", "--from-weights", "--data", str(data), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--steps", "1", "--batch", "2", "--device", "cpu", "--learning-rate", "1e-9"]) == 0
    made, shipped = (load_embedded_autoencoder(folder) for folder in (tmp_path / "out" / "models", FOLDER))
    for name, value in shipped.items():
        torch.testing.assert_close(made[name].float(), value.float(), atol=0.02, rtol=0.02)
    assert main([*arguments, "--steps", "2"]) == 1


def load_embedded_autoencoder(folder: Path) -> dict[str, torch.Tensor]:
    tensors = read_weights(folder / AUTOENCODER, "image_autoencoder")[1]
    return {name: value for name, value in tensors.items() if not name.startswith("latent_norm")}


def test_losses_fall(tmp_path, data):
    """Twelve steps on four clips: enough to see that gradients point the right way."""
    training = train_causal_dit(
        TrainSpec(tmp_path, 60, batch=8, learning_rate=3e-3, warmup=2, log_every=10),
        LatentClips(data, "f" * 16),
        video_model(),
        frames=8,
    )
    losses = [json.loads(line)["loss"] for line in (training.spec.out / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


def test_exported_files_load_as_the_embedded_model(tmp_path):
    autoencoder = ImageAutoencoder(IMAGES)
    export_autoencoder(autoencoder, tmp_path, steps=0)
    export_causal_dit(video_model(), tmp_path, steps=0, encoder=encoder_digest(autoencoder.state_dict()))
    model = load_embedded(tmp_path)
    assert model.latent_shape == (8, 8, 8)
    assert model.encode_text("a cat walks left").shape == (24, 16)
    torch.nn.init.zeros_(autoencoder.decoder[0].bias)
    export_autoencoder(autoencoder, tmp_path, steps=1)
    assert load_embedded(tmp_path), "the decoder may be trained further"
    torch.nn.init.zeros_(autoencoder.encoder[1].weight)
    export_autoencoder(autoencoder, tmp_path, steps=1)
    with pytest.raises(CheckpointError, match="latents of another encoder"):
        load_embedded(tmp_path)
    (tmp_path / "causal_dit.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="causal_dit.safetensors is not a safetensors file or is truncated"):
        load_embedded(tmp_path)


def test_word_order_reaches_the_text_states():
    model = video_model().eval()
    states = model.text_encoder(model.text_encoder.tokenize(["left right", "right left"]))
    assert (states[0] - states[1]).abs().max() > 1e-3
