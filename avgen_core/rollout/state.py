"""Everything the executor holds between two passes. Saved whole, it makes resuming bit-exact."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .cache import FrameCache
from .files import RunError, written_whole


@dataclass
class State:
    """`passes`: passes done; `emitted`: frames finished; `latents`: frames in work or still visible, (C, H, W);
    `memory`: what the denoiser has to remember, by its own names."""

    passes: int = 0
    emitted: int = 0
    latents: dict[int, Tensor] = field(default_factory=dict)
    cache: FrameCache = field(default_factory=FrameCache)
    memory: dict[str, Tensor] = field(default_factory=dict)

    @property
    def begun(self) -> int:
        """The number of the first frame that nothing has been computed for."""
        return max(self.latents, default=self.emitted - 1) + 1

    @property
    def bytes(self) -> int:
        held = (*self.latents.values(), *self.memory.values())
        return self.cache.bytes + sum(tensor.nbytes for tensor in held)

    def save(self, path: Path) -> None:
        """Write as one safetensors file, which takes its name only when it is complete."""
        tensors = {f"latent.{frame}": latent.contiguous() for frame, latent in self.latents.items()}
        for frame, keys in self.cache.keys.items():
            tensors[f"keys.{frame}"] = keys.contiguous()
            tensors[f"values.{frame}"] = self.cache.values[frame].contiguous()
        for name, tensor in self.memory.items():
            tensors[f"memory.{name}"] = tensor.contiguous()
        with written_whole(path) as partial:
            save_file(tensors, partial, {"passes": str(self.passes), "emitted": str(self.emitted)})

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> State:
        """Read what `save` wrote. Raises RunError when the file is damaged."""
        try:
            with safe_open(path, "pt", device=device) as file:
                metadata = file.metadata() or {}
                state = cls(int(metadata["passes"]), int(metadata["emitted"]))
                for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                    kind, frame = name.split(".")
                    if kind == "memory":
                        state.memory[frame] = file.get_tensor(name)
                        continue
                    store = {"latent": state.latents, "keys": state.cache.keys, "values": state.cache.values}[kind]
                    store[int(frame)] = file.get_tensor(name)
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise RunError(
                f"the state file {path.name} of run {path.parent.name} cannot be read ({error}): "
                "it is truncated or not a safetensors file; restore it, or generate the run again"
            ) from error
        return state
