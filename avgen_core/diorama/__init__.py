"""The diorama world: animated 3D sprites (MIT art, see NOTICE) in scrolling scenes, with exact captions."""

from .attributes import Attributes, caption, is_held_out, sample_attributes, vocabulary
from .clip import FPS, Clip, Episode, Segment, random_episode, render

__all__ = [
    "FPS",
    "Attributes",
    "Clip",
    "Episode",
    "Segment",
    "caption",
    "is_held_out",
    "random_episode",
    "render",
    "sample_attributes",
    "vocabulary",
]
