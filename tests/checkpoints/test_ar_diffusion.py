"""AR-Diffusion checkpoints are written and read again, official ones are understood, wrong files say what they are."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from avgen_core.checkpoints.ar_diffusion import read_autoencoder, read_generator, save_autoencoder, save_generator
from avgen_core.checkpoints.files import CheckpointError
from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiT, ARDiffusionDiTConfig
from avgen_core.networks.ar_vae import ARVAE, ARVAEConfig

DIT = ARDiffusionDiTConfig(
    hidden_size=24, depth=2, num_heads=2, tokens_per_frame=3, frames=4, context_dim=8, context_tokens=5
)
OFFICIAL = replace(DIT, hidden_size=144, tokens_per_frame=32, frames=2)  # its heads can be told from its shapes
VAE = ARVAEConfig(
    encoder_width=64,
    encoder_layers=1,
    encoder_heads=1,
    decoder_width=128,
    decoder_layers=2,
    decoder_heads=2,
    patch_size=4,
    image_size=16,
    latent_tokens=3,
    codebook_size=16,
    codebook_dim=8,
    pixel_channels=(32, 32, 64),
    pixel_blocks=1,
)
CLASSES = torch.linspace(-1, 1, 120).reshape(3, 5, 8)


def dit(config: ARDiffusionDiTConfig = DIT) -> ARDiffusionDiT:
    torch.manual_seed(0)
    model = ARDiffusionDiT(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.1)
    return model


def vae(**changes) -> ARVAE:
    torch.manual_seed(0)
    return ARVAE(replace(VAE, **changes)).eval().requires_grad_(False)


def official_file(path, config=OFFICIAL, **save):
    """A checkpoint without our header, as accelerate writes it."""
    given = {"conditions": CLASSES[:1], "class_conditional": False, "dtype": torch.float32}
    save_generator(path, dit(config), **(given | save))
    save_file(load_file(path), path)
    return path


def changed(path, **changes):
    """The file with some tensors replaced, or left out where None is given."""
    tensors = load_file(path) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    return path


def refused(read, path, *parts: str, **options) -> None:
    """Reading is refused with all of `parts` in the message."""
    with pytest.raises(CheckpointError) as error:
        read(path, **options)
    for part in parts:
        assert part in str(error.value)


# ---- What we write ------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [{}, {"rotary": True, "qk_norm": True}, {"context_sees_video": False}])
@pytest.mark.parametrize("classes", [True, False])
def test_generator_comes_back(tmp_path, variant, classes):
    network, path = dit(replace(DIT, **variant)), tmp_path / "generator.safetensors"
    conditions = CLASSES if classes else CLASSES[:1]
    save_generator(path, network, conditions, class_conditional=classes, dtype=torch.float32, steps=7)
    generator = read_generator(path)
    assert generator.network.config == network.config
    assert generator.class_conditional == classes
    assert generator.notes == {"steps": 7}
    torch.testing.assert_close(generator.conditions, conditions)
    torch.testing.assert_close(generator.network.state_dict(), network.state_dict(), atol=0, rtol=0)
    x, timesteps = torch.randn(1, 4, 3, 4), torch.tensor([[1, 2, 3, 999]])
    contexts = generator.conditions[:1][None]
    torch.testing.assert_close(generator.network(x, timesteps, contexts), network(x, timesteps, contexts))


def test_half_precision_spares_the_tables(tmp_path):
    path = tmp_path / "generator.safetensors"
    save_generator(path, dit(), CLASSES, class_conditional=True)
    stored = load_file(path)
    assert stored["diffusion_model.model.x_embedder.weight"].dtype == torch.float16
    assert stored["diffusion_model.model.pos_embed"].dtype == torch.float32
    assert float(stored["diffusion_model.alphas_cumprod"][999]) == pytest.approx(7.3341e-4, rel=1e-4)
    assert read_generator(path).network.x_embedder.weight.dtype == torch.float32
    assert read_generator(path, dtype=None).network.x_embedder.weight.dtype == torch.float16
    assert read_generator(path, dtype=torch.bfloat16).network.x_embedder.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("temporal", [True, False])
def test_autoencoder_comes_back(tmp_path, temporal):
    network, path = vae(temporal=temporal), tmp_path / "autoencoder.safetensors"
    save_autoencoder(path, network, dtype=torch.float32)
    read = read_autoencoder(path)
    assert read.config == network.config
    frames = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(read.encode(frames), network.encode(frames))
    assert read.decode(read.encode(frames)[None]).shape == (1, 2, 3, 16, 16)


def test_both_in_one_file(tmp_path):
    path = tmp_path / "both.safetensors"
    save_generator(path, dit(), CLASSES, class_conditional=True, autoencoder=vae())
    assert read_generator(path).network.config == DIT
    assert read_autoencoder(path).config == VAE


def test_classes_are_needed_for_several_conditions(tmp_path):
    with pytest.raises(ValueError, match="one condition, not 3"):
        save_generator(tmp_path / "generator.safetensors", dit(), CLASSES, class_conditional=False)


# ---- What others write --------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [{}, {"rotary": True, "qk_norm": True, "frames": 16}, {"qk_norm": True}])
def test_official_dimensions_are_told_from_shapes(tmp_path, variant):
    config = replace(OFFICIAL, **variant)
    assert read_generator(official_file(tmp_path / "model.safetensors", config)).network.config == config


@pytest.mark.parametrize("temporal", [True, False])
def test_official_autoencoder_is_told_from_shapes(tmp_path, temporal):
    path = tmp_path / "model.safetensors"
    save_autoencoder(path, vae(temporal=temporal))
    save_file(load_file(path), path)
    assert read_autoencoder(path).config == replace(VAE, temporal=temporal)


def test_checkpoint_folder(tmp_path):
    folder = tmp_path / "checkpoint-100000"
    folder.mkdir()
    path = official_file(folder / "model.safetensors")
    (folder / "optimizer.bin").write_bytes(b"0")
    (folder / "random_states_0.pkl").write_bytes(b"0")
    assert read_generator(folder).digest == read_generator(path).digest
    assert read_generator(tmp_path).digest == read_generator(path).digest


def test_of_two_files_in_a_folder_the_one_that_fits_is_read(tmp_path):
    official_file(tmp_path / "model.safetensors")
    save_autoencoder(tmp_path / "autoencoder.safetensors", vae())
    save_file({"main.0.weight": torch.zeros(1)}, tmp_path / "model_1.safetensors")
    assert read_generator(tmp_path).network.config == OFFICIAL
    assert read_autoencoder(tmp_path).config == VAE
    official_file(tmp_path / "other.safetensors")
    refused(read_generator, tmp_path, "several files", "choose one of model.safetensors, other.safetensors")


def test_wrapper_of_distributed_training_is_taken_off(tmp_path):
    path = official_file(tmp_path / "model.safetensors")
    save_file({"module." + name: tensor for name, tensor in load_file(path).items()}, path)
    assert read_generator(path).network.config == OFFICIAL


def test_rotary_frequencies_are_accepted(tmp_path):
    path = official_file(tmp_path / "model.safetensors", replace(OFFICIAL, rotary=True, qk_norm=True))
    frequencies = {"diffusion_model.model.rotary_emb.freqs": torch.zeros(36)}
    frequencies["diffusion_model.model.blocks.1.attn.rotary_emb.freqs"] = torch.zeros(36)
    assert read_generator(changed(path, **frequencies)).network.config.rotary


def test_older_formats_are_refused_with_what_to_do(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"a pickle")
    refused(read_generator, path, "older format", "convert it to .safetensors")


# ---- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (["model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.a"], "a Stable Diffusion 1 or 2"),
        (["conv_in.weight", "down_blocks.0.attentions.0.proj_in.weight"], "a Stable Diffusion UNet"),
        (["blocks.0.self_attn.q.weight", "patch_embedding.weight"], "a Wan video model"),
        (["double_blocks.0.img_attn.qkv.weight"], "a Flux or HunyuanVideo model"),
        (["state.0.exp_avg", "param_groups.0.lr"], "the optimizer state"),
        (["encoder.down.0.block.0.conv1.weight"], "a Stable Diffusion autoencoder"),
        (["quantize.embedding.weight", "latent_tokens", "encoder.transformer.0.ln_1.weight"], "TiTok tokenizer"),
        (["x_embedder.weight", "c_embedder.weight"], "without the rest of its checkpoint"),
        (["first", "second"], "2 tensors (first, second, ...)"),
    ],
)
def test_foreign_files_are_named(tmp_path, names, family):
    path = tmp_path / "foreign.safetensors"
    save_file({name: torch.zeros(1) for name in names}, path)
    for read, wanted in ((read_generator, "generator"), (read_autoencoder, "autoencoder")):
        refused(read, path, f"foreign.safetensors is not an AR-Diffusion {wanted}", family, "Nothing was loaded")


def test_generator_and_autoencoder_mixed_up(tmp_path):
    generator, autoencoder = official_file(tmp_path / "generator.safetensors"), tmp_path / "autoencoder.safetensors"
    save_autoencoder(autoencoder, vae())
    save_file(load_file(autoencoder), autoencoder)
    refused(read_autoencoder, generator, "is not an AR-Diffusion autoencoder", "looks like an AR-Diffusion generator")
    refused(read_generator, autoencoder, "is not an AR-Diffusion generator", "looks like an AR-Diffusion autoencoder")
    refused(read_generator, autoencoder, "separate files: choose the other one here")


def test_our_other_networks_are_named(tmp_path):
    path = tmp_path / "causal_dit.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"avgen": json.dumps({"network": "causal_dit", "config": {}})})
    refused(read_generator, path, "AVGen's own network 'causal_dit'")


def test_damaged_files(tmp_path):
    path = official_file(tmp_path / "model.safetensors")
    whole = path.read_bytes()
    for damaged in (b"", b"no tensors at all", whole[:100], whole[:-1000]):
        path.write_bytes(damaged)
        for read in (read_generator, read_autoencoder):
            refused(read, path, "model.safetensors is not a safetensors file or is truncated")


def test_damaged_header(tmp_path):
    path = tmp_path / "generator.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"avgen": "{"})
    refused(read_generator, path, "header", "no JSON object")
    save_generator(path, dit(), CLASSES, class_conditional=True)
    for change, message in (
        ({"novelty": 1}, "unknown entries ['novelty']"),
        ({"num_heads": 0}, "do not fit together"),
        ({"depth": "two"}, "do not fit together"),
    ):
        description = {"network": "ar_diffusion", "config": asdict(DIT) | change}
        save_file(load_file(path), path, {"avgen": json.dumps(description)})
        refused(read_generator, path, message)


def test_missing_things(tmp_path):
    refused(read_generator, tmp_path / "nothing.safetensors", "nothing.safetensors does not exist")
    refused(read_generator, tmp_path, "no weight file (it is empty)")
    (tmp_path / "optimizer.bin").write_bytes(b"0")
    refused(read_generator, tmp_path, "only training state (optimizer.bin)", "model.safetensors")
    refused(read_generator, tmp_path / "optimizer.bin", "training state, no weights")
    (tmp_path / "notes.txt").write_text("x")
    refused(read_generator, tmp_path / "notes.txt", "'.txt'")


X_EMBEDDER = "diffusion_model.model.x_embedder.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({X_EMBEDDER: None}, "x_embedder.weight is missing"),
        ({X_EMBEDDER: torch.zeros(144)}, "x_embedder.weight has shape (144,), 2 dimensions"),
        ({"diffusion_model.model.blocks.1.mlp.fc1.bias": None}, "1 missing (blocks.1.mlp.fc1.bias)"),
        ({"diffusion_model.model.blocks.1.extra": torch.zeros(1)}, "1 unexpected (blocks.1.extra)"),
        ({"diffusion_model.strange": torch.zeros(1)}, "1 unexpected (diffusion_model.strange)"),
        ({"diffusion_model.model.blocks.1.mlp.fc1.bias": torch.zeros(3)}, "fc1.bias (3,) instead of (576,)"),
        ({"diffusion_model.model.final_layer.1.weight": torch.zeros(8, 144)}, "learn_sigma"),
        ({"diffusion_model.model.pos_embed": None}, "pos_embed is missing"),
        ({"diffusion_model.model.pos_embed": torch.zeros(1, 33, 144)}, "33 positions"),
        ({"context_emb": None}, "neither context_emb nor class_emb"),
        ({"context_emb": torch.zeros(5)}, "context_emb has shape (5,)"),
        ({"context_emb": torch.zeros(5, 9)}, "should end in (5, 8)"),
        ({"diffusion_model.betas": torch.linspace(1e-4, 2e-2, 1000)}, "another noise schedule (1000 steps"),
        ({"diffusion_model.betas": torch.full((500,), 0.01)}, "another noise schedule (500 steps"),
        ({"diffusion_model.alphas_cumprod": torch.linspace(1, 0, 1000)}, "(1000 steps, alphas_cumprod 1 to 0)"),
    ],
)
def test_generators_that_cannot_be_used(tmp_path, change, message):
    path = changed(official_file(tmp_path / "model.safetensors"), **change)
    refused(read_generator, path, "looks like an AR-Diffusion generator but cannot be used", message)


def test_unknown_number_of_heads(tmp_path):
    path = official_file(tmp_path / "model.safetensors", replace(OFFICIAL, hidden_size=40))
    refused(read_generator, path, "number of heads", "40 wide")
    default = official_file(tmp_path / "default.safetensors", replace(OFFICIAL, hidden_size=64, num_heads=16))
    assert read_generator(default).network.config.num_heads == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_tokens": None}, "latent_tokens is missing"),
        ({"decoder.transformer.1.ln_1.bias": None}, "1 missing (decoder.transformer.1.ln_1.bias)"),
        ({"decoder.mask_token": torch.zeros(1, 1, 3)}, "decoder.mask_token (1, 1, 3) instead of (1, 1, 128)"),
        ({"extra": torch.zeros(1)}, "1 unexpected (extra)"),
    ],
)
def test_autoencoders_that_cannot_be_used(tmp_path, change, message):
    path = tmp_path / "model.safetensors"
    save_autoencoder(path, vae())
    refused(read_autoencoder, changed(path, **change), "looks like an AR-Diffusion autoencoder but cannot be", message)
