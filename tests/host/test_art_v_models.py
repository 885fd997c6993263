"""ART-V in ComfyUI without a server: the embedded model's files, native VAEs, and what a MODEL is named by."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from avgen_core.checkpoints.files import encoder_digest, fingerprint, read_weights, save_weights
from avgen_core.networks.image_autoencoder import ImageAutoencoder
from avgen_core.networks.image_unet import ImageUNetConfig
from avgen_core.networks.reference_adapter import ReferenceAdapter, ReferenceAdapterConfig
from avgen_core.networks.reference_unet import cross_attentions
from avgen_core.systems.embedded import AUTOENCODER
from avgen_core.systems.embedded_art_v import ART_V, IMAGE_UNET
from avgen_core.training.export import export_autoencoder, export_causal_dit
from tests.host.in_process import core_module, node_module
from tests.training.small import IMAGES, text_to_video

UNET = ImageUNetConfig(8, (32, 64), text_dim=16)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Files of an embedded ART-V model with random weights."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    export_autoencoder(ImageAutoencoder(IMAGES), folder, steps=0)
    encoder = encoder_digest(read_weights(folder / AUTOENCODER, "image_autoencoder")[1])
    export_causal_dit(text_to_video(), folder, steps=0, encoder=encoder)
    unet = UNET.build()
    save_weights(folder / IMAGE_UNET, "image_unet", UNET, unet.state_dict(), encoder=encoder)
    widths = tuple(attention.inner_dim for attention in cross_attentions(unet))
    config = ReferenceAdapterConfig(8, UNET.widths, widths, 16, anchor_width=16, anchor_side=2, mask_width=8)
    adapter = ReferenceAdapter(config)
    for parameter in adapter.parameters():
        parameter.data.normal_(std=0.15)
    about = {"encoder": encoder, "size": 64, "fps": 8.0, "made_for": fingerprint(folder / IMAGE_UNET)}
    save_weights(folder / ART_V, "reference_adapter", config, adapter.state_dict(), **about)
    return folder


def in_comfyui(models: Path, width: int = 0, clip=None, vae=None):
    """The embedded model's parts on the host's sockets, joined as the loader joins them."""
    host, host_art_v = node_module("host"), node_module("host_art_v")
    embedded = core_module("systems.embedded").load_embedded(models)
    whole = host.HostModel(embedded, [embedded.text_encoder, embedded.dit], embedded.autoencoder)
    image_model, frames = host_art_v.embedded_image_model(models), host_art_v.Frames(width, 0, 0.0)
    clip, vae = clip or host.EmbeddedCLIP(whole), vae or whole.vae
    return host_art_v.art_v_model(image_model, clip, vae, models / ART_V, frames, 1.5, 0.5)


def video(model, guidance: float) -> torch.Tensor:
    """Three frames, the third under another prompt, by the pack's own engine."""
    plan, prompts = core_module("plan"), core_module("prompts")
    executor, noise = core_module("rollout.executor"), core_module("rollout.noise")
    schedule = prompts.parse_schedule("0: a cat walks left in a forest\n2: a dog jumps in a forest", fps=8)
    sigmas = tuple(t / 1000 for t in plan.trailing_timesteps(3))
    work = executor.Executor(
        model.denoiser(guidance), plan.ReferencePlan(sigmas, 2, reference_noise=0.1), executor.Prompts(schedule),
        noise.SeededNoise(0),
    )  # fmt: skip
    if hasattr(model, "load"):
        model.load()
    return torch.cat([done.finished for done in work.run(3)])


def test_the_files_give_the_same_video_in_comfyui_and_in_the_library(models):
    library = core_module("systems.embedded_art_v").load_embedded_art_v(models)
    library.reference_guidance, library.mask_strength = 1.5, 0.5
    expected = video(library, 2.0)
    torch.testing.assert_close(video(in_comfyui(models), 2.0), expected, atol=1e-4 * expected.abs().max(), rtol=0)


def test_a_size_that_the_vae_does_not_make_is_refused(models):
    with pytest.raises(node_module("host_image_model").UnfitModel, match="frames of 64x64 pixels, not 128x64"):
        in_comfyui(models, width=128)


