"""Corpus, autoencoder, latents and DiT trained for a few steps; stopped and resumed, the weights are the same bits."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from avgen_core.__main__ import main
from avgen_core.checkpoints.files import CheckpointError, encoder_digest, read_weights
from avgen_core.networks.image_autoencoder import ImageAutoencoder
from avgen_core.systems.embedded import AUTOENCODER, FOLDER, load_embedded
from avgen_core.training import state as state_module
from avgen_core.training.autoencoder import train_autoencoder
from avgen_core.training.causal_dit import train_causal_dit
from avgen_core.training.corpus import Corpus, DioramaStream
from avgen_core.training.export import export_autoencoder, export_causal_dit
from avgen_core.training.latents import LatentClips
from avgen_core.training.loop import RowLosses, Training, TrainSpec, run
from avgen_core.training.state import saved_states
from tests.training.small import IMAGES, same, spec, text_to_video


def unused(*_):
    raise AssertionError("nothing is trained here")


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
        return train_causal_dit(spec(out, steps), clips, text_to_video(), frames=8)

    whole = train(tmp_path / "whole", 6)
    train(tmp_path / "cut", 3)
    resumed = train(tmp_path / "cut", 6)
    assert resumed.step == whole.step == 6
    assert same(resumed, whole)


def test_states_are_small_files_and_only_the_last_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(state_module, "PART_BYTES", 1000)
    training = Training(torch.nn.Linear(30, 30), spec(tmp_path, 5), unused, unused)
    for step in (1, 2):
        training.step = step
        training.save()
    (state,) = tmp_path.iterdir()
    assert state.name == "state-00000002"
    assert len(list(state.iterdir())) > 3
    assert all(part.stat().st_size <= 1000 for part in state.iterdir())
    again = Training(torch.nn.Linear(30, 30), spec(tmp_path, 5), unused, unused)
    again.resume()
    assert again.step == 2
    assert torch.equal(again.model.weight, training.model.weight)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_a_training_saves_its_last_step(tmp_path, number):
    def draw(step: int, rows: slice) -> torch.Tensor:
        if step == 2:
            os.kill(os.getpid(), number)
        return torch.ones(4, 3)[rows]

    training = Training(
        torch.nn.Linear(3, 1), spec(tmp_path, 9), draw, lambda model, data: RowLosses.plain(model(data)[:, 0])
    )
    exported = []
    run(training, lambda training: exported.append(training.step))
    assert exported == [3]
    assert [state.name for state in saved_states(tmp_path)] == ["state-00000003"]


def test_threads_that_draw_ahead_change_nothing(tmp_path, data):
    def trained(workers: int) -> Training:
        clips = LatentClips(data, "f" * 16)
        return train_causal_dit(
            spec(tmp_path / str(workers), 5, workers=workers, accumulate=2), clips, text_to_video(), frames=8
        )

    assert same(trained(0), trained(2))


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
        text_to_video(),
        frames=8,
    )
    losses = [json.loads(line)["loss"] for line in (training.spec.out / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


def test_exported_files_load_as_the_embedded_model(tmp_path):
    autoencoder = ImageAutoencoder(IMAGES)
    export_autoencoder(autoencoder, tmp_path, steps=0)
    encoder = encoder_digest(read_weights(tmp_path / AUTOENCODER, "image_autoencoder")[1])
    export_causal_dit(text_to_video(), tmp_path, steps=0, encoder=encoder)
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
    model = text_to_video().eval()
    states = model.text_encoder(model.text_encoder.tokenize(["left right", "right left"]))
    assert (states[0] - states[1]).abs().max() > 1e-3


def test_a_state_goes_on_only_with_what_it_was_begun_with(tmp_path):
    def training(data: str) -> Training:
        return Training(torch.nn.Linear(3, 1), spec(tmp_path, 5), unused, unused, origin={"the data": data})

    begun = training("cats")
    begun.step = 1
    begun.save()
    training("cats").resume()
    with pytest.raises(ValueError, match="the data was cats and is now dogs.*--out"):
        training("dogs").resume()


def test_long_origins_are_told_where_they_differ(tmp_path):
    def training(widths: str) -> Training:
        network = {"the network": "depth 6, " * 100 + widths + ", heads 4" * 100}
        return Training(torch.nn.Linear(3, 1), spec(tmp_path, 5), unused, unused, origin=network)

    begun = training("width 256")
    begun.step = 1
    begun.save()
    with pytest.raises(ValueError, match=r"\.\.\. .*width 256.* and is now \.\.\. .*width 384") as raised:
        training("width 384").resume()
    assert len(str(raised.value)) < 600


def test_a_state_that_does_not_know_its_origin_is_refused(tmp_path):
    before = Training(torch.nn.Linear(3, 1), spec(tmp_path, 5), unused, unused)
    before.step = 1
    before.save()
    after = Training(torch.nn.Linear(3, 1), spec(tmp_path, 5), unused, unused, origin={"the data": "cats"})
    with pytest.raises(ValueError, match="the data was unknown and is now cats"):
        after.resume()


def test_a_damaged_state_is_named(tmp_path):
    training = Training(torch.nn.Linear(3, 1), spec(tmp_path, 5), unused, unused)
    training.step = 1
    training.save()
    (part,) = saved_states(tmp_path)[0].iterdir()
    part.write_bytes(part.read_bytes()[:-200])
    with pytest.raises(ValueError, match="state-00000001 is damaged"):
        training.resume()
