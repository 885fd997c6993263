"""Every name and shape of a released checkpoint has its place, without memory for the released size."""

from __future__ import annotations

import pytest
import torch

from avgen_core.checkpoints import ar_diffusion_layout as layout
from avgen_core.checkpoints.ar_diffusion import generator_from
from avgen_core.checkpoints.tensor_files import WeightFile
from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiT, ARDiffusionDiTConfig
from avgen_core.networks.ar_vae import ARVAE, ARVAEConfig

from .conftest import golden_json

RELEASED = {name: tuple(shape) for name, shape in golden_json("ardiffusion_released_keys")["tensors"]}
AUTOENCODER = {n.removeprefix("vae."): shape for n, shape in RELEASED.items() if n.startswith("vae.")}


def empty(kind, config):
    with torch.device("meta"):
        return kind(config)


def rotary_variant() -> dict[str, tuple[int, ...]]:
    """The released names as `configs/skytimelapse/ablate/base.yaml` gives them."""
    shapes = {name: shape for name, shape in RELEASED.items() if not name.endswith("pos_embed")}
    shapes[layout.NETWORK + "rotary_emb.freqs"] = (36,)
    for block in range(28):
        attention = f"{layout.NETWORK}blocks.{block}.attn."
        shapes |= {f"{attention}{norm}_norm.{part}": (72,) for norm in "qk" for part in ("weight", "bias")}
        shapes[attention + "rotary_emb.freqs"] = (36,)
    return shapes


def test_generator():
    config = layout.dit_config(RELEASED)
    assert config == ARDiffusionDiTConfig()
    network = empty(ARDiffusionDiT, config)
    assert layout.misfits(network, layout.network_shapes(RELEASED)) == []
    assert layout.foreign_names(RELEASED) == []
    assert layout.context_name(RELEASED) == "context_emb"
    assert sum(p.numel() for p in network.parameters()) == 671_864_836


def test_generator_with_rotary_positions():
    shapes = rotary_variant()
    config = layout.dit_config(shapes)
    assert config == ARDiffusionDiTConfig(rotary=True, qk_norm=True)
    network = empty(ARDiffusionDiT, config)
    assert layout.misfits(network, layout.network_shapes(shapes)) == []
    assert sum(p.numel() for p in network.parameters()) == 671_872_900


def test_generator_with_classes():
    shapes = {name: shape for name, shape in RELEASED.items() if name != "context_emb"} | {"class_emb": (102, 77, 768)}
    assert layout.dit_config(shapes) == ARDiffusionDiTConfig()
    assert layout.foreign_names(shapes) == []
    assert layout.context_name(shapes) == "class_emb"


@pytest.mark.parametrize("temporal", [True, False])
def test_autoencoder(temporal):
    shapes = {name: shape for name, shape in AUTOENCODER.items() if temporal or "temporal" not in name}
    config = layout.vae_config(shapes)
    assert config == ARVAEConfig(temporal=temporal)
    network = empty(ARVAE, config)
    assert layout.misfits(network, shapes) == []
    assert sum(p.numel() for p in network.parameters()) == (842_713_355 if temporal else 640_993_547)


@pytest.mark.parametrize("change", [lambda shapes: shapes, lambda _: rotary_variant()])
def test_whole_checkpoint_is_read(tmp_path, change):
    """Through the reader itself, with tensors that have shapes and no memory."""
    path = tmp_path / "model.safetensors"
    path.touch()
    shapes = change(RELEASED)
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    for name in layout.SCHEDULE_CHECKED:
        tensors[layout.BUFFERS + name] = layout.schedule_buffers()[name]
    generator = generator_from(WeightFile(path, shapes, {}, lambda names: {name: tensors[name] for name in names}))
    assert generator.conditions.shape == (1, 77, 768)
    assert not generator.class_conditional
    assert all(tensor.is_meta for tensor in generator.network.state_dict().values())


def test_schedule_is_the_official_one():
    """Values of the official `make_beta_schedule`."""
    buffers = layout.schedule_buffers()
    stored = {n.removeprefix("diffusion_model.") for n in RELEASED if n.startswith("diffusion_model.")}
    assert set(buffers) == {name for name in stored if not name.startswith("model.")}
    signal = buffers["alphas_cumprod"]
    found = [float(signal[t]) for t in (0, 1, 21, 961, 981, 999)]
    assert found == pytest.approx([0.9999, 0.9997973, 0.9971389, 1.5392e-3, 1.0490e-3, 7.3341e-4], rel=1e-4)
    assert [float(b) for b in buffers["betas"][:3]] == pytest.approx([1.0e-4, 1.0265e-4, 1.0533e-4], rel=1e-4)
