"""Training of the embedded DiT: context that the model itself makes anew."""

from __future__ import annotations

import pytest
import torch

from avgen_core.training.causal_dit import with_remade_context
from avgen_core.training.latents import ClipBatch
from avgen_core.training.timesteps import ClipNoise, NoiseRecipe
from tests.training.small import text_to_video


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def clips(remade: list[float]) -> tuple[ClipBatch, ClipNoise, torch.Tensor]:
    """A batch whose first three of six frames are context."""
    latents = torch.randn(len(remade), 8, 6, 4, 4, generator=generator())
    batch = ClipBatch(latents, [""], torch.zeros(len(remade), 6, dtype=torch.long))
    learned = (torch.arange(6) >= 3).expand(len(remade), -1)
    noise = ClipNoise(torch.where(learned, 0.5, 0.0), learned, torch.arange(6), torch.tensor(remade))
    return batch, noise, torch.randn(latents.shape, generator=generator())


def test_only_the_context_of_chosen_clips_is_made_anew():
    model, (batch, noise, epsilon) = text_to_video(), clips([0.0, 0.5])
    shown = with_remade_context(model.dit, model.keys(batch.prompts), batch, noise, epsilon)
    assert torch.equal(shown[0], batch.latents[0])
    assert torch.equal(shown[1, :, 3:], batch.latents[1, :, 3:])
    assert not torch.isclose(shown[1, :, :3], batch.latents[1, :, :3]).any(dim=0).all()
    assert not shown.requires_grad


def test_little_noise_leaves_the_context_nearly_as_it_is():
    model, (batch, noise, epsilon) = text_to_video(), clips([1e-4, 1e-4])
    shown = with_remade_context(model.dit, model.keys(batch.prompts), batch, noise, epsilon)
    torch.testing.assert_close(shown, batch.latents, atol=2e-3, rtol=0)


def test_it_leaves_the_gradients_of_the_training_pass_alone():
    """Autocast keeps weights that it has cast; those of a pass without gradients must not serve one with them."""
    model, (batch, noise, epsilon) = text_to_video(), clips([0.5, 0.5])
    with torch.autocast("cpu", torch.bfloat16):
        keys = model.keys(batch.prompts)
        shown = with_remade_context(model.dit, keys, batch, noise, epsilon)
        model.dit(
            shown, noise.levels * 1000, keys, batch.prompt_of_frame, groups=noise.groups
        ).square().sum().backward()
    without = [name for name, parameter in model.dit.named_parameters() if parameter.grad is None]
    assert not without


def test_a_share_of_the_clips_with_context_is_chosen():
    recipe, shared = NoiseRecipe(remade_prefix_share=0.5), generator()
    draws = [recipe.draw(8, 16, shared) for _ in range(200)]
    remade = torch.stack([drawn.remade for drawn in draws])
    context = torch.stack([~drawn.learned[:, 0] for drawn in draws])
    assert not remade[~context].any()
    assert (remade > 0)[context].float().mean().item() == pytest.approx(0.5, abs=0.05)
    least, most = recipe.remade_levels
    assert least <= remade[remade > 0].min() and remade.max() <= most
    noisy = [(drawn.levels[~drawn.learned & (drawn.remade > 0)[:, None]] > 0) for drawn in draws]
    share = torch.cat(noisy).float().mean().item()
    assert share == pytest.approx(recipe.noisy_prefix_share, abs=0.06), "as sampling shows what the model made"
