"""Stable Diffusion 2's text encoder: the library's reading of a file against ComfyUI's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import environment
from avgen_core.checkpoints.stable_diffusion import CONFIGS, TEXT, Family, Prediction, StableDiffusion, text_encoder_in
from avgen_core.checkpoints.stable_diffusion_text import text_encoder_of
from tests.host.in_process import node_module

LAYERS, WIDTH = 3, 1024  # of 24; the last one is not used
PREFIX = TEXT["sd2"]
PROMPTS = ["", "a steam train drives right in the snowy mountains"]


def open_clip_weights() -> dict[str, torch.Tensor]:
    """A text encoder as Stable Diffusion 2's files hold it, with few layers and random weights."""
    torch.manual_seed(0)
    sizes = {"ln_1": (WIDTH,), "ln_2": (WIDTH,), "attn.in_proj": (3 * WIDTH, WIDTH), "attn.out_proj": (WIDTH, WIDTH),
             "mlp.c_fc": (4 * WIDTH, WIDTH), "mlp.c_proj": (WIDTH, 4 * WIDTH)}  # fmt: skip
    weights = {
        "positional_embedding": torch.randn(77, WIDTH) * 0.02,
        "token_embedding.weight": torch.randn(49408, WIDTH) * 0.02,
        "text_projection": torch.randn(WIDTH, WIDTH) * 0.02,
        "ln_final.weight": torch.rand(WIDTH) + 0.5,
        "ln_final.bias": torch.randn(WIDTH) * 0.1,
    }
    for layer in range(LAYERS):
        for name, size in sizes.items():
            joint = "_" if name == "attn.in_proj" else "."
            scale = torch.randn(size) * 0.03 if len(size) == 2 else torch.rand(size) + 0.5
            weights[f"transformer.resblocks.{layer}.{name}{joint}weight"] = scale
            weights[f"transformer.resblocks.{layer}.{name}{joint}bias"] = torch.randn(size[0]) * 0.05
    return {PREFIX + name: value for name, value in weights.items()}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return open_clip_weights()


def by_comfyui(weights: dict[str, torch.Tensor], folder: Path, monkeypatch) -> torch.Tensor:
    node_module("host")
    from comfy.sd1_clip import SDClipModel
    from comfy.supported_models import SD20
    from comfy.text_encoders import sd2_clip

    original = json.loads(Path(sd2_clip.__file__).with_name("sd2_clip_config.json").read_text("utf-8"))
    config = folder / "few_layers.json"
    config.write_text(json.dumps({**original, "num_hidden_layers": LAYERS}))
    begin = SDClipModel.__init__

    def with_few_layers(self, *args, **settings):
        begin(self, *args, **{**settings, "textmodel_json_config": str(config)})

    monkeypatch.setattr(SDClipModel, "__init__", with_few_layers)
    model = sd2_clip.SD2ClipModel(device="cpu", dtype=torch.float32)
    state = SD20.process_clip_state_dict(None, dict(weights))
    missing, _ = model.load_state_dict(state, strict=False)
    assert not [name for name in missing if "logit_scale" not in name]
    tokenizer = sd2_clip.SD2Tokenizer()
    with torch.no_grad():
        return torch.cat([model.encode_token_weights(tokenizer.tokenize_with_weights(text))[0] for text in PROMPTS])


def by_the_library(weights: dict[str, torch.Tensor], folder: Path) -> torch.Tensor:
    shipped = json.loads((CONFIGS / "sd2" / "text_encoder" / "config.json").read_text("utf-8"))
    assert shipped["num_hidden_layers"] == 23
    (folder / "config.json").write_text(json.dumps({**shipped, "num_hidden_layers": LAYERS - 1}))
    text_encoder = text_encoder_in(weights, Family.SD2, folder).eval()
    model = StableDiffusion(Family.SD2, Prediction.EPSILON, None, None, text_encoder)
    tokenizer = environment.locations().comfyui / "comfy" / "sd1_tokenizer"
    return text_encoder_of(model, torch.device("cpu"), tokenizer)(PROMPTS)


def test_the_library_and_comfyui_read_the_same_text_states(weights, tmp_path, monkeypatch):
    mine = by_the_library(weights, tmp_path)
    theirs = by_comfyui(weights, tmp_path, monkeypatch)
    assert mine.shape == (2, 77, WIDTH)
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert (mine[1] - mine[0]).abs().max() > 0.1, "texts differ"
