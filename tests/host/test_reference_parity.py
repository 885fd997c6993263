"""One adapter on one UNet, in diffusers and in ComfyUI: the same predictions. Models that do not fit are refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel

from avgen_core.networks.reference_adapter import ReferenceAdapter, ReferenceAdapterConfig, References
from avgen_core.networks.reference_unet import Prediction, ReferenceUNet
from avgen_core.networks.reference_unet import cross_attentions as diffusers_attentions
from avgen_core.systems.diffusers_image_model import DiffusersImageModel
from tests.host.in_process import node_module

WIDTHS, TEXT, SIDE = (32, 64, 64), 24, 8
LDM = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2],
    "transformer_depth": [1, 1, 0],
    "transformer_depth_output": [1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": TEXT,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
    "legacy": False,
    "num_heads": 4,
    "dtype": torch.float32,
}


def diffusers_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=WIDTHS,
        layers_per_block=1,
        cross_attention_dim=TEXT,
        attention_head_dim=4,
        norm_num_groups=32,
    ).eval()


def trained_adapter(unet: UNet2DConditionModel) -> ReferenceAdapter:
    widths = tuple(attention.inner_dim for attention in diffusers_attentions(unet))
    adapter = ReferenceAdapter(
        ReferenceAdapterConfig(4, WIDTHS, widths, TEXT, anchor_width=16, anchor_side=2, mask_width=8)
    )
    generator = torch.Generator().manual_seed(5)
    for parameter in adapter.parameters():
        parameter.data.normal_(std=0.15, generator=generator)
    return adapter.eval()


class Text:
    """Stands in for both text encoders: states by the length of the text."""

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens(self, tokens: str, **_) -> torch.Tensor:
        return encode_text(tokens)[None]


def encode_text(text: str) -> torch.Tensor:
    return torch.randn(5, TEXT, generator=torch.Generator().manual_seed(len(text)))


def host_model(unet: UNet2DConditionModel, prediction: Prediction, **changes):
    """The UNet as ComfyUI's MODEL."""
    host = node_module("host_image_model")
    import comfy.latent_formats
    import comfy.model_base
    import comfy.supported_models_base
    import comfy.utils
    from comfy.model_patcher import ModelPatcher

    class Config(comfy.supported_models_base.BASE):
        unet_extra_config = {"num_heads": 4, "num_head_channels": -1}
        latent_format = comfy.latent_formats.SD15

    names = comfy.utils.unet_to_diffusers(LDM)
    weights = {} if changes else {names[name]: value for name, value in unet.state_dict().items() if name in names}
    kinds = {Prediction.EPSILON: "EPS", Prediction.VELOCITY: "V_PREDICTION"}
    kind = getattr(comfy.model_base.ModelType, kinds[prediction])
    inner = comfy.model_base.BaseModel(Config({**LDM, **changes}), kind, device=torch.device("cpu"))
    missing = inner.diffusion_model.load_state_dict(weights, strict=False).missing_keys
    assert changes or not missing
    return host, ModelPatcher(inner, torch.device("cpu"), torch.device("cpu"))


def references(rows: int) -> References:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 2, 4, SIDE, SIDE, generator=generator)
    return References(
        previous=latents,
        newest=latents[:, 0],
        anchor=torch.randn(1, 4, SIDE, SIDE, generator=generator),
        has_previous=torch.tensor([[True, True]]),
        has_anchor=torch.tensor([True]),
        noise=torch.tensor([0.1]),
    )


@pytest.mark.parametrize("prediction", Prediction)
@pytest.mark.parametrize("timestep", [981.0, 401.0, 1.0])
@torch.inference_mode()
def test_diffusers_and_comfyui_predict_the_same_clean_frame(prediction, timestep):
    unet = diffusers_unet()
    adapter = trained_adapter(unet)
    host, patcher = host_model(unet, prediction)
    theirs = host.HostImageModel(patcher, Text(), adapter, SIDE, SIDE)
    theirs.load()
    mine = DiffusersImageModel(
        ReferenceUNet(unet, adapter),
        encode_text,
        alphas_cumprod=theirs.alphas_cumprod,
        prediction=prediction,
        latent_shape=(4, SIDE, SIDE),
        fingerprint="",
    )
    from avgen_core.systems.art_v import Branch, for_rows

    rows = (Branch(True, True, 1.0), Branch(False, True, 1.0), Branch(False, False, 1.0))
    encoded = for_rows(adapter.encode(references(1)), rows)
    noisy = torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(3)).expand(3, -1, -1, -1)
    prompts = ((("a cat", 1.0),), (("", 1.0),), (("", 1.0),))
    expected = mine.predict_clean(noisy, timestep, prompts, encoded)
    got = theirs.predict_clean(noisy, timestep, prompts, encoded)
    scale = expected.abs().max()
    torch.testing.assert_close(got / scale, expected / scale, atol=1e-4, rtol=0)
    assert not torch.allclose(expected[1], expected[2], atol=1e-3 * scale), "references change something"


def test_the_schedule_is_that_of_stable_diffusion():
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    host, patcher = host_model(diffusers_unet(), Prediction.EPSILON)
    theirs = host.HostImageModel(patcher, Text(), trained_adapter(diffusers_unet()), SIDE, SIDE)
    torch.testing.assert_close(torch.tensor(theirs.alphas_cumprod), scheduler.alphas_cumprod, atol=1e-6, rtol=1e-4)


def test_what_is_no_stable_diffusion_is_refused_with_the_reason():
    host, patcher = host_model(diffusers_unet(), Prediction.EPSILON, in_channels=9)
    with pytest.raises(host.UnfitModel, match="9 input channels.*inpainting"):
        host.check_model(patcher)
    with pytest.raises(host.UnfitModel, match="no Stable Diffusion UNet"):
        host.check_model(SimpleNamespace(model=SimpleNamespace(diffusion_model=torch.nn.Linear(1, 1))))


def test_an_adapter_for_another_family_is_refused():
    host, patcher = host_model(diffusers_unet(), Prediction.EPSILON)
    unet = diffusers_unet()
    widths = tuple(attention.inner_dim for attention in diffusers_attentions(unet))
    other = ReferenceAdapter(ReferenceAdapterConfig(4, (320, 640, 1280, 1280), widths, TEXT))
    with pytest.raises(host.UnfitModel, match="levels of .320, 640, 1280, 1280. channels"):
        host.HostImageModel(patcher, Text(), other, SIDE, SIDE)