def test_a_native_vae_works_in_the_scale_of_the_model():
    host_art_v = node_module("host_art_v")
    import comfy.latent_formats

    class VAE:
        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            return latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3).permute(0, 2, 3, 1)

        def encode(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(images.permute(0, 3, 1, 2)[:, :, ::8, ::8], (0, 0, 0, 0, 0, 1))

    vae = host_art_v.NativeVAE(VAE(), comfy.latent_formats.SD15(), 16, 24)
    frames = torch.rand(5, 2, 3, 3).repeat_interleave(8, 1).repeat_interleave(8, 2)
    latents = vae.encode(frames)
    assert latents.shape == (1, 4, 5, 2, 3) and vae.frame_size == (16, 24)
    torch.testing.assert_close(latents[0, :3, :, 0, 0].T, 0.18215 * frames[:, 0, 0])
    torch.testing.assert_close(vae.decode(latents)[0], frames)
    assert vae.preview(latents[0, :, 0]).shape == (2, 3, 3)


def test_a_model_is_named_by_its_weights_and_its_patches_loaded_or_not(models):
    clip, model = SimpleNamespace(patcher=None, layer_idx=None), node_module("host_art_v").embedded_image_model(models)

    def name(patcher) -> str:
        return node_module("host_fingerprint").fingerprint(patcher, clip)

    plain = name(model)
    key = "diffusion_model.input_blocks.0.0.weight"
    first, second = model.clone(), model.clone()
    for patcher, value in ((first, 1.0), (second, 2.0)):
        patcher.add_patches({key: ("diff", (torch.full((32, 8, 3, 3), value),))}, 0.5)
    assert len({plain, name(first), name(second)}) == 3
    unloaded = name(first)
    first.patch_model()
    assert name(first) == unloaded
    first.unpatch_model()
    assert name(model) == plain
    clip.layer_idx = -2
    assert name(model) != plain


def test_a_model_is_named_by_what_other_nodes_have_put_on_it(models):
    model = node_module("host_art_v").embedded_image_model(models)
    fingerprint = node_module("host_fingerprint").fingerprint
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    def patched(scale: float):
        def output_block_patch(h, hsp, options):
            return h * scale, hsp

        clone = model.clone()
        clone.set_model_output_block_patch(output_block_patch)
        return clone

    predicting = [ModelSamplingDiscrete().patch(model, kind, False)[0] for kind in ("eps", "v_prediction")]
    names = [fingerprint(each, None) for each in (model, patched(0.9), patched(0.8), *predicting)]
    assert len(set(names)) == len(names)
    assert fingerprint(patched(0.9), None) == names[1], "the same when the graph is loaded again"


def test_a_model_keeps_its_name_when_its_patches_have_worked(models):
    model, fingerprint = (
        node_module("host_art_v").embedded_image_model(models),
        node_module("host_fingerprint").fingerprint,
    )
    found = None

    def remember(q, k, v, options):
        nonlocal found
        found = torch.ones(3)
        return q, k, v

    def use(h, hsp, options):
        return h if found is None else h + found.sum(), hsp

    model.set_model_attn1_patch(remember)
    model.set_model_output_block_patch(use)
    before = fingerprint(model, None)
    remember(1, 2, 3, {})
    assert fingerprint(model, None) == before


def test_parts_of_another_model_are_refused(models):
    host = node_module("host")
    unfit = node_module("host_image_model").UnfitModel
    with pytest.raises(
        unfit, match="VAE .latents of 4 channels. is not that of the MODEL .8 channels, of another kind.: .*vae output"
    ):
        in_comfyui(models, vae=SimpleNamespace(latent_channels=4))

    class LargeCLIP(host.EmbeddedCLIP):
        def __init__(self) -> None:
            self.patcher = None

        def encode_from_tokens(self, tokens, **options):
            return torch.zeros(1, 77, 768)

    model = in_comfyui(models, clip=LargeCLIP())
    with pytest.raises(unfit, match="states of width 768, the MODEL takes 16: .*clip output"):
        model.denoiser(1.0).check_text("a cat")
